"""`fit`: from a Config to a finished run folder, through any number of interruptions."""

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax
from tqdm import tqdm

from cnn_jax.config import Config, ConfigError, Optim, Penalty
from cnn_jax.data import Dataset
from cnn_jax.train import devices, feed, processes
from cnn_jax.train.average import average_weight
from cnn_jax.train.devices import Layout
from cnn_jax.train.evaluate import evaluate, means
from cnn_jax.train.folder import RunFolder
from cnn_jax.train.manifest import Session
from cnn_jax.train.optimizer import make_optimizer, objective
from cnn_jax.train.parts import select_trained
from cnn_jax.train.schedule import learning_rate
from cnn_jax.train.signals import Stopped, stop_signals
from cnn_jax.train.step import TrainState, make_evaluate_step, make_state, make_train_step, zero_sums
from cnn_jax.train.table import format_table
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
      decode_workers: processes that decode streamed images; 0 is threads of this one.
      progress: whether to draw a bar on stderr.
      about: what else the manifest is to hold, the command that the user typed for instance.
      signals: where the caller puts the signals that arrive, or None where `fit` is to receive them itself, which
        Python allows in the main thread alone.
    """

    layout: Layout
    checkpoint_seconds: float = 60.0
    decode_workers: int = 0
    progress: bool = True
    about: Mapping[str, Any] = {}
    signals: list[int] | None = None


class Program(NamedTuple):
    """The compiled functions of a run; runs that differ in their seed alone share one."""

    optimizer: optax.GradientTransformationExtraArgs
    train_step: Callable[..., Any]
    evaluate_step: Callable[..., Any]


@devices.cache_per_layout(2)
def make_program(task: Task, optim: Optim, penalty: Penalty, steps: int, layout: Layout) -> Program:
    """The program of a run; raises ConfigError where parts are to be frozen and the task has none."""
    if optim.frozen and task.frozen is None:
        raise ConfigError(f"optim.frozen={optim.frozen}: this task has no parts that stay as they begin; leave it out")
    optimizer, weight = make_optimizer(optim, steps, penalty), average_weight(optim, steps)
    train_step = make_train_step(task, optimizer, layout, *objective(optim, penalty), weight=weight)
    evaluate_step = make_evaluate_step(task.evaluate, layout.axis_name, task.outputs)
    return Program(
        optimizer,
        devices.parallelize(layout, train_step, "rrsr", donate=(0,)),
        devices.parallelize(layout, evaluate_step, "rrrs", donate=(0,)),
    )


def initial_state(program: Program, task: Task, config: Config, dataset: Dataset) -> TrainState:
    """The state before the first step, a function of the seed."""
    variables = task.init(jax.random.key(config.seed), feed.batch_shapes(dataset, config))
    return make_state(variables, program.optimizer, task.sums, task.frozen, config.optim.average != "none")


def run_key(config: Config, layout: Layout) -> jax.Array:
    """The key of the run's steps, on the devices; the initial values have `key(seed)` itself."""
    return devices.replicate(layout, jax.random.fold_in(jax.random.key(config.seed), 1))


def fit(task: Task, config: Config, dataset: Dataset, path: Path, options: Options) -> dict[str, Any]:
    """Trains until `config.steps` and returns what result.json holds; a finished run is not run again.

    Args:
      task: the learning problem, built for `config` and `dataset`.
      config: what determines the numbers; `model.bn_group` is a number or "global".
      dataset: splits "train", "test" and perhaps "validation"; arrays that fit on each device, or streamed.
      path: the run folder; made where there is none, continued where there is one of the same config.
      options: how to run.

    Raises:
      RecordError: the folder belongs to another config or other data, is in use, or cannot be written.
      DataError: a streamed image is damaged.
      TrainingError: the loss is not a number.
      Stopped: a signal arrived; the state is saved.
    """
    with RunFolder(path, config, task.headline) as folder:
        finished = folder.begin()
        if finished is not None:
            return finished
        program = make_program(task, config.optim, config.penalty, config.steps, options.layout)
        state = initial_state(program, task, config, dataset)
        sizes = {"parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params))}
        if task.frozen:
            trained = select_trained(state.params, task.frozen(state.params))
            sizes["trained_parameters"] = sum(leaf.size for leaf in jax.tree.leaves(trained))
        penalized = format_table(state.params, config.optim, config.penalty, task.frozen).splitlines()
        receiving = stop_signals() if options.signals is None else contextlib.nullcontext(options.signals)
        with receiving as signals:
            start, state = folder.restore(
                state,
                lambda: Session(path, config, dataset, options.layout, dict(options.about), penalized, task.headline),
            )
            folder.keep_network(task.network)
            run = Training(task, config, folder, options, program, dataset, signals)
            state = train(run, devices.replicate(options.layout, state), start)
            if config.patience:
                state = devices.replicate(options.layout, folder.restore_best(state))
        folder.write_progress("evaluating", config.steps)
        return folder.finish(run.evaluate(state, "train"), sizes | task.facts())


def evaluate_split(
    task: Task,
    program: Program,
    dataset: Dataset,
    split: str,
    config: Config,
    layout: Layout,
    state: TrainState,
    workers: int = 0,
) -> dict[str, float]:
    """The task's metrics of a split: exact means, and what it scores of its outputs."""
    batches = feed.evaluation_batches(dataset, split, config, layout, workers)
    resident = feed.put_on_devices(dataset, layout)[split]
    means, outputs = evaluate(layout, program.evaluate_step, state.variables, resident, batches, task.means)
    if task.score is None:
        return means
    score, annotations = task.score, dataset.annotations(split)
    return means | processes.run_on_leader(lambda: {name: float(v) for name, v in score(outputs, annotations).items()})


class Training(NamedTuple):
    """What the loop needs at every step."""

    task: Task
    config: Config
    folder: RunFolder
    options: Options
    program: Program
    dataset: Dataset
    signals: list[int]

    def evaluate(self, state: TrainState, split: str) -> dict[str, float]:
        """The task's metrics of a split."""
        layout, workers = self.options.layout, self.options.decode_workers
        return evaluate_split(self.task, self.program, self.dataset, split, self.config, layout, state, workers)


def train(run: Training, state: TrainState, start: int) -> TrainState:
    """Takes the steps from `start` to the end, evaluating, recording and saving on the way."""
    config, layout, folder = run.config, run.options.layout, run.folder
    resident, key = feed.put_on_devices(run.dataset, layout)["train"], run_key(config, layout)
    evaluated, synchronizer = config.evaluation_steps, processes.Synchronizer(start)
    begun = saved = shown = time.monotonic()
    losses: list[jax.Array] = []
    over = folder.has_stopped()
    batches = feed.training_batches(run.dataset, config, layout, start, run.options.decode_workers)
    folder.write_progress("compiling", start)
    with progress_bar(run, start) as bar, contextlib.closing(batches):
        for step in range(start, config.steps):
            if over:
                break
            state, loss = run.program.train_step(state, resident, devices.shard(layout, next(batches)), key)
            losses.append(loss)
            taken, now = step + 1, time.monotonic()
            if step == start or taken % STEPS_AHEAD == 0 or now - shown > DISPLAY_SECONDS:
                update_bar(run, bar, state, taken)
                folder.add_losses(losses)
                losses, shown = [], now
                if step == start:
                    folder.add_facts(first_step_seconds=round(time.monotonic() - begun, 3))
            if taken in evaluated:
                update_bar(run, bar, state, taken)
                state, over = record_metrics(run, state, taken)
            signal, due = synchronizer.synchronize(
                taken, state, run.signals, now - saved > run.options.checkpoint_seconds
            )
            if signal or over or due or taken == config.steps or (taken in evaluated and folder.is_best(taken)):
                check_finite(run, state)
                folder.add_losses(losses)
                folder.save(taken, state)
                losses, saved = [], now
            if signal and taken < config.steps and not over:
                raise Stopped(f"{folder.path} is saved at step {taken}; the same command continues", signal)
    return state


def record_metrics(run: Training, state: TrainState, taken: int) -> tuple[TrainState, bool]:
    """Evaluates and records; returns the state with the training sums anew, and whether training stops early."""
    run.folder.write_progress("evaluating", taken)
    evaluated = {split: run.evaluate(state, split) for split in sorted(run.dataset.splits.keys() - {"train"})}
    line = metrics_line(run.config, run.dataset.count("train"), state, taken, evaluated)
    over = run.folder.add_metrics(taken, line)
    run.folder.write_progress("training", taken, line.get(run.task.headline.name("train")))
    return state.replace(sums=devices.replicate(run.options.layout, zero_sums(run.task.sums))), over


def metrics_line(
    config: Config, examples: int, state: TrainState, taken: int, evaluated: dict[str, dict[str, float]]
) -> dict[str, Any]:
    """What metrics.jsonl holds of a step beside its number: the training sums since the last, and the other splits'."""
    rate = learning_rate(config.optim, config.steps, taken - 1)
    line: dict[str, Any] = {"epoch": taken * config.batch_size / examples, "learning_rate": rate}
    line |= {f"train_{name}": value for name, value in means(state.sums).items()}
    for split, values in evaluated.items():
        line |= {f"{split}_{name}": value for name, value in sorted(values.items())}
    return line


def check_finite(run: Training, state: TrainState) -> None:
    """Waits for the device; raises TrainingError naming the first step whose loss was not finite."""
    step = int(state.diverged_at)
    if step >= 0:
        rate = learning_rate(run.config.optim, run.config.steps, step)
        found = f"the loss is not finite at step {step + 1}"
        if run.config.optim.optimizer == "lbfgs":
            raise TrainingError(f"{found} of L-BFGS; give it larger batches, or take --set=optim.optimizer=sgd")
        raise TrainingError(f"{found}, learning rate {rate:g}; lower it: --set=optim.learning_rate={rate / 10:g}")


def progress_bar(run: Training, start: int) -> tqdm:
    # A log file gets a line now and then, a terminal a live bar.
    interval = 0.1 if sys.stderr.isatty() else 30.0
    return tqdm(
        initial=start,
        total=run.config.steps,
        desc=run.folder.path.name,
        unit="step",
        mininterval=interval,
        disable=not (run.options.progress and processes.is_leader()),
    )


def update_bar(run: Training, bar: tqdm, state: TrainState, taken: int) -> None:
    """Brings the bar up to date; waits for the device, so that the host never runs far ahead of it."""
    check_finite(run, state)
    metrics, headline = means(state.sums), run.task.headline
    run.folder.write_progress("training", taken, metrics.get(headline.metric))
    values = {name: f"{value:.3f}" for name, value in metrics.items()}
    if headline.metric in metrics:
        values[headline.metric] = headline.format(metrics[headline.metric])
    bar.update(taken - bar.n)
    rate = bar.format_dict["rate"]
    if rate:
        values[f"{run.task.unit}/s"] = f"{rate * run.config.batch_size:.0f}"
    bar.set_postfix(values, refresh=False)
