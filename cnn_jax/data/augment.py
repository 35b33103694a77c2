"""Standardisation and augmentation on the device: pure functions of (keys, image), to run inside the jitted step.

The recipe is that of He et al. 2016, 4.2 for CIFAR: subtract the per-pixel mean, pad 4 pixels on each side, take a
random crop of the old size, flip it at random. In training the order is standardize, crop, flip, so the zeros of the
padding stand for the mean.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np


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


def random_crop(keys: jax.Array, image: jax.Array, pad: int) -> jax.Array:
    """Pads with zeros all round and crops back to the old size, where each example's key says.

    Args:
      keys: typed PRNG keys (B,); the draws are independent of those of `random_flip` with the same keys.
      image: (B, H, W, C), already standardized.
      pad: pixels on each side; both offsets are uniform in 0..2 * pad.

    Returns:
      (B, H, W, C), the dtype of `image`.
    """
    _, height, width, channels = image.shape
    padded = jnp.pad(image, ((0, 0), (pad, pad), (pad, pad), (0, 0)))  # (B, H + 2 pad, W + 2 pad, C)

    def crop(key: jax.Array, one: jax.Array) -> jax.Array:
        top, left = jax.random.randint(jax.random.fold_in(key, 0), (2,), 0, 2 * pad + 1)
        return jax.lax.dynamic_slice(one, (top, left, 0), (height, width, channels))

    # Becomes one batched gather: the fastest of seven forms on CPU, and one that keeps a sharded batch where it is.
    return jax.vmap(crop)(keys, padded)


def random_flip(keys: jax.Array, image: jax.Array) -> jax.Array:
    """Mirrors each image left to right with probability 1/2.

    Args:
      keys: typed PRNG keys (B,); the draws are independent of those of `random_crop` with the same keys.
      image: (B, H, W, C).

    Returns:
      (B, H, W, C), the dtype of `image`.
    """
    flip = jax.vmap(lambda key: jax.random.bernoulli(jax.random.fold_in(key, 1)))(keys)  # (B,)
    return jnp.where(flip[:, None, None, None], image[:, :, ::-1], image)
