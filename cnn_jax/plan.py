"""What a sweep will take, before it is begun."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from cnn_jax import config as config_lib
from cnn_jax import sweep, tasks
from cnn_jax.config import Config
from cnn_jax.data import DataError, Dataset
from cnn_jax.data.augment import example_keys
from cnn_jax.data.sources import known
from cnn_jax.runner import Settings, load_config_dataset, prepare
from cnn_jax.train import feed, timing
from cnn_jax.train.devices import Layout
from cnn_jax.train.optimizer import make_optimizer
from cnn_jax.train.parts import select_trained
from cnn_jax.train.task import Task

MEBIBYTE, GIBIBYTE = 2**20, 2**30
SAMPLE = 64  # images whose mean size is taken for that of all


def load_or_known_sizes(config: Config, data_dir: str | None, download: bool, skip_damaged: bool) -> Dataset:
    """What the config learns from, or where that is streamed and not at hand its sizes, if known. Raises DataError."""
    try:
        return load_config_dataset(config, data_dir, download, skip_damaged)
    except DataError:
        sizes = known.absent(config.data.name) if config.data.crop and not config.data.classes else None
        if sizes is None:
            raise
        return sizes


def group_by_cell(configs: Sequence[Config], workdir: Path) -> dict[Config, list[Path]]:
    """The folders of the runs that differ in their seed alone."""
    cells: dict[Config, list[Path]] = {}
    for folder, config in sweep.run_folders(configs, workdir).items():
        cells.setdefault(config_lib.replace_field(config, "seed", 0), []).append(folder)
    return cells


def measure_plan(configs: Sequence[Config], workdir: Path, settings: Settings) -> str:
    """The grid as a table with parameters, steps and an estimate of the time from a few timed steps; trains nothing."""
    cells = group_by_cell(configs, workdir)
    labels = sweep.label_configs(list(cells))
    widest = max(map(len, labels.values()))
    heads = ("runs", 5), ("finished", 8), ("parameters", 12), ("steps", 8), ("s/step", 8), ("s/run", 8), ("s to do", 8)
    lines = [f"{'model':<{widest}}" + "".join(f" {head:>{width}}" for head, width in heads)]
    total = 0.0
    for number, (config, members) in enumerate(cells.items(), start=1):
        if settings.progress:
            print(f"[{number}/{len(cells)}] compiling and timing {labels[config]}", file=sys.stderr, flush=True)
        task, dataset = prepare(config, settings)
        cost = timing.measure_cost(task, config, dataset, settings.layout)
        finished = sum((folder / "result.json").exists() for folder in members)
        left = len(members) - finished
        # Runs of one cell share what is compiled, unless each seed has data of its own.
        compiled = left if config.data.train_examples else min(left, 1)
        todo = left * (cost.seconds(config) - cost.compile_seconds) + compiled * cost.compile_seconds
        total += todo
        lines.append(
            f"{labels[config]:<{widest}} {len(members):>5} {finished:>8} {cost.parameters:>12,} {config.steps:>8,} "
            f"{cost.step_seconds:>8.3f} {cost.seconds(config):>8.0f} {todo:>8.0f}"
        )
    length = f"{total / 60:.1f} minutes" if total < 7200 else f"{total / 3600:.1f} hours"
    lines.append(f"about {total:.0f} s ({length}) to do, one run at a time; nothing was trained")
    return "\n".join(lines)


def estimate_plan(
    configs: Sequence[Config], datasets: Sequence[Dataset], workdir: Path, layout: Layout, hours: float
) -> str:
    """The grid as a table of what is counted and not timed, for what is streamed and need not be here.

    Memory is of each device: parameters, their average if there is one, gradient and the optimizer's state, and what
    the backward pass keeps of a part of the batch, before the compiler saves some of it. The rates are those of all
    devices together, to finish in `hours`.
    """
    cells, of = group_by_cell(configs, workdir), dict(zip(configs, datasets, strict=True))
    names = {config: config.model.name for config in cells}
    labels = names if len(set(names.values())) == len(names) else sweep.label_configs(list(cells))
    widest = max(map(len, labels.values()))
    heads = ("runs", 5), ("steps", 11), ("epochs", 7), ("parameters", 12), ("GMACs", 7), ("GiB/device", 11)
    heads += ("images/s", 9), ("MiB/s", 7), ("TFLOP/s", 8)
    lines = [f"{'model':<{widest}}" + "".join(f" {head:>{width}}" for head, width in heads)]
    for config, members in cells.items():
        dataset = of[next(one for one in configs if config_lib.replace_field(one, "seed", 0) == config)]
        task = tasks.make(config, dataset, None)
        variables = task.init(jax.random.key(0), feed.batch_shapes(dataset, config))
        parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        part = config.batch_size // (len(layout.devices) * layout.accumulate)
        memory = state_bytes(task, variables, config) + activation_bytes(task, variables, config, dataset, part)
        macs, rate = task.facts()["macs"], config.steps * config.batch_size / (hours * 3600)
        lines.append(
            f"{labels[config]:<{widest}} {len(members):>5} {config.steps:>11,} "
            f"{config.steps * config.batch_size / dataset.count('train'):>7.1f} {parameters:>12,} {macs / 1e9:>7.3f} "
            f"{memory / GIBIBYTE:>11.2f} {rate:>9,.0f} "
            f"{rate * mean_image_bytes(dataset) / MEBIBYTE:>7,.1f} {6 * macs * rate / 1e12:>8.1f}"
        )
    lines.append(
        f"{len(layout.devices)} devices, --accumulate={layout.accumulate}; images/s, MiB/s of encoded images and "
        f"TFLOP/s are what it takes to finish one run in {hours:g} hours; nothing was trained or timed"
    )
    return "\n".join(lines)


def state_bytes(task: Task, variables: Any, config: Config) -> int:
    """Bytes of the parameters, the gradient of those trained, the optimizer's state and the averaged variables."""
    params = variables["params"]
    trained = select_trained(params, task.frozen and task.frozen(params))
    optimizer = make_optimizer(config.optim, config.steps, config.penalty)
    average = {} if config.optim.average == "none" else variables
    held = params, trained, jax.eval_shape(optimizer.init, trained), average
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(held))


def mean_image_bytes(dataset: Dataset) -> float:
    """The mean size of an encoded training image, from the table of known sets or from some of them."""
    images: Any = dataset.splits["train"]
    if isinstance(images, known.Absent):
        return images.bytes_each
    some = range(0, len(images), max(1, len(images) // SAMPLE))
    return sum(len(images.read(index)["image"]) for index in some) / len(some)


def activation_bytes(task: Task, variables: Any, config: Config, dataset: Dataset, examples: int) -> int:
    """What the backward pass of so many examples keeps of the forward pass, in bytes, parameters apart.

    It is what so many more examples would add: whatever does not grow with them is the parameters themselves, which
    the backward pass reads where they are.
    """
    return residual_bytes(task, variables, config, dataset, 2 * examples) - residual_bytes(
        task, variables, config, dataset, examples
    )


def residual_bytes(task: Task, variables: Any, config: Config, dataset: Dataset, examples: int) -> int:
    """All that the backward pass of so many examples needs, in bytes, parameters among it."""
    batch: dict[str, Any] = {
        name: jax.ShapeDtypeStruct((examples, *field.shape[1:]), field.dtype)
        for name, field in feed.batch_shapes(dataset, config).items()
    }

    def backward(params: Any, others: Any, batch: Any) -> Any:
        slot = jnp.arange(examples)
        batch = batch | {"slot": slot, "key": example_keys(jax.random.key(0), slot)}
        return jax.vjp(lambda p: task.loss(others | {"params": p}, batch, jax.random.key(0))[0], params)[1]

    others = {name: value for name, value in variables.items() if name != "params"}
    residuals = jax.tree.leaves(jax.eval_shape(backward, variables["params"], others, batch))
    numbers = [leaf for leaf in residuals if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.extended)]  # and not keys
    return sum(leaf.size * leaf.dtype.itemsize for leaf in numbers)
