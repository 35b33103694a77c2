"""Standardisation and augmentation on the device: pure functions of (keys, image), to run inside the jitted step.

The recipe is that of He et al. 2016, 4.2 for CIFAR: subtract the per-pixel mean, pad 4 pixels on each side, take a
random crop of the old size, flip it at random. In training the order is standardize, crop, flip, so the zeros of the
padding stand for the mean.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.data.dataset import VOID


def take(arrays: Mapping[str, jax.Array], indices: jax.Array) -> dict[str, jax.Array]:
    """Gathers a batch on the device from arrays that live there.

    Args:
      arrays: each (N, ...).
      indices: int32 (B,) in [0, N), as `batches` makes them; a device cannot raise, and clips what lies outside.

    Returns:
      the same names, each (B, ...).
    """
    return {name: jnp.take(array, indices, axis=0, mode="clip") for name, array in arrays.items()}


def pixel_mean(images: np.ndarray) -> np.ndarray:
    """Per-pixel mean of uint8 (N, H, W, C) images, float32 (H, W, C) in [0, 1]; on the host.

    The sum is of integers, hence exact whatever the order, and makes no float copy of the images.
    """
    total = images.sum(axis=0, dtype=np.int64)
    return (total / (255 * len(images))).astype(np.float32)


def standardize(image: jax.Array, mean: jax.Array | np.ndarray, std: jax.Array | np.ndarray | float = 1.0) -> jax.Array:
    """`(image / 255 - mean) / std`: uint8 (B, H, W, C) to float32; mean and std are (H, W, C), (C,) or (1,)."""
    mean, std = (jnp.asarray(value).reshape((1,) * (4 - np.ndim(value)) + np.shape(value)) for value in (mean, std))
    return (image.astype(jnp.float32) / 255 - mean) / std


def on_canvas(image: jax.Array | np.ndarray, size: int) -> jax.Array:
    """(B, H, W, C) in the middle of black images (B, size, size, C)."""
    margins = [(size - length) // 2 for length in image.shape[1:3]]
    padding = [(before, size - length - before) for before, length in zip(margins, image.shape[1:3], strict=True)]
    return jnp.pad(image, [(0, 0), *padding, (0, 0)])


def average_pool(image: jax.Array, size: int) -> jax.Array:
    """Means over squares of `size` pixels: (B, H, W, C) to (B, H / size, W / size, C); `size` divides H and W."""
    batch, height, width, channels = image.shape
    return image.reshape(batch, height // size, size, width // size, size, channels).mean(axis=(2, 4))


def example_keys(key: jax.Array, slots: jax.Array) -> jax.Array:
    """One key per example, (B,), from the step's key and each example's slot in the global batch, int32 (B,).

    An example's numbers depend on its slot and not on the device that holds it, so they are the same on any number of
    devices.
    """
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, slots)


class Shift(NamedTuple):
    """How the examples of a batch are moved; each field of it as it lies in the image.

    Attributes:
      pad: pixels that an image is padded by on each side before it is cropped back to its size; 0 is no crop.
      corner: int32 (B, 2), top and left of the crop in the padded image, in 0..2 * pad.
      mirrored: bool (B,), whether the crop is then mirrored left to right; None is none of them.
    """

    pad: int
    corner: jax.Array
    mirrored: jax.Array | None


def random_shift(keys: jax.Array, pad: int, flip: bool) -> Shift:
    """Crops whose corners are uniform, and with `flip` mirror images with probability 1/2, independent of each other.

    Args:
      keys: typed PRNG keys (B,), an example's own.
      pad: pixels on each side.
      flip: whether to mirror.
    """
    corner = jax.vmap(lambda key: jax.random.randint(jax.random.fold_in(key, 0), (2,), 0, 2 * pad + 1))(keys)
    mirrored = jax.vmap(lambda key: jax.random.bernoulli(jax.random.fold_in(key, 1)))(keys) if flip else None
    return Shift(pad, corner, mirrored)


def shift_pixels(pixels: jax.Array, shift: Shift, fill: int = 0) -> jax.Array:
    """(B, H, W, ...) as they are shifted, of the same shape and dtype; what comes in from outside is `fill`."""
    if shift.pad:
        margins = ((0, 0), (shift.pad,) * 2, (shift.pad,) * 2, *((0, 0),) * (pixels.ndim - 3))
        padded = jnp.pad(pixels, margins, constant_values=fill)  # (B, H + 2 pad, W + 2 pad, ...)
        rest = (0,) * (pixels.ndim - 3)
        # Becomes one batched gather: the fastest of seven forms on CPU, and one that keeps a sharded batch where it is.
        pixels = jax.vmap(lambda one, corner: jax.lax.dynamic_slice(one, (*corner, *rest), pixels.shape[1:]))(
            padded, shift.corner
        )
    if shift.mirrored is not None:
        mirrored = shift.mirrored.reshape(-1, *(1,) * (pixels.ndim - 1))
        pixels = jnp.where(mirrored, pixels[:, :, ::-1], pixels)
    return pixels


def shift_boxes(boxes: jax.Array, shift: Shift, height: int, width: int) -> jax.Array:
    """Boxes (B, M, 4) of images of that size as they are shifted, clipped to the image; those without area are 0."""
    top, left = ((shift.pad - shift.corner[:, axis, None]).astype(boxes.dtype) for axis in (0, 1))
    x0, y0, x1, y1 = (boxes[..., place] + offset for place, offset in enumerate((left, top, left, top)))
    if shift.mirrored is not None:
        mirrored = shift.mirrored[:, None]
        x0, x1 = jnp.where(mirrored, width - x1, x0), jnp.where(mirrored, width - x0, x1)
    x0, x1, y0, y1 = jnp.clip(x0, 0, width), jnp.clip(x1, 0, width), jnp.clip(y0, 0, height), jnp.clip(y1, 0, height)
    seen = (boxes[..., 2:] > boxes[..., :2]).all(axis=-1) & (x1 > x0) & (y1 > y0)  # (B, M)
    return jnp.where(seen[..., None], jnp.stack([x0, y0, x1, y1], axis=-1), 0)


def random_crop_and_flip(
    batch: Mapping[str, jax.Array], kinds: Mapping[str, str], keys: jax.Array, pad: int, flip: bool
) -> dict[str, jax.Array]:
    """The batch with every field that lies in the image moved alike, as each example's key says.

    Args:
      batch: fields (B, ...), images (standardized, so that the zeros of the padding stand for the mean), label maps
        and boxes of one height and width; of boxes, an image or label map too.
      kinds: the kind of each field that may move, see `Field`; others stay. Images are padded with 0, label maps with
        void; of boxes of which nothing is left `box_mask` is False.
      keys: typed PRNG keys (B,).
      pad: pixels of padding on each side before the crop back to size; 0 is no crop.
      flip: whether half of the examples are mirrored left to right.
    """
    shift, moved = random_shift(keys, pad, flip), dict(batch)
    fills = {"image": 0, "label_map": VOID}
    fields = {name: kind for name, kind in kinds.items() if name in batch}
    for name, kind in fields.items():
        if kind in fills:
            moved[name] = shift_pixels(batch[name], shift, fills[kind])
    for name in (name for name, kind in fields.items() if kind == "boxes"):
        height, width = next(batch[one].shape[1:3] for one, kind in fields.items() if kind in fills)
        moved[name] = shift_boxes(batch[name], shift, height, width)
        for mask in (one for one, kind in fields.items() if kind == "box_mask"):
            moved[mask] = batch[mask] & (moved[name][..., 2] > moved[name][..., 0])
    return moved
