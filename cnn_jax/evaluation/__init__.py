"""Trained networks, tested as the papers do: one crop, ten, 144, or the whole image, at one scale or several.

A protocol says what of an image the network is shown; the class probabilities of all of it are averaged.
"""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from cnn_jax.config import ConfigError
from cnn_jax.data import stream
from cnn_jax.data.augment import take
from cnn_jax.data.batches import epoch_order
from cnn_jax.evaluation.answers import NONE, Answers, likeliest
from cnn_jax.evaluation.protocol import (
    Protocol,
    check_protocol,
    choose_protocol,
    count_views,
    input_shape,
    make_views,
    streamed_views,
)
from cnn_jax.layers.norm import combine_statistics
from cnn_jax.network import Network
from cnn_jax.tasks.classification import SUMS, loss_and_error
from cnn_jax.train import devices, feed
from cnn_jax.train import evaluate as exact
from cnn_jax.train.devices import Layout
from cnn_jax.train.step import make_evaluate_step, zero_sums

TOP_5_FROM = 10
"""Classes from which there is a top-5 error: of fewer, five guesses are most of them."""


def log_probabilities(network: Network, variables: Any, image: jax.Array, protocol: Protocol) -> jax.Array:
    """Logarithms (B, K) of the class probabilities of uint8 images (B, H, W, C), averaged over what is shown of each.

    Of streamed images these may be what is shown of them already: (B, V, h, w, C). Within one view the scores of a
    network that slides are averaged before the softmax (Simonyan & Zisserman 2015).
    """
    if image.ndim == 5:
        seen = network.preprocess(image.reshape(-1, *image.shape[2:]))
        all_views = [seen.reshape(*image.shape[:2], *seen.shape[1:])]
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


def measure_each(log_probability: jax.Array, label: jax.Array) -> dict[str, jax.Array]:
    """`loss` and `error`, and from ten classes on `top5_error`, of each of (B, K): float32 (B,) each."""
    loss, error = loss_and_error(log_probability, label)
    five = {"top5_error": top_5_error(log_probability, label)} if log_probability.shape[1] >= TOP_5_FROM else {}
    return {"loss": loss, "error": error} | five


def make_evaluate(network: Network, protocol: Protocol) -> tuple[Callable[..., Any], Sequence[str]]:
    """A task's `evaluate` (see Task) under the protocol, and the names of its sums."""
    names = (*SUMS, "top5_error") if network.model.num_classes >= TOP_5_FROM else SUMS

    def evaluate(variables: Any, batch: Any) -> Any:
        log_probability = log_probabilities(network, variables, batch["image"], protocol)
        each = measure_each(log_probability, batch["label"]) | {"count": jnp.ones(len(batch["label"]))}
        return {name: jnp.where(batch["mask"], each[name], 0).sum() for name in names}

    return evaluate, names


def make_outputs(network: Network, protocol: Protocol, label: str = "label") -> Callable[..., Any]:
    """A task's `outputs` (see Task): what `Answers` holds of each image, `label` and measures where it has a label.

    `label` is the field that has it.
    """

    def outputs(variables: Any, batch: Any) -> Any:
        log_probability = log_probabilities(network, variables, batch["image"], protocol)
        answered = likeliest(log_probability)
        if label not in batch:
            return answered
        return answered | {"label": batch[label]} | measure_each(log_probability, batch[label])

    return outputs


def evaluate(network: Network, *arguments: Any, **options: Any) -> dict[str, float]:
    """Means over all examples: `loss` (nats of the averaged probabilities), `error`, from 10 classes on `top5_error`.

    With them `examples`, and `images_per_second`, of examples, compiling left out. Called, and raises, as `answer` is.
    """
    return answer(network, *arguments, **options).means


def answer(
    network: Network,
    examples: Mapping[str, np.ndarray] | stream.Encoded,
    protocol: Protocol,
    layout: Layout,
    batch_size: int = 128,
    progress: bool = False,
    workers: int = 0,
    label: str = "label",
) -> Answers:
    """What the network says of every example, once and in order; and where they have labels, how good it is.

    Args:
      network: see Network.
      examples: `image` uint8 (N, H, W, C), or a streamed split; with labels int32 (N,), or without.
      protocol: see Protocol.
      layout: the devices.
      batch_size: images that the network sees at once, all crops counted; at least one example a device.
      progress: whether to draw a bar on stderr.
      workers: processes that decode streamed images; 0 is threads.
      label: the field that has the labels.

    Raises:
      ConfigError: see `check_protocol` and `streamed_views`.
      DataError: a streamed image is damaged.
    """
    devices_ = len(layout.devices)
    if isinstance(examples, Mapping):
        shape = input_shape(network, examples["image"].shape[1:])
        check_protocol(protocol, *shape[:2], network.model.image_size)
        count, resident, views_per_image = len(examples["image"]), dict(examples), count_views(protocol, shape)
    else:
        shown, views_per_image = streamed_views(network, protocol)
        count, resident = len(examples), {}
    batch_size = devices_ * min(max(1, batch_size // views_per_image // devices_), -(-count // devices_))
    evaluate_step = make_evaluate_step(count_examples, layout.axis_name, make_outputs(network, protocol, label))
    step = devices.parallelize(layout, evaluate_step, "rrrs", donate=(0,))
    variables, arrays = devices.replicate(layout, (network.variables, resident))
    if isinstance(examples, Mapping):
        batches = iter(feed.index_batches(count, batch_size, layout))
    else:
        batches = stream.evaluation(examples, batch_size=batch_size, share=layout.share, shown=shown, workers=workers)
    first = next(batches)
    compiled = step(devices.replicate(layout, zero_sums(["count"])), variables, arrays, devices.shard(layout, first))
    jax.block_until_ready(compiled)
    begun = time.perf_counter()
    batches = itertools.chain([first], batches)
    total = -(-count // batch_size)
    _, each = exact.evaluate(layout, step, variables, arrays, batches, ["count"], progress, total)
    speed = count / (time.perf_counter() - begun)
    labels = each.pop("label", np.full(count, NONE, np.int32))
    return Answers(each.pop("classes"), each.pop("probabilities"), labels, each, speed)


def count_examples(variables: Any, batch: Any) -> dict[str, jax.Array]:
    """The sums of a task that has outputs alone."""
    return {"count": batch["mask"].sum(dtype=jnp.float32)}


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
