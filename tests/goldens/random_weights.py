"""Random weights and images, drawn by name: PyTorch's side and ours draw the same, with numpy alone."""

import math
import re
import zlib
from collections.abc import Mapping

import numpy as np

SEED = 2026
SAMPLES = 64
RESIDUAL_BRANCH = re.compile(r"(layer\d\.\d+)\.bn\d\.weight")


def generator(name: str) -> np.random.Generator:
    """A generator that depends on the name alone."""
    return np.random.default_rng([SEED, zlib.crc32(name.encode())])


def normal(name: str, shape: tuple[int, ...], deviation: float = 1.0) -> np.ndarray:
    """float32 numbers from N(0, deviation^2)."""
    values = generator(name).standard_normal(shape, np.float32)
    values *= np.float32(deviation)
    return values


def uniform(name: str, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    """float32 numbers from U(low, high)."""
    return np.float32(low) + np.float32(high - low) * generator(name).random(shape, np.float32)


def random_state_dict(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Tensors for a PyTorch state dict of these names and shapes that keep activations near unit scale.

    Kernels have He et al.'s deviation, sqrt(2 / fan_in). The batch norm that ends a residual branch has small factors,
    or each of fifty blocks would double the variance.
    """
    return {name: random_tensor(name, tuple(shape), ends_branch(name, shapes)) for name, shape in shapes.items()}


def random_tensor(name: str, shape: tuple[int, ...], ends_branch: bool) -> np.ndarray:
    match name.rpartition(".")[2]:
        case "num_batches_tracked":
            return np.zeros(shape, np.int64)
        case "running_mean":
            return normal(name, shape, 0.2)
        case "running_var":
            return uniform(name, shape, 0.5, 1.5)
        case "bias":
            return normal(name, shape, 0.1)
    if len(shape) > 1:
        return normal(name, shape, math.sqrt(2 / math.prod(shape[1:])))
    return uniform(name, shape, 0.1, 0.3) if ends_branch else uniform(name, shape, 0.5, 1.5)


def ends_branch(name: str, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether it is the factors of the last batch norm of a torchvision residual block."""
    block = RESIDUAL_BRANCH.fullmatch(name)
    return block is not None and name == max(filter(re.compile(rf"{block[1]}\.bn\d\.weight").fullmatch, shapes))


def sample_positions(name: str, size: int) -> np.ndarray:
    """Where an array of that size, flattened, is recorded: SAMPLES places, or all of a smaller one."""
    return np.arange(size) if size <= SAMPLES else generator(name).integers(size, size=SAMPLES)


def summary(name: str, array: np.ndarray) -> np.ndarray:
    """Mean, standard deviation and samples of an array, float64 (2 + SAMPLES,) or fewer."""
    values = np.asarray(array, np.float64).ravel()
    return np.concatenate([[values.mean(), values.std()], values[sample_positions(name, values.size)]])
