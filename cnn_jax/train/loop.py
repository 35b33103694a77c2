"""`fit`: from a Config to a finished run folder, through any number of interruptions."""

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from tensorboardX import SummaryWriter
from tqdm import tqdm

from cnn_jax import config as config_lib
from cnn_jax.config import Config, Optim, Penalty
from cnn_jax.data import Dataset
from cnn_jax.data.batches import training_indices
from cnn_jax.train import devices, early_stopping, optimizer, penalties, record
from cnn_jax.train.checkpoint import Checkpoints
from cnn_jax.train.devices import Layout
from cnn_jax.train.evaluate import evaluate, means
from cnn_jax.train.manifest import Session
from cnn_jax.train.signals import Stopped, stop_signals
from cnn_jax.train.step import TrainState, make_evaluate_step, make_state, make_train_step, no_sums
from cnn_jax.train.task import Task

DISPLAY_SECONDS = 0.5  # between looks at the running sums; each waits for the device
STEPS_AHEAD = 16  # that the host may be before the device: far ahead, CPU devices can wait for each other for ever


class TrainingError(RuntimeError):
    """A run that cannot go on; the message is one line."""


class Options(NamedTuple):
    """How to run; none of it changes a number.

    Attributes:
      layout: devices and how the step is spread over them.
      checkpoint_seconds: seconds between checkpoints; the last step and an interruption are saved in any case.
      progress: whether to draw a bar on stderr.
      command: what the user typed, for the manifest.
      signals: where the caller puts the signals that arrive, or None where `fit` is to receive them itself, which
        Python allows in the main thread alone.
    """

    layout: Layout
    checkpoint_seconds: float = 60.0
    progress: bool = True
    command: str = ""
    signals: list[int] | None = None


class Program(NamedTuple):
    """The compiled functions of a run; runs that differ in their seed alone share one."""

    optimizer: optax.GradientTransformation
    train_step: Callable[..., TrainState]
    evaluate_step: Callable[..., Any]


@devices.cached(2)
def make_program(task: Task, optim: Optim, penalty: Penalty, steps: int, layout: Layout) -> Program:
    sgd = optimizer.make(optim, steps, penalty)
    train_step = make_train_step(task, sgd, layout.axis_name, penalty)
    evaluate_step = make_evaluate_step(task.evaluate, layout.axis_name)
    return Program(
        sgd,
        devices.parallelize(layout, train_step, "rrssr", donate=(0,)),
        devices.parallelize(layout, evaluate_step, "rrrss", donate=(0,)),
    )


@devices.cached(1)
def on_devices(dataset: Dataset, layout: Layout) -> dict[str, Any]:
    """The data set's splits, whole, on every device."""
    return devices.replicate(layout, dataset.splits)


def initial_state(program: Program, task: Task, config: Config, dataset: Dataset) -> TrainState:
    """The state before the first step, a function of the seed."""
    batch = {
        name: jax.ShapeDtypeStruct((config.batch_size, *array.shape[1:]), array.dtype)
        for name, array in dataset.splits["train"].items()
    }
    return make_state(task.init(jax.random.key(config.seed), batch), program.optimizer)


def fit(task: Task, config: Config, dataset: Dataset, folder: Path, options: Options) -> dict[str, Any]:
    """Trains until `config.steps` and returns what result.json holds; a finished run is not run again.

    Args:
      task: the learning problem, built for `config` and `dataset`.
      config: what determines the numbers; `model.bn_group` is a number or "global".
      dataset: splits "train", "test" and perhaps "validation", dicts of arrays, all fitting on each device.
      folder: the run folder; made where there is none, continued where there is one of the same config.
      options: how to run.

    Raises:
      RecordError: the folder belongs to another config or other data, is in use, or cannot be written.
      TrainingError: the loss is not a number.
      Stopped: a signal arrived; the state is saved.
    """
    with record.locked(record.require_writable(folder)):
        finished = begin(folder, config)
        if finished is not None:
            return finished
        session = Session(folder, config, dataset, options.layout, options.command)
        program = make_program(task, config.optim, config.penalty, config.steps, options.layout)
        splits = on_devices(dataset, options.layout)
        state = initial_state(program, task, config, dataset)
        parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        receiving = stop_signals() if options.signals is None else contextlib.nullcontext(options.signals)
        with Checkpoints(folder, config) as checkpoints, receiving as signals:
            start, state = checkpoints.restore(state) or (0, state)
            record.keep_metrics(folder, start, config.evaluated_steps)
            regularized = penalties.table(state.params, config.optim, config.penalty).splitlines()
            session.update(from_step=start, to_step=start, regularized=regularized)
            (folder / "failure.json").unlink(missing_ok=True)
            state = devices.replicate(options.layout, state)
            run = Training(config, folder, options, program, splits, checkpoints, session, signals, task.unit)
            state = train(run, state, start)
            if config.patience:
                best = early_stopping.best(record.read_metrics(folder))["step"]
                state = devices.replicate(options.layout, checkpoints.back_to(best, state))
        final = evaluate(options.layout, program.evaluate_step, state.variables, splits["train"], config.batch_size)
        session.update(to_step=record.read_metrics(folder)[-1]["step"])
        result = conclude(record.read_metrics(folder), final, config.patience)
        result = record.finite({"parameters": parameters} | task.facts() | result)
        result["seconds"] = session.seconds
        record.write_json(folder / "result.json", result)
        return result


def begin(folder: Path, config: Config) -> dict[str, Any] | None:
    """Writes config.json, or checks it; returns the result of a finished run. Raises RecordError on another config."""
    new, old = config_lib.to_dict(config), record.read_json(folder / "config.json")
    if old is None:
        record.write_json(folder / "config.json", new)
    elif different := config_lib.differences(old, new):
        raise record.RecordError(f"{folder} belongs to another config: {'; '.join(different)}; give another --workdir")
    return record.read_json(folder / "result.json")


def conclude(metrics: list[dict[str, Any]], train: dict[str, float], patience: int) -> dict[str, float]:
    """The steps taken, the final errors, and those at the best evaluations, labelled as such.

    With `patience` the final network is that of the lowest validation error; `steps` are those it had taken.
    `train` is its exact evaluation.
    """
    final = early_stopping.best(metrics) if patience else metrics[-1]
    errors = {name: final[name] for name in final if name.startswith(("test_", "validation_"))}
    best = {"best_test_error": min(line["test_error"] for line in metrics)}
    if "validation_error" in errors:
        best["test_error_at_best_validation"] = early_stopping.best(metrics)["test_error"]
    return {"steps": final["step"]} | {f"train_{name}": value for name, value in train.items()} | errors | best


class Training(NamedTuple):
    """What the loop needs at every step."""

    config: Config
    folder: Path
    options: Options
    program: Program
    splits: dict[str, Any]
    checkpoints: Checkpoints
    session: Session
    signals: list[int]
    unit: str


def train(run: Training, state: TrainState, start: int) -> TrainState:
    """Takes the steps from `start` to the end, evaluating, recording and saving on the way."""
    config, layout = run.config, run.options.layout
    key = devices.replicate(layout, jax.random.fold_in(jax.random.key(config.seed), 1))  # initialisation has key(seed)
    slots, evaluated = np.arange(config.batch_size, dtype=np.int32), config.evaluated_steps
    count = len(jax.tree.leaves(run.splits["train"])[0])
    saved = shown = time.monotonic()
    over = keep_best(run)
    with progress_bar(run, start) as bar, SummaryWriter(str(run.folder), purge_step=start) as events:
        for step in range(start, config.steps):
            if over:
                break
            indices = training_indices(count, config.batch_size, config.seed, step)
            sharded = devices.shard(layout, indices, slots)
            state = run.program.train_step(state, run.splits["train"], *sharded, key)
            taken, now = step + 1, time.monotonic()
            if step == start or taken % STEPS_AHEAD == 0 or now - shown > DISPLAY_SECONDS:
                show(run, bar, state, taken)
                shown = now
            if taken in evaluated:
                show(run, bar, state, taken)
                state = record_metrics(run, state, taken, count, events)
                over = keep_best(run)
            if (
                run.signals
                or over
                or taken in (config.steps, run.checkpoints.best)
                or now - saved > run.options.checkpoint_seconds
            ):
                check_finite(run, state)
                run.checkpoints.save(taken, state)
                run.session.update(to_step=taken)
                saved = now
            if run.signals and taken < config.steps and not over:
                raise Stopped(f"{run.folder} is saved at step {taken}; the same command continues", run.signals[0])
    return state


def record_metrics(run: Training, state: TrainState, taken: int, count: int, events: SummaryWriter) -> TrainState:
    """Evaluates, adds a line to metrics.jsonl and to the events, and starts the training sums anew."""
    rate = optimizer.learning_rate(run.config.optim, run.config.steps, taken - 1)
    epoch = taken * run.config.batch_size / count
    line: dict[str, Any] = {"step": taken, "epoch": epoch, "learning_rate": rate}
    line |= {f"train_{name}": value for name, value in means(state.sums).items()}
    for split in sorted(run.splits.keys() - {"train"}):
        values = evaluate(
            run.options.layout, run.program.evaluate_step, state.variables, run.splits[split], run.config.batch_size
        )
        line |= {f"{split}_{name}": value for name, value in sorted(values.items())}
    record.append_metrics(run.folder, line)
    for name in line.keys() - {"step", "epoch"}:
        events.add_scalar(name.replace("_", "/", 1) if name != "learning_rate" else name, line[name], taken)
    events.flush()
    return state.replace(sums=devices.replicate(run.options.layout, no_sums()))


def keep_best(run: Training) -> bool:
    """Has the checkpoint of the lowest validation error stay; returns whether training stops early."""
    metrics, patience = record.read_metrics(run.folder), run.config.patience
    if patience and metrics:
        run.checkpoints.best = early_stopping.best(metrics)["step"]
    return early_stopping.is_over(metrics, patience)


def check_finite(run: Training, state: TrainState) -> None:
    """Waits for the device; raises TrainingError naming the first step whose loss was not finite."""
    step = int(state.diverged_at)
    if step >= 0:
        rate = optimizer.learning_rate(run.config.optim, run.config.steps, step)
        raise TrainingError(
            f"the loss is not finite at step {step + 1}, learning rate {rate:g}; lower it: "
            f"--set=optim.learning_rate={rate / 10:g}"
        )


def progress_bar(run: Training, start: int) -> tqdm:
    # A log file gets a line now and then, a terminal a live bar.
    interval = 0.1 if sys.stderr.isatty() else 30.0
    return tqdm(
        initial=start,
        total=run.config.steps,
        desc=run.folder.name,
        unit="step",
        mininterval=interval,
        disable=not run.options.progress,
    )


def show(run: Training, bar: tqdm, state: TrainState, taken: int) -> None:
    """Brings the bar up to date; waits for the device, so that the host never runs far ahead of it."""
    check_finite(run, state)
    values = {name: f"{value:.3f}" for name, value in means(state.sums).items()}
    bar.update(taken - bar.n)
    rate = bar.format_dict["rate"]
    if rate:
        values[f"{run.unit}/s"] = f"{rate * run.config.batch_size:.0f}"
    bar.set_postfix(values, refresh=False)
