"""What of an image a network is shown: one crop, ten, 144, or the whole image, at one scale or several."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from cnn_jax.config import ConfigError
from cnn_jax.data import stream
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
from cnn_jax.network import Network

CROPS = (1, 10, 144)


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


def streamed_views(network: Network, protocol: Protocol) -> tuple[stream.Views | stream.Fitted, int]:
    """What is shown of streamed images, which have any size, and how many times the network runs for one.

    Where the network saw images of one size, they are made as large, and shown as those. Where nothing says how they
    are resized, a crop is as large as the image allows. Raises ConfigError where they do not allow the protocol.
    """
    if network.image_size is not None:
        shape = input_shape(network, (*network.image_size, network.channels))
        check_protocol(protocol, *shape[:2], network.model.image_size)
        return stream.Fitted(*network.image_size, network.channels), count_views(protocol, shape)
    if protocol.dense or protocol.size is None or protocol.interpolation != LIKE_PIL:
        raise ConfigError("--dense: images of any size have many shapes, each a program to compile: give --crops")
    short_sides = protocol.scales or (protocol.size,)
    for short_side in short_sides:
        check_protocol(protocol._replace(scales=()), short_side, short_side, network.model.image_size)
    views = stream.Views(protocol.crops, protocol.size, short_sides)
    return views, views.views
