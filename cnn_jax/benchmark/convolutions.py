"""Every convolution shape of the networks, forward and both gradients: the package's kernels beside XLA's own."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.layers.conv import conv
from cnn_jax.layers.convolutions import xla_conv


class Shape(NamedTuple):
    """Of a convolution: H = W = size in pixels, C channels to D features, f x f kernel."""

    network: str
    size: int
    channels: int
    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: int = 1


SHAPES = (
    Shape("ResNet conv1", 32, 3, 16),
    Shape("ResNet stage1", 32, 16, 16),
    Shape("ResNet stage2_block1", 32, 16, 32, stride=2),
    Shape("ResNet stage2", 16, 32, 32),
    Shape("ResNet stage3_block1", 16, 32, 64, stride=2),
    Shape("ResNet stage3", 8, 64, 64),
    Shape("LeNet-5 C1", 32, 1, 6, kernel_size=5, padding=0),
    Shape("LeNet-5 C3", 14, 6, 16, kernel_size=5, padding=0),
    Shape("LeNet-5 C5", 5, 16, 120, kernel_size=5, padding=0),
    Shape("VGG conv1_1", 32, 3, 64),
    Shape("VGG conv1_2", 32, 64, 64),
    Shape("VGG conv2_1", 16, 64, 128),
    Shape("VGG conv2_2", 16, 128, 128),
    Shape("VGG conv3_1", 8, 128, 256),
    Shape("VGG conv3_2", 8, 256, 256),
    Shape("VGG conv4_1", 4, 256, 512),
    Shape("VGG conv4_2", 4, 512, 512),
    Shape("VGG conv5_1", 2, 512, 512),
)
KINDS = ("forward", "input gradient", "kernel gradient")


def make_timer(function: Callable[..., Any], *arguments: jax.Array) -> Callable[[], float]:
    """A timer of one call of the compiled function."""
    compiled = jax.jit(function)
    jax.block_until_ready(compiled(*arguments))

    def call() -> float:
        begun = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        return time.perf_counter() - begun

    return call


def gradient(
    convolve: Callable[..., Any], argument: int, x: jax.Array, kernel: jax.Array, y_bar: jax.Array
) -> jax.Array:
    """That by the input (0) or by the kernel (1) alone; the compiler leaves the other out."""
    return jax.vjp(convolve, x, kernel)[1](y_bar)[argument]


def measure(shape: Shape, batch_size: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Median milliseconds of ours and of XLA's in alternation, for each of KINDS."""
    generator = np.random.default_rng(0)
    sizes = (batch_size, shape.size, shape.size, shape.channels)
    x = jnp.asarray(generator.standard_normal(sizes, np.float32))
    kernel_sizes = (shape.kernel_size, shape.kernel_size, shape.channels, shape.features)
    kernel = jnp.asarray(generator.standard_normal(kernel_sizes, np.float32))
    timers: dict[str, list[Callable[[], float]]] = {kind: [] for kind in KINDS}
    for convolve in (lambda x, k: conv(x, k, shape.stride, shape.padding), xla_conv(shape.stride, shape.padding)):
        y = convolve(x, kernel)
        timers["forward"].append(make_timer(convolve, x, kernel))
        timers["input gradient"].append(make_timer(partial(gradient, convolve, 0), x, kernel, y))
        timers["kernel gradient"].append(make_timer(partial(gradient, convolve, 1), x, kernel, y))
    return {
        kind: tuple(1e3 * np.median([[call() for call in pair] for _ in range(rounds)], axis=0))
        for kind, pair in timers.items()
    }


def measure_table(batch_size: int, rounds: int) -> str:
    """A line a shape as it is measured, with the milliseconds of both and ours in operations a second."""
    heads = "".join(f"{kind:>26}" for kind in KINDS)
    lines = [f"{'batch ' + str(batch_size):<22}{'map':>14}{heads}", f"{'':<36}{'ms ours / XLA   GFLOP/s':>26}"]
    for shape in SHAPES:
        out = (shape.size + 2 * shape.padding - shape.kernel_size) // shape.stride + 1
        flops = 2 * batch_size * out**2 * shape.kernel_size**2 * shape.channels * shape.features
        cells = "".join(
            f"{f'{ours:.2f} / {xla:.2f}   {flops / ours / 1e6:.0f}':>26}"
            for ours, xla in measure(shape, batch_size, rounds).values()
        )
        lines.append(f"{shape.network:<22}{f'{shape.size}x{shape.channels}->{shape.features}':>14}{cells}")
    return "\n".join(lines)
