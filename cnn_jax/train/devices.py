"""The only file that knows how many devices there are.

`jit` on several devices shards the batch and lets the compiler place the sums; `pmap` maps the step over the devices,
which exchange gradients by name. The state has no device axis in either, so a checkpoint of one is a checkpoint of all.
"""

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, ParamSpec, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from cnn_jax.config import Config, ConfigError

AXIS = "data"
PARALLEL = ("auto", "jit", "pmap")
P = ParamSpec("P")
R = TypeVar("R")


class Layout(NamedTuple):
    """How a step is spread: `parallel` is jit or pmap, over these devices."""

    parallel: str
    devices: tuple[jax.Device, ...]

    @property
    def axis_name(self) -> str | None:
        """The mapped axis a step has to reduce over, or None."""
        return AXIS if self.parallel == "pmap" else None

    @property
    def mesh(self) -> Mesh:
        return Mesh(np.asarray(self.devices), (AXIS,), axis_types=(AxisType.Auto,))


def choose(parallel: str = "auto", count: int | None = None) -> Layout:
    """`auto` is jit on one device and pmap over several; `count` None is all devices. Raises ConfigError."""
    if parallel not in PARALLEL:
        raise ConfigError(f"--parallel={parallel}: choose from {', '.join(PARALLEL)}")
    devices = jax.devices()
    if count is not None and not 1 <= count <= len(devices):
        raise ConfigError(
            f"--devices={count}: this process has {len(devices)} ({devices[0].platform}); CPU devices are made by "
            f"./launch.sh or the environment variable JAX_NUM_CPU_DEVICES={count}"
        )
    devices = tuple(devices[:count])
    return Layout(("jit" if len(devices) == 1 else "pmap") if parallel == "auto" else parallel, devices)


def one_each(parallel: str = "auto", count: int | None = None) -> list[Layout]:
    """For each device that `choose` takes a layout of it alone, for runs side by side. Raises ConfigError."""
    if parallel == "pmap":
        raise ConfigError("--seeds_in_parallel gives each run one device, --parallel=pmap several: leave one out")
    devices = choose(parallel, count).devices
    if len(devices) == 1:
        raise ConfigError(
            f"--seeds_in_parallel wants several devices, and this is one ({devices[0].platform}): give --devices=N, "
            "for which ./launch.sh makes CPU devices, or leave it out"
        )
    return [Layout("jit", (device,)) for device in devices]


def placed(layout: Layout) -> AbstractContextManager[Any]:
    """While it is entered, what this thread computes outside of a compiled step is on the layout's first device."""
    return jax.default_device(layout.devices[0])


def cached(size: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorates a function whose last argument is a layout: for each layout, its last `size` results are kept.

    With one cache for all, runs side by side would push out each other's.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        caches: dict[Any, Any] = {}

        @functools.wraps(function)
        def look_up(*arguments: P.args, **keywords: P.kwargs) -> R:
            return caches.setdefault(arguments[-1], functools.lru_cache(size)(function))(*arguments, **keywords)

        return look_up

    return decorate


def check(config: Config, layout: Layout) -> None:
    """Raises ConfigError where the batch does not divide by the devices, or a device's share by the BN group."""
    devices = len(layout.devices)
    share, rest = divmod(config.batch_size, devices)
    if rest:
        raise ConfigError(f"batch_size={config.batch_size} does not divide by {devices} devices")
    group = config.model.bn_group
    if isinstance(group, int) and share % group:
        raise ConfigError(
            f"model.bn_group={group} does not divide a device's share of the batch, {config.batch_size} / {devices} = "
            f"{share}; choose a divisor of {share}, or global"
        )


def replicate(layout: Layout, tree: Any) -> Any:
    """The tree on every device, whole."""
    return jax.device_put(tree, NamedSharding(layout.mesh, PartitionSpec()))


def shard(layout: Layout, *arrays: np.ndarray) -> Sequence[Any]:
    """The arrays (B, ...) split along their first axis, each device holding its share."""
    if layout.parallel == "pmap":
        devices = len(layout.devices)
        return tuple(array.reshape(devices, len(array) // devices, *array.shape[1:]) for array in arrays)
    return jax.device_put(arrays, NamedSharding(layout.mesh, PartitionSpec(AXIS)))


def parallelize(layout: Layout, function: Callable[..., Any], arguments: str, donate: tuple[int, ...] = ()) -> Any:
    """Compiles `function` for the layout; its result is replicated.

    Args:
      layout: where it runs.
      function: pure; under pmap it must reduce over `AXIS` itself.
      arguments: a letter each, `r` for replicated and `s` for sharded along the first axis.
      donate: arguments whose memory the result may take.
    """
    if layout.parallel == "pmap":
        in_axes = tuple(0 if argument == "s" else None for argument in arguments)
        return jax.pmap(function, AXIS, in_axes=in_axes, out_axes=None, devices=layout.devices, donate_argnums=donate)
    replicated, sharded = (NamedSharding(layout.mesh, spec) for spec in (PartitionSpec(), PartitionSpec(AXIS)))
    shardings = tuple(sharded if argument == "s" else replicated for argument in arguments)
    return jax.jit(function, in_shardings=shardings, out_shardings=replicated, donate_argnums=donate)
