"""Trained networks, tested as the papers do: one crop, ten, 144, or the whole image, at one scale or several.

A protocol says what of an image the network is shown; the class probabilities of all of it are averaged.
"""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from cnn_jax.config import ConfigError
from cnn_jax.data import stream
from cnn_jax.data.augment import take
from cnn_jax.data.batches import epoch_order
from cnn_jax.data.crops import (
    LIKE_PIL,
    Interpolation,
    center_crop,
    crops_144,
    mirror,
    resize_short_side,
    resized_shape,
    scales_144,
    ten_crop,
)
from cnn_jax.layers.norm import combine_statistics
from cnn_jax.network import Network
from cnn_jax.tasks.classification import SUMS, loss_and_error
from cnn_jax.train import devices, feed
from cnn_jax.train import evaluate as exact
from cnn_jax.train.devices import Layout
from cnn_jax.train.step import make_evaluate_step, zero_sums

CROPS = (1, 10, 144)
TOP_5_FROM = 10
"""Classes from which there is a top-5 error: of fewer, five guesses are most of them."""


class Protocol(NamedTuple):
    """What of an image a network is shown.

    Attributes:
      crops: 1, the middle; 10 (Krizhevsky et al. 2012, 4.1); 144 (Szegedy et al. 2015, Section 7).
      size: pixels a side of a crop; None is the whole image, of which there is one.
      scales: short sides in pixels that the image is resized to; none leaves it as it is.
      dense: the whole image and its mirror image, the network slid over both (Simonyan & Zisserman 2015, 3.2).
      interpolation: how it is resized.
    """

    crops: int = 1
    size: int | None = None
    scales: tuple[int, ...] = ()
    dense: bool = False
    interpolation: Interpolation = LIKE_PIL

    def __str__(self) -> str:
        scales = f", short side {', '.join(map(str, self.scales))}" if self.scales else ""
        if self.dense:
            return f"dense: whole images and their mirror images{scales}"
        crops = f"{self.crops} crop{'s' if self.crops > 1 else ''} of {self.size}x{self.size}"
        return ("whole images" if self.size is None else crops) + scales


def choose_protocol(
    network: Network, crops: int = 1, size: int | None = None, scales: tuple[int, ...] = (), dense: bool = False
) -> Protocol:
    """The protocol asked for; where a size or scale is not, the network's own, or of 144 crops the paper's scales.

    Raises ConfigError on what does not go together.
    """
    if crops not in CROPS:
        raise ConfigError(f"--crops={crops}: choose from {', '.join(map(str, CROPS))}")
    if dense and (crops > 1 or size is not None):
        raise ConfigError("--dense sees whole images: leave --crops and --crop out")
    if dense:
        return Protocol(1, None, scales or network.scales, dense, network.interpolation)
    size = size or network.size or (network.model.image_size if crops > 1 else None)
    if crops == 144 and size is not None:
        scales = scales or scales_144(size)
    return Protocol(crops, size, scales or network.scales, interpolation=network.interpolation)


def check_protocol(protocol: Protocol, height: int, width: int, smallest: int) -> None:
    """Raises ConfigError where images of `height` x `width` cannot be shown so to a network built for `smallest`."""
    for scale in protocol.scales or (None,):
        shape = (height, width) if scale is None else resized_shape(height, width, scale)
        short, images = min(shape), f"images of {shape[0]}x{shape[1]}"
        larger = f"give --resize, for instance --resize={scales_144(protocol.size or smallest)[0]}"
        if protocol.size is not None and protocol.size > short:
            raise ConfigError(f"a crop of {protocol.size} does not fit in {images}: {larger}")
        if protocol.crops == 10 and protocol.size == short:
            raise ConfigError(f"ten crops of {protocol.size} in {images} are one and its mirror image: {larger}")
        if (protocol.size or short) < smallest:
            raise ConfigError(
                f"the network is built for {smallest} pixels a side and slides over more, not over "
                f"{protocol.size or short}: give --crop={smallest} or more, and --resize where images are smaller"
            )


def make_views(image: jax.Array, protocol: Protocol) -> list[jax.Array]:
    """What of images (B, H, W, C) the network is shown: [(B, V, h, w, C), ...], each of its own size."""
    if protocol.crops == 144 and protocol.size is not None:
        return [crops_144(image, protocol.size, protocol.scales, protocol.interpolation)]
    scaled = [resize_short_side(image, scale, protocol.interpolation) for scale in protocol.scales] or [image]
    if protocol.dense:
        return [jnp.stack([one, mirror(one)], axis=1) for one in scaled]
    if protocol.size is None:
        return [one[:, None] for one in scaled]
    if protocol.crops == 10:
        return [ten_crop(one, protocol.size) for one in scaled]
    return [center_crop(one, protocol.size)[:, None] for one in scaled]


def input_shape(network: Network, shape: tuple[int, ...]) -> tuple[int, ...]:
    """(H, W, C) of what the network's preprocessing makes of uint8 (H, W, C)."""
    return jax.eval_shape(network.preprocess, jax.ShapeDtypeStruct((1, *shape), jnp.uint8)).shape[1:]


def count_views(protocol: Protocol, shape: tuple[int, ...]) -> int:
    """How many times the network runs for one image of (H, W, C)."""
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    return sum(one.shape[1] for one in jax.eval_shape(lambda image: make_views(image, protocol), image))


def streamed_views(network: Network, protocol: Protocol) -> stream.Views:
    """The protocol for images that are streamed and have any size. Raises ConfigError where they do not allow it."""
    if protocol.dense or protocol.size is None or not protocol.scales or protocol.interpolation != LIKE_PIL:
        raise ConfigError("--dense: streamed images have many shapes, each a program to compile: give --crops instead")
    for short_side in protocol.scales:
        check_protocol(protocol._replace(scales=()), short_side, short_side, network.model.image_size)
    return stream.Views(protocol.crops, protocol.size, protocol.scales)


def log_probabilities(network: Network, variables: Any, image: jax.Array, protocol: Protocol) -> jax.Array:
    """Logarithms (B, K) of the class probabilities of uint8 images (B, H, W, C), averaged over what is shown of each.

    Streamed images are what is shown of them already: (B, V, h, w, C). Within one view the scores of a network that
    slides are averaged before the softmax (Simonyan & Zisserman 2015).
    """
    if image.ndim == 5:
        all_views = [network.preprocess(image.reshape(-1, *image.shape[2:])).reshape(image.shape)]
    else:
        all_views = make_views(network.preprocess(image), protocol)
    log_softmaxes = []
    for view in all_views:
        logits, _ = network.model.apply(variables, view.reshape(-1, *view.shape[2:]), train=False)
        log_softmaxes.append(jax.nn.log_softmax(logits.astype(jnp.float32)).reshape(*view.shape[:2], -1))
    stacked = jnp.concatenate(log_softmaxes, axis=1)  # (B, V, K)
    return jax.nn.logsumexp(stacked, axis=1) - np.float32(np.log(stacked.shape[1]))


def top_5_error(log_probability: jax.Array, label: jax.Array) -> jax.Array:
    """0 where the label is among the five likeliest of (B, K), else 1, (B,) float32; 1 where a value is no number."""
    _, five = jax.lax.top_k(log_probability, 5)
    correct = (five == label[:, None]).any(axis=1) & ~jnp.isnan(log_probability).any(axis=1)
    return 1.0 - correct.astype(jnp.float32)


def make_evaluate(network: Network, protocol: Protocol) -> tuple[Callable[..., Any], Sequence[str]]:
    """A task's `evaluate` (see Task) under the protocol, and the names of its sums."""
    names = (*SUMS, "top5_error") if network.model.num_classes >= TOP_5_FROM else SUMS

    def evaluate(variables: Any, batch: Any) -> Any:
        log_probability = log_probabilities(network, variables, batch["image"], protocol)
        loss, error = loss_and_error(log_probability, batch["label"])
        each = {"loss": loss, "error": error, "count": jnp.ones_like(loss)}
        if "top5_error" in names:
            each["top5_error"] = top_5_error(log_probability, batch["label"])
        return {name: jnp.where(batch["mask"], each[name], 0).sum() for name in names}

    return evaluate, names


def evaluate(
    network: Network,
    examples: Mapping[str, np.ndarray] | stream.Encoded,
    protocol: Protocol,
    layout: Layout,
    batch_size: int = 128,
    progress: bool = False,
    workers: int = 0,
) -> dict[str, float]:
    """Means over all examples: `loss` (nats of the averaged probabilities), `error`, from 10 classes on `top5_error`.

    Args:
      network: see Network.
      examples: `image` uint8 (N, H, W, C) and `label` int32 (N,), or a streamed split.
      protocol: see Protocol.
      layout: the devices.
      batch_size: images that the network sees at once, all crops counted; at least one example a device.
      progress: whether to draw a bar on stderr.
      workers: processes that decode streamed images; 0 is threads.

    Returns:
      with them `examples`, and `images_per_second`, of examples, compiling left out.

    Raises:
      ConfigError: see `check_protocol` and `streamed_views`.
      DataError: a streamed image is damaged.
    """
    devices_ = len(layout.devices)
    if isinstance(examples, Mapping):
        shape = input_shape(network, examples["image"].shape[1:])
        check_protocol(protocol, *shape[:2], network.model.image_size)
        count, resident, views_per_image = len(examples["label"]), dict(examples), count_views(protocol, shape)
    else:
        shown = streamed_views(network, protocol)
        count, resident, views_per_image = len(examples), {}, shown.views
    batch_size = devices_ * min(max(1, batch_size // views_per_image // devices_), -(-count // devices_))
    function, names = make_evaluate(network, protocol)
    step = devices.parallelize(layout, make_evaluate_step(function, layout.axis_name), "rrrs", donate=(0,))
    variables, arrays = devices.replicate(layout, (network.variables, resident))
    if isinstance(examples, Mapping):
        batches = iter(feed.index_batches(count, batch_size, layout))
    else:
        batches = stream.evaluation(examples, batch_size=batch_size, share=layout.share, shown=shown, workers=workers)
    first = next(batches)
    compiled = step(devices.replicate(layout, zero_sums(names)), variables, arrays, devices.shard(layout, first))
    jax.block_until_ready(compiled)
    begun = time.perf_counter()
    means, _ = exact.evaluate(layout, step, variables, arrays, itertools.chain([first], batches), names, progress)
    return means | {"examples": count, "images_per_second": count / (time.perf_counter() - begun)}


def predict_top_5(network: Network, image: np.ndarray, protocol: Protocol) -> list[tuple[int, float]]:
    """The five likeliest classes of uint8 (H, W, C), or all where there are fewer, with their probabilities."""
    check_protocol(protocol, *input_shape(network, image.shape)[:2], network.model.image_size)
    logarithms = jax.jit(lambda variables, image: log_probabilities(network, variables, image, protocol))(
        network.variables, image[None]
    )
    probabilities = np.exp(np.asarray(logarithms[0]))
    return [(int(index), float(probabilities[index])) for index in np.argsort(-probabilities, kind="stable")[:5]]


def recompute_batch_norm(
    network: Network, images: np.ndarray, layout: Layout, batch_size: int = 128, progress: bool = False
) -> Network:
    """The network with batch-norm statistics of these images in place of its moving averages, as He et al. tested.

    Each batch is normalised by its own statistics, as in training, every image once and unaugmented, in an order drawn
    at random; `combine_statistics` makes one whole of the batches, the last of which may be smaller.

    Args:
      network: see Network.
      images: uint8 (N, H, W, C), the training split.
      layout: the devices.
      batch_size: images in a batch.
      progress: whether to draw a bar on stderr.

    Raises:
      ConfigError: the network has no batch normalisation.
    """
    if "batch_stats" not in network.variables:
        raise ConfigError("--recompute_batch_norm: this network has no batch normalisation; leave it out")
    overrides = {"bn_momentum": 0.0, "bn_group": "global", "dropout": 0.0}
    model = network.model.clone(**{name: value for name, value in overrides.items() if hasattr(network.model, name)})
    protocol = choose_protocol(network)
    shape = input_shape(network, images.shape[1:])
    check_protocol(protocol, *shape[:2], model.image_size)

    @jax.jit
    def statistics(variables: Any, examples: Any, indices: jax.Array) -> Any:
        (view,) = make_views(network.preprocess(take(examples, indices)["image"]), protocol)
        _, state = model.apply(variables, view[:, 0], train=True, mutable=["batch_stats"])
        return state["batch_stats"]

    variables, examples = devices.replicate(layout, (network.variables, {"image": images}))
    order, jit = epoch_order(len(images), 0, 0), layout._replace(parallel="jit")
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    parts = []
    for batch in tqdm(batches, "batch norm", unit="batch", disable=not progress):
        whole = len(batch) % len(layout.devices) == 0
        indices = devices.shard(jit, {"index": batch})["index"] if whole else devices.replicate(layout, batch)
        parts.append(jax.device_get(statistics(variables, examples, indices)))
    combined = combine_statistics(parts, [len(batch) for batch in batches])
    return network._replace(variables=dict(network.variables) | {"batch_stats": combined})
