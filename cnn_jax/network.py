"""A trained network as a user holds it: model, variables, preprocessing and class names, which belong together."""

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, overload

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.config import ConfigError
from cnn_jax.data import inputs
from cnn_jax.data import preprocess as preprocessing
from cnn_jax.data.crops import LIKE_PIL, Interpolation
from cnn_jax.data.dataset import AS_STORED, Decoding
from cnn_jax.data.stream.views import fit
from cnn_jax.extraction import Extracted, extract

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

    @overload
    def features(self, images: Any, endpoint: str, batch_size: int = 64) -> np.ndarray: ...

    @overload
    def features(self, images: Any, endpoint: Sequence[str], batch_size: int = 64) -> dict[str, np.ndarray]: ...

    def features(
        self, images: Any, endpoint: str | Sequence[str], batch_size: int = 64
    ) -> np.ndarray | dict[str, np.ndarray]:
        """What an endpoint makes of each image, float32 (N, ...); `logits` is one too. As `predict`.

        Of several endpoints, a list of names, all are computed in one pass: a dict of them. What is too much to be
        held whole is had batch by batch, and on several devices, by `stream`.

        Raises ConfigError on an unknown endpoint, naming those there are.
        """
        if isinstance(endpoint, str):
            return self._run(images, endpoint, batch_size)
        compute = partial(apply_all, self.model, tuple(endpoint))
        parts = [part.outputs for part in self.stream(compute, images, batch_size)]
        return {name: np.concatenate([part[name] for part in parts]) for name in endpoint}

    def _run(self, images: Any, endpoint: str, batch_size: int) -> np.ndarray:
        compute = partial(apply, self.model, endpoint=endpoint)
        return np.concatenate([part.outputs for part in self.stream(compute, images, batch_size)])

    def stream(
        self,
        compute: Callable[[Any, jax.Array], Any],
        images: Any,
        batch_size: int = 64,
        devices: Sequence[jax.Device] = (),
        skip_damaged: bool = False,
    ) -> Generator[Extracted]:
        """`compute(variables, image)` of what the network sees of each image, float32 (B, H, W, C), by batches.

        Args:
          images: as `predict` takes them, or a streamed split, see `stream.Encoded`.
          compute, batch_size, devices, skip_damaged: see `extraction.extract`.

        Raises DataError, see `predict` and `extract`.
        """

        def see(variables: Any, shown: jax.Array) -> Any:
            return compute(variables, self.preprocess(shown))

        given = inputs.as_sequence(images)
        return extract(
            see, self.variables, lambda place: self.show(given[place]), len(given), batch_size, devices, skip_damaged
        )

    def endpoint_shapes(self) -> dict[str, tuple[int, ...]]:
        """(H, W, C) or (C,) of every endpoint for one image, in the network's order; nothing is computed.

        The logits come last, where they are not an endpoint themselves.
        """
        shapes: dict[str, tuple[int, ...]] = {}

        def trace(shown: jax.Array) -> None:
            logits, endpoints = self.model.apply(self.variables, self.preprocess(shown), train=False)
            others = {} if any(one is logits for one in endpoints.values()) else {LOGITS: logits}
            shapes.update({name: one.shape[1:] for name, one in {**endpoints, **others}.items()})

        jax.eval_shape(trace, jax.ShapeDtypeStruct((1, *self.shown_size, self.channels), jnp.uint8))
        return shapes

    @property
    def shown_size(self) -> tuple[int, int]:
        """Height and width of what `show` gives."""
        if self.scales and self.size:
            return self.size, self.size
        side: int = self.size or self.model.image_size
        return self.image_size or (side, side)

    def show(self, image: Any) -> np.ndarray:
        """The middle of one image that the network is shown, before `preprocess`: uint8 (h, w, C).

        Raises DataError on what is no image, ConfigError where the network sees several scales.
        """
        if len(self.scales) > 1 or self.interpolation != LIKE_PIL:
            raise ConfigError("one view of each image is looked at, resized as PIL does: evaluate tests under others")
        pixels = inputs.read_pixels(image, self.channels, self.decoding)
        return fit(pixels, self.shown_size, self.scales[0] if self.scales and self.size else None)


@partial(jax.jit, static_argnames=("model", "endpoint"))
def apply(model: Any, variables: Any, image: jax.Array, endpoint: str) -> jax.Array:
    """An endpoint, or the logits, of what the network sees, float32 (B, ...); compiled once a network and shape.

    Raises ConfigError on an unknown endpoint.
    """
    return choose_endpoints(model, variables, image, (endpoint,))[endpoint]


@partial(jax.jit, static_argnames=("model", "names"))
def apply_all(model: Any, names: tuple[str, ...], variables: Any, image: jax.Array) -> dict[str, jax.Array]:
    """As `apply`, of several endpoints."""
    return choose_endpoints(model, variables, image, names)


def choose_endpoints(model: Any, variables: Any, image: jax.Array, names: Sequence[str]) -> dict[str, jax.Array]:
    """These of the endpoints and the logits, float32 (B, ...) each; raises ConfigError where there is no such one."""
    logits, endpoints = model.apply(variables, image, train=False)
    choices = {**endpoints, LOGITS: logits}
    for name in names:
        if name not in choices:
            raise ConfigError(f"no endpoint {name!r}; choose from {', '.join(choices)}")
    return {name: choices[name].astype(jnp.float32) for name in names}


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
