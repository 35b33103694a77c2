"""A trained network as a user holds it: model, variables, preprocessing and class names, which belong together."""

import os
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.config import ConfigError
from cnn_jax.data import inputs
from cnn_jax.data import preprocess as preprocessing
from cnn_jax.data.crops import LIKE_PIL, Interpolation
from cnn_jax.data.dataset import AS_STORED, Decoding
from cnn_jax.data.stream.views import fit

LOGITS = "logits"


class Network(NamedTuple):
    """A trained network and what it expects to be shown; `cnn_jax.load` gives one.

        network = cnn_jax.load("squeezenet1_1.safetensors", "squeezenet1_1", "torchvision")
        for name, probability in network.classify("daisy.jpg")[0]:
            print(f"{probability:.1%} {name}")
        probabilities = network.predict(["daisy.jpg", "rose.png"])  # (2, 1000)
        fire9 = network.features(["daisy.jpg", "rose.png"], "fire9")  # (2, 13, 13, 512)

    Attributes:
      model: with fields `num_classes` and `image_size`; `model.apply(variables, x)` gives logits (B, K) and endpoints.
      variables: as arrays of numpy or JAX.
      preprocess: what turns uint8 (B, H, W, C) into what the network sees, float32, before it is resized and cropped.
      channels: C.
      scales: the short side, in pixels, that its images are resized to; none leaves them as they are.
      size: pixels a side of the middle that it is shown, or None for the whole image.
      interpolation: how they are resized.
      class_names: of its K classes.
      image_size: height and width of the images it was trained on, before `preprocess`, where all had one size.
    """

    model: Any
    variables: Any
    preprocess: Callable[[jax.Array], jax.Array]
    channels: int
    scales: tuple[int, ...] = ()
    size: int | None = None
    interpolation: Interpolation = LIKE_PIL
    class_names: tuple[str, ...] = ()
    image_size: tuple[int, int] | None = None

    @property
    def parameters(self) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(self.variables["params"]))

    @property
    def decoding(self) -> Decoding:
        """How encoded images become pixels for it."""
        return getattr(self.preprocess, "decoding", AS_STORED)

    def predict(self, images: Any, batch_size: int = 64) -> np.ndarray:
        """The class probabilities, float32 (N, K), of the middle of each image, as the network's own protocol has it.

        Args:
          images: uint8 (N, H, W, C) or (H, W, C); a path or a PIL image; or a list of paths, PIL images and uint8
            (H, W, C) of any sizes. Each is resized as PIL does and cropped as the network was tested by its authors.
          batch_size: images that the network sees at once.

        Raises DataError where something is no image, or an array has another type or other channels.
        """
        return np.asarray(jax.nn.softmax(self._run(images, LOGITS, batch_size)))

    def classify(self, images: Any, top: int = 5) -> list[list[tuple[str, float]]]:
        """Of each image the `top` likeliest classes, the likeliest first: (name, probability). As `predict`."""
        rows = self.predict(images)
        likeliest = np.argsort(-rows, axis=1, kind="stable")[:, :top]
        return [
            [(self.class_names[index], float(row[index])) for index in order]
            for row, order in zip(rows, likeliest.tolist(), strict=True)
        ]

    def features(self, images: Any, endpoint: str, batch_size: int = 64) -> np.ndarray:
        """What an endpoint makes of each image, float32 (N, ...); `logits` is one too. As `predict`.

        Raises ConfigError on an unknown endpoint, naming those there are.
        """
        return self._run(images, endpoint, batch_size)

    def _run(self, images: Any, endpoint: str, batch_size: int) -> np.ndarray:
        variables = jax.device_put(self.variables)
        parts = []
        for shown, count in self._batches(images, batch_size):
            seen = self.preprocess(jnp.asarray(shown))
            parts.append(np.asarray(apply(self.model, variables, seen, endpoint))[:count])
        return np.concatenate(parts)

    def _batches(self, images: Any, batch_size: int) -> Generator[tuple[np.ndarray, int]]:
        """`(uint8 (B, H, W, C), images)`: batches of one shape, the last filled up by repeating its first image."""
        given = inputs.as_sequence(images)
        # By a power of two, so that calls with other numbers of images share what is compiled.
        batch_size = min(batch_size, 1 << (len(given) - 1).bit_length())
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(given), batch_size):
                rows = list(pool.map(self.show, given[start : start + batch_size]))
                yield np.stack(rows + rows[:1] * (batch_size - len(rows))), len(rows)

    def show(self, image: Any) -> np.ndarray:
        """The middle of one image that the network is shown, before `preprocess`: uint8 (h, w, C).

        Raises DataError on what is no image, ConfigError where the network sees several scales.
        """
        if len(self.scales) > 1 or self.interpolation != LIKE_PIL:
            raise ConfigError("one view of each image is looked at, resized as PIL does: evaluate tests under others")
        pixels = inputs.read_pixels(image, self.channels, self.decoding)
        if self.scales and self.size:
            return fit(pixels, (self.size, self.size), self.scales[0])
        side: int = self.size or self.model.image_size
        return fit(pixels, self.image_size or (side, side))


@partial(jax.jit, static_argnames=("model", "endpoint"))
def apply(model: Any, variables: Any, image: jax.Array, endpoint: str) -> jax.Array:
    """An endpoint, or the logits, of what the network sees, float32 (B, ...); compiled once a network and shape.

    Raises ConfigError on an unknown endpoint.
    """
    logits, endpoints = model.apply(variables, image, train=False)
    if endpoint not in (choices := {**endpoints, LOGITS: logits}):
        raise ConfigError(f"no endpoint {endpoint!r}; choose from {', '.join(choices)}")
    return choices[endpoint].astype(jnp.float32)


def describe(
    preprocess: Any,
    channels: int,
    class_names: tuple[str, ...],
    image_size: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """All of a Network but its model and variables, as JSON knows it; see there. `preprocess` is a Preprocess."""
    return {
        "preprocess": preprocess.to_json(),
        "channels": channels,
        "class_names": list(class_names),
        "image_size": image_size and list(image_size),
    }


def assemble(model: Any, variables: Any, about: Mapping[str, Any]) -> Network:
    """The network of a model, its variables and what `describe` says; of no crop, it sees its model's own size."""
    shown = preprocessing.from_json(about["preprocess"])
    image_size = about.get("image_size")
    return Network(
        model,
        variables,
        shown,
        channels=about["channels"],
        scales=() if shown.resize is None else (shown.resize,),
        size=shown.crop or (None if image_size else model.image_size),
        interpolation=Interpolation(shown.interpolation, shown.antialias),
        class_names=tuple(about["class_names"]),
        image_size=None if image_size is None else (image_size[0], image_size[1]),
    )
