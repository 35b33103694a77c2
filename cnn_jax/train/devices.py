"""The only file that knows how many devices there are.

`jit` on several devices shards the batch and lets the compiler place the sums; `pmap` maps the step over the devices,
which exchange gradients by name. The state has no device axis in either, so a checkpoint of one is a checkpoint of all.
"""

import functools
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from cnn_jax.config import Config, ConfigError

AXIS = "data"
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"  # no atomics, no choice of kernels by timing; TPU, CPU need none
PARALLEL = ("auto", "jit", "pmap")
P = ParamSpec("P")
R = TypeVar("R")


class Layout(NamedTuple):
    """How a step is spread: `parallel` is jit or pmap, over these devices, in `accumulate` parts one after another."""

    parallel: str
    devices: tuple[jax.Device, ...]
    accumulate: int = 1

    @property
    def axis_name(self) -> str | None:
        """The mapped axis a step has to reduce over, or None."""
        return AXIS if self.parallel == "pmap" else None

    @property
    def mesh(self) -> Mesh:
        return Mesh(np.asarray(self.devices), (AXIS,), axis_types=(AxisType.Auto,))

    @property
    def share(self) -> tuple[int, int]:
        """`(index, count)`: this process's place among those whose devices these are."""
        processes = sorted({device.process_index for device in self.devices})
        return processes.index(jax.process_index()), len(processes)

    @property
    def batch_sharding(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec(AXIS))

    @property
    def replicated_sharding(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec())


def make_layout(parallel: str = "auto", count: int | None = None, accumulate: int = 1) -> Layout:
    """`auto` is jit on one device and pmap over several; `count` is of each process, None all. Raises ConfigError."""
    if parallel not in PARALLEL:
        raise ConfigError(f"--parallel={parallel}: choose from {', '.join(PARALLEL)}")
    local_devices = jax.local_devices()
    if count is not None and not 1 <= count <= len(local_devices):
        raise ConfigError(
            f"--devices={count}: this process has {len(local_devices)} ({local_devices[0].platform}); CPU devices are "
            f"made by ./launch.sh or the environment variable JAX_NUM_CPU_DEVICES={count}"
        )
    processes = range(jax.process_count())
    devices = tuple(device for process in processes for device in jax.local_devices(process)[:count])
    if len(devices) != len(processes) * len(local_devices[:count]):
        raise ConfigError("the processes of this run do not have equally many devices: give --devices=N")
    return Layout(("jit" if len(devices) == 1 else "pmap") if parallel == "auto" else parallel, devices, accumulate)


def local_device_count() -> int:
    """How many devices this process has."""
    return jax.local_device_count()


def enable_determinism() -> None:
    """Has XLA compute the same bits each time, at some cost on GPUs; called before anything asks for a device."""
    if not is_deterministic():
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip()


def is_deterministic() -> bool:
    """Whether `enable_determinism` was called, by this process or the one that started it."""
    return DETERMINISTIC in os.environ.get("XLA_FLAGS", "").split()


def single_device_layouts(parallel: str = "auto", count: int | None = None) -> list[Layout]:
    """For each device that `make_layout` takes a layout of it alone, for runs side by side. Raises ConfigError."""
    if parallel == "pmap":
        raise ConfigError("--seeds_in_parallel gives each run one device, --parallel=pmap several: leave one out")
    if jax.process_count() > 1:
        raise ConfigError("--seeds_in_parallel is of one process; leave it out, or give each process its own sweep")
    devices = make_layout(parallel, count).devices
    if len(devices) == 1:
        raise ConfigError(
            f"--seeds_in_parallel wants several devices, and this is one ({devices[0].platform}): give --devices=N, "
            "for which ./launch.sh makes CPU devices, or leave it out"
        )
    return [Layout("jit", (device,)) for device in devices]


def default_device(layout: Layout) -> AbstractContextManager[Any]:
    """While it is entered, what this thread computes outside of a compiled step is on the layout's first own device."""
    local_devices = (device for device in layout.devices if device.process_index == jax.process_index())
    return jax.default_device(next(local_devices))


def cache_per_layout(size: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
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


def check_batch(config: Config, layout: Layout) -> None:
    """Raises ConfigError where the batch does not divide by the devices and parts, or a part by the BN group."""
    devices, parts = len(layout.devices), layout.accumulate
    share, rest = divmod(config.batch_size, devices * parts)
    over = f"{devices} devices" + f" and --accumulate={parts}" * (parts > 1)
    if rest:
        raise ConfigError(f"batch_size={config.batch_size} does not divide by {over}")
    group = config.model.bn_group
    if parts > 1 and group in ("global", "device"):
        raise ConfigError(
            f"--accumulate={parts}: batch norm of the {group} batch would change; choose --set=model.bn_group=N, a "
            f"number that divides {share}"
        )
    if isinstance(group, int) and share % group:
        raise ConfigError(
            f"model.bn_group={group} does not divide what a device has at a time, {config.batch_size} over {over} = "
            f"{share}; choose a divisor of {share}" + ", or global" * (parts == 1)
        )


def replicate(layout: Layout, tree: Any) -> Any:
    """The tree, which every process gives alike, on every device, whole."""
    if jax.process_count() == 1:
        return jax.device_put(tree, layout.replicated_sharding)

    def place(leaf: Any) -> jax.Array:
        if jax.dtypes.issubdtype(jnp.asarray(leaf).dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(place(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        array = np.asarray(leaf)
        return jax.make_array_from_callback(array.shape, layout.replicated_sharding, array.__getitem__)

    return jax.tree.map(place, tree)


def shard(layout: Layout, batch: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """A batch, of which each process gives its own share (b, ...), split along its first axis over the devices."""
    if layout.parallel == "pmap":
        count = sum(device.process_index == jax.process_index() for device in layout.devices)
        return {name: array.reshape(count, len(array) // count, *array.shape[1:]) for name, array in batch.items()}
    return {name: jax.make_array_from_process_local_data(layout.batch_sharding, array) for name, array in batch.items()}


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
    shardings = tuple(
        layout.batch_sharding if argument == "s" else layout.replicated_sharding for argument in arguments
    )
    return jax.jit(function, in_shardings=shardings, out_shardings=layout.replicated_sharding, donate_argnums=donate)


def accumulate_parts(layout: Layout, function: Callable[[Any], tuple[Any, Any]], batch: dict[str, jax.Array]) -> Any:
    """`function(part) -> (means, sums)` over the parts of a batch, one after another: their means and their sums.

    Each device keeps its own examples: the parts of a batch (b, ...) as a step sees it are (b / accumulate, ...).
    """
    devices = 1 if layout.parallel == "pmap" else len(layout.devices)

    def split(array: jax.Array) -> jax.Array:
        parts = array.reshape(devices, layout.accumulate, -1, *array.shape[1:])
        return parts.swapaxes(0, 1).reshape(layout.accumulate, -1, *array.shape[1:])

    def add(total: Any, part: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, function(part)), None

    parts = jax.tree.map(split, batch)
    first = jax.tree.map(lambda array: array[0], parts)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(function, first))
    # A loop bounds memory and compile time; on CPU, where convolutions in a loop are many times slower, it is unrolled.
    unroll = layout.devices[0].platform == "cpu"
    (means, sums), _ = lax.scan(add, zeros, parts, unroll=unroll)
    return jax.tree.map(lambda total: total / layout.accumulate, means), sums
