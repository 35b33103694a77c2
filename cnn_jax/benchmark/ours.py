"""Our side: the training step that `loop.fit` takes, or the evaluation step, on random images."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax import config, models, presets, tasks
from cnn_jax.benchmark.turns import Workload, peak_resident_bytes, serve
from cnn_jax.config import Config
from cnn_jax.data import Dataset, Field, class_numbers
from cnn_jax.layers import native
from cnn_jax.models.macs import count_macs
from cnn_jax.train import devices, feed, loop
from cnn_jax.train.devices import Layout
from cnn_jax.train.feed import Batch
from cnn_jax.train.step import zero_sums


class Steps(NamedTuple):
    """What is timed.

    Attributes:
      batches: of the data set, on the host.
      take: `(batch) -> ` what is ready when the step is taken.
      parameters: of the network.
    """

    batches: Iterator[Batch]
    take: Callable[[dict[str, Any]], Any]
    parameters: int


def set_up(workload: Workload) -> tuple[dict[str, Any], Mapping[str, Callable[..., Any]]]:
    """Compiles the step and takes the first one."""
    import_bytes = peak_resident_bytes()
    settings, layout = make_config(workload), devices.make_layout(workload.parallel, workload.devices)
    devices.check_batch(settings, layout)
    image, label = workload.examples()
    fields = {"image": Field("image"), "label": Field("label", class_numbers(10))}
    dataset = Dataset("random", {"train": {"image": image, "label": label}}, fields, "random")
    work = (inference_steps if workload.inference else training_steps)(settings, dataset, layout)

    def steps(count: int) -> dict[str, float]:
        """Seconds of `count` steps after one to get going, and of them the host's, giving out the batches."""
        marks, host = [], 0.0
        for step in range(count + 1):
            begun = time.perf_counter()
            batch = devices.shard(layout, next(work.batches))
            host += (time.perf_counter() - begun) * (step > 0)
            result = work.take(batch)
            if step in (0, count):
                jax.block_until_ready(result)
                marks.append(time.perf_counter())
        return {"seconds": marks[-1] - marks[0], "input_seconds": host}

    def profile(folder: str) -> dict[str, str]:
        with jax.profiler.trace(folder, create_perfetto_trace=True):
            steps(3)
        return {"trace": folder}

    begun = time.perf_counter()
    steps(0)
    network = models.build(settings.model.name, num_classes=10, **models.build_arguments(settings.model))
    facts = {
        "first_step_seconds": time.time() - workload.started,
        "compile_seconds": time.perf_counter() - begun,
        "parameters": work.parameters,
        "macs": count_macs(network, (workload.image_size, workload.image_size, 3)),
        "platform": layout.devices[0].device_kind,
        "own_kernels": layout.devices[0].platform == "cpu" and native.is_available(),
        "versions": {"jax": jax.__version__},
    }
    return facts, {
        "steps": steps,
        "profile": profile,
        "memory": lambda: memory(layout, import_bytes),
        "peak_flops": lambda: {"peak_flops": peak_flops(layout, workload.dtype)},
    }


def training_steps(settings: Config, dataset: Dataset, layout: Layout) -> Steps:
    """The steps of `loop.fit`."""
    task = tasks.make(settings, dataset, layout.axis_name)
    program = loop.make_program(task, settings.optim, settings.penalty, settings.steps, layout)
    state = loop.initial_state(program, task, settings, dataset)
    parameters = count_parameters(state.params)
    resident = feed.put_on_devices(dataset, layout)["train"]
    state, key = devices.replicate(layout, state), loop.run_key(settings, layout)

    def take(batch: dict[str, Any]) -> Any:
        nonlocal state
        state, _ = program.train_step(state, resident, batch, key)
        return state

    return Steps(feed.training_batches(dataset, settings, layout, 0), take, parameters)


def inference_steps(settings: Config, dataset: Dataset, layout: Layout) -> Steps:
    """The steps of `train.evaluate`, which waits for each; no state of an optimizer is held."""
    task = tasks.make(settings, dataset, layout.axis_name)
    program = loop.make_program(task, settings.optim, settings.penalty, settings.steps, layout)
    variables = task.init(jax.random.key(settings.seed), feed.batch_shapes(dataset, settings))
    parameters = count_parameters(variables["params"])
    resident = feed.put_on_devices(dataset, layout)["train"]
    variables, sums = devices.replicate(layout, variables), devices.replicate(layout, zero_sums(task.means))

    def take(batch: dict[str, Any]) -> Any:
        nonlocal sums
        sums, _ = program.evaluate_step(sums, variables, resident, batch)
        return jax.block_until_ready(sums)

    batches = feed.index_batches(dataset.count("train"), settings.batch_size, layout)
    return Steps(itertools.cycle(batches), take, parameters)


def count_parameters(params: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def make_config(workload: Workload) -> Config:
    """The network's CIFAR recipe at the workload's sizes, batch norm over the whole batch as the peer has it."""
    base = presets.get("auto", "cifar10", workload.model)
    model = models.complete(replace(base.model, width=workload.width, bn_group=None), workload.image_size)
    changed = replace(base, model=model, batch_size=workload.batch_size, dtype=workload.dtype)
    return config.override(config.check(changed), workload.settings)


def memory(layout: Layout, import_bytes: int) -> dict[str, int]:
    """The most held so far, `peak_bytes`: the device's where it tells, else the process's, `import_bytes` of it."""
    statistics = layout.devices[0].memory_stats() or {}
    if peak := statistics.get("peak_bytes_in_use"):
        return {"peak_bytes": peak, "import_bytes": 0}
    return {"peak_bytes": peak_resident_bytes(), "import_bytes": import_bytes}


def peak_flops(layout: Layout, dtype: str, size: int = 2048) -> float:
    """The best floating-point operations a second of several products of square matrices, over the layout's devices."""
    a = jax.device_put(jnp.ones((size, size), dtype), layout.devices[0])
    product, rates = jax.jit(jnp.matmul), []
    factors = [(lambda: jax.block_until_ready(product(a, a)))]
    if layout.devices[0].platform == "cpu" and dtype == "float32":
        host = np.ones((size, size), np.float32)
        factors.append(lambda: host @ host)  # BLAS can be ahead of XLA on CPU; CPU devices share its cores
    for multiply in factors:
        for _ in range(8):
            begun = time.perf_counter()
            multiply()
            rates.append(2 * size**3 / (time.perf_counter() - begun))
    accelerators = 1 if layout.devices[0].platform == "cpu" else len(layout.devices)
    return max(rates[1:]) * accelerators


if __name__ == "__main__":
    serve(set_up, Workload)
