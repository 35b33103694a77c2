"""Many runs: a grid of configs, one folder a run, what is finished skipped and what failed recorded."""

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cnn_jax import config as config_lib
from cnn_jax import tasks
from cnn_jax.config import Config, ConfigError
from cnn_jax.config.fields import format_value
from cnn_jax.data import Dataset
from cnn_jax.runner import Outcome, Settings, execute
from cnn_jax.train import devices, processes, record
from cnn_jax.train.devices import Layout

Axes = Mapping[str | tuple[str, ...], Sequence[Any]]


def grid(base: Config, axes: Axes) -> list[Config]:
    """Every combination, the last axis fastest: `grid(base, {"model.name": ["plain20"], "seed": [0, 1]})`.

    An axis is a field and its values, or several fields and tuples of values they have together.
    """
    configs = []
    for values in itertools.product(*axes.values()):
        assignments: dict[str, Any] = {}
        for axis, value in zip(axes, values, strict=True):
            assignments |= {axis: value} if isinstance(axis, str) else dict(zip(axis, value, strict=True))
        configs.append(config_lib.replace_fields(base, assignments))
    return configs


def set_epochs(config: Config, epochs: float, examples: int) -> Config:
    """The config for that many passes over `examples`, evaluated once in each."""
    if not epochs > 0:
        raise ConfigError(f"--epochs={epochs:g}: must be above 0")
    config = config_lib.replace_field(config, "steps", max(1, round(epochs * examples / config.batch_size)))
    return config_lib.replace_field(config, "evaluations", max(1, round(epochs)))


def resolve(config: Config, layout: Layout, dataset: Dataset) -> Config:
    """The config as it will be recorded: the network's own settings filled in, a `device` group a number of examples.

    Raises ConfigError where the model, the batch, the group or the patience cannot be on this data or these devices.
    """
    config = tasks.complete(config, dataset)
    if config.patience and "validation" not in dataset.splits:
        raise ConfigError(
            f"patience={config.patience} looks at a validation split, and {dataset.name} has none: set data.validation "
            "(--validation)"
        )
    if config.model.bn_group == "device":
        config = config_lib.replace_field(config, "model.bn_group", max(1, config.batch_size // len(layout.devices)))
    devices.check_batch(config, layout)
    return config_lib.check(config)


def run_name(config: Config) -> str:
    """`resnet20-cifar10-seed0-1a2b3c4d`: readable, and another name for any other config."""
    dataset = config.data.name.replace("/", "_").replace(":", "_")
    return f"{config.model.name}-{dataset}-seed{config.seed}-{config_lib.fingerprint(config)}"


def label_configs(configs: Sequence[Config]) -> dict[Config, str]:
    """`resnet20 penalty.l1=0.001`: the network, and the fields in which a config is not as the first, seeds apart."""
    first, labels = config_lib.flatten(configs[0]), {}
    for config in configs:
        fields = config_lib.flatten(config)
        others = [f"{path}={format_value(value)}" for path, value in fields.items() if value != first[path]]
        named = [field for field in others if not field.startswith(("seed=", "model.name=", "init_digest="))]
        labels[config] = " ".join([config.model.name, *named])
    return labels


def run_folders(configs: Iterable[Config], workdir: Path) -> dict[Path, Config]:
    """The run folder of each config: the one in the workdir that is its own, or a new one by `run_name`.

    An older version may have named it otherwise. Raises ConfigError where two configs are the same.
    """
    there = find_existing(workdir)
    named: dict[Path, Config] = {}
    for config in configs:
        folder = workdir / run_name(config)
        if not folder.exists():
            folder = there.get(config, folder)
        if folder in named:
            raise ConfigError(
                f"two runs of the sweep are the same, {folder.name}: does --set fix what the sweep varies?"
            )
        named[folder] = config
    return named


def find_existing(workdir: Path) -> dict[Config, Path]:
    """The run folders of the workdir by their configs; what cannot be read as one is left out."""
    found = {}
    for path in sorted(workdir.glob("*/config.json")):
        with contextlib.suppress(ConfigError, record.RecordError, TypeError, AttributeError):
            found[config_lib.from_dict(record.read_json(path))] = path.parent
    return found


def run(configs: Sequence[Config], workdir: Path, settings: Settings) -> list[Outcome]:
    """Runs what is not finished; one failure does not stop the others. Prints a line a run, and what failed.

    Raises:
      Stopped: a signal arrived; the run at hand is saved.
      RecordError: the workdir cannot be written.
    """
    processes.run_on_leader(lambda: str(record.require_writable(workdir)))
    runs, labels = run_folders(configs, workdir), label_configs(configs)
    results = processes.run_on_leader(lambda: [record.read_json(folder / "result.json") for folder in runs])
    outcomes, todo = [], {}
    for (folder, config), result in zip(runs.items(), results, strict=True):
        if result is None:
            todo[folder] = config
        else:
            outcomes.append(Outcome(folder, result, None))
    if outcomes:
        print(f"{len(outcomes)} of {len(runs)} runs are finished already")
    for outcome in execute(todo, settings):
        outcomes.append(outcome)
        cell = labels[runs[outcome.folder]]
        print(f"[{len(outcomes)}/{len(runs)}] {outcome.folder.name} ({cell}): {describe(outcome)}", flush=True)
    failed = [outcome for outcome in outcomes if outcome.error]
    if failed:
        print(f"\n{len(failed)} of {len(runs)} runs failed; the same command tries them again:")
        for outcome in failed:
            print(f"  {outcome.folder.name}: {outcome.error}")
    return outcomes


def measure_runs(workdir: Path, measurement: Callable[[Path], dict[str, Any]], progress: bool) -> None:
    """Writes what `measurement(folder)` gives into each finished run's measured.json, where there is none yet."""
    finished = sorted(path.parent for path in workdir.glob("*/result.json"))
    todo = [folder for folder in finished if not (folder / "measured.json").exists()]
    interval = 0.1 if sys.stderr.isatty() else 30.0
    for folder in tqdm(todo, "measuring", unit="run", mininterval=interval, disable=not progress):
        record.write_json(folder / "measured.json", measurement(folder))


def describe(outcome: Outcome) -> str:
    """`test error 2.50%, train error 0.00%, 14 s`, by the headline of the run's task; or why there is no result."""
    if outcome.result is None:
        return f"FAILED: {outcome.error}"
    headline = record.read_headline(outcome.folder)
    values = [
        f"{split} {headline.title} {headline.format(outcome.result.get(headline.name(split)))}"
        for split in ("test", "train")
    ]
    return ", ".join([*values, f"{outcome.result['seconds']:.0f} s"])
