"""Repeats steps of a run, and compares them with what it recorded: nothing in its folder is touched."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from cnn_jax import tasks
from cnn_jax.config import Config
from cnn_jax.data import Dataset
from cnn_jax.train import devices, feed, loop, manifest, record, variables
from cnn_jax.train.checkpoint import digest
from cnn_jax.train.devices import Layout
from cnn_jax.train.record import RecordError, Run
from cnn_jax.train.step import TrainState, zero_sums
from cnn_jax.train.task import Task

ALWAYS = ("epoch", "learning_rate")
ROUNDING = 1e-4  # relative, of a loss: more is not another order of summation


class Verdict(NamedTuple):
    """What came of the comparison.

    Attributes:
      steps: `(first, last)` that were repeated, counted from 1.
      equal: how many of their losses are equal bit for bit.
      first_difference: the first step whose loss differs, or None.
      largest_difference: of the losses, relative.
      evaluations: of each recorded evaluation among the steps, the largest difference of a loss, relative.
      checkpoints: of each kept checkpoint among the steps, how far its variables and momentum are from ours, relative.
      environment: in what this machine and call differ from the run's, a line each.

    A difference is None where all bits are equal: 0.0 is of numbers that differ in what it does not look at.
    """

    steps: tuple[int, int]
    equal: int
    first_difference: int | None
    largest_difference: float
    evaluations: dict[int, float | None]
    checkpoints: dict[int, float | None]
    environment: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether all bits are equal."""
        others = {*self.evaluations.values(), *self.checkpoints.values()}
        return self.first_difference is None and others <= {None}

    @property
    def equal_to_rounding(self) -> bool:
        """Whether all is equal but for rounding, which another environment explains."""
        others = [*self.evaluations.values(), *self.checkpoints.values()]
        largest = max(self.largest_difference, *(other or 0.0 for other in others), 0.0)
        return bool(self.environment) and largest <= ROUNDING

    @property
    def passed(self) -> bool:
        return self.exact or self.equal_to_rounding

    def __str__(self) -> str:
        first, last = self.steps
        lines = [f"differs from the run: {line}" for line in self.environment]
        lines.append(f"steps {first} to {last}: {self.equal} of {last - first + 1} losses are equal bit for bit")
        if self.first_difference is not None:
            lines.append(
                f"the first that differs is step {self.first_difference}'s; the largest difference is "
                f"{self.largest_difference:.1e}, relative"
            )
        for what, differences in (("evaluation at step", self.evaluations), ("checkpoint", self.checkpoints)):
            for step, difference in differences.items():
                text = "equal bit for bit" if difference is None else f"differs by {difference:.1e}, relative"
                lines.append(f"{what} {step}: {text}")
        lines.append("EQUAL" if self.exact else "EQUAL TO ROUNDING" if self.equal_to_rounding else "DIFFERENT")
        return "\n".join(lines)


def verify(
    run: Run, config: Config, dataset: Dataset, layout: Layout, steps: int, start: int = 0, progress: bool = False
) -> Verdict:
    """Repeats `steps` steps of a run, or as many as it recorded, from its beginning or a checkpoint it keeps.

    Args:
      run: its folder as read.
      config: its own.
      dataset: what it learned from.
      layout: where the steps are repeated.
      steps: how many.
      start: the step of a checkpoint, or 0.
      progress: whether to draw a bar on stderr.

    Raises:
      RecordError: the run recorded no losses there, or keeps no such checkpoint.
    """
    recorded = record.read_losses(run.folder)[start : start + steps]
    if not len(recorded):
        raise RecordError(f"{run.folder} recorded no loss after step {start}: give fewer --from, or another --run")
    task = tasks.make(config, dataset, layout.axis_name)
    program = loop.make_program(task, config.optim, config.penalty, config.steps, layout)
    state = loop.initial_state(program, task, config, dataset)
    if start:
        state = read_checkpoint(run.folder, start, state)
    state, resident = devices.replicate(layout, state), feed.put_on_devices(dataset, layout)["train"]
    key, batches = loop.run_key(config, layout), feed.training_batches(dataset, config, layout, start)
    kept, lines = read_digests(run.folder), {line["step"]: line for line in run.metrics}
    losses, evaluations, checkpoints = [], {}, {}
    bar = tqdm(range(start + 1, start + len(recorded) + 1), "repeating", unit="step", disable=not progress)
    for taken, batch in zip(bar, batches, strict=False):
        state, loss = program.train_step(state, resident, devices.shard(layout, batch), key)
        losses.append(np.float32(loss))
        if taken in config.evaluation_steps:
            if taken in lines:
                others = sorted(dataset.splits.keys() - {"train"})
                means = {one: loop.evaluate_split(task, program, dataset, one, config, layout, state) for one in others}
                line = loop.metrics_line(config, dataset.count("train"), state, taken, means)
                evaluations[taken] = metrics_difference(line, lines[taken], task)
            state = state.replace(sums=devices.replicate(layout, zero_sums(task.sums)))
        if taken in kept:
            checkpoints[taken] = (
                None if digest(state) == kept[taken] else checkpoint_difference(run.folder, taken, state)
            )
    batches.close()
    ours = np.asarray(losses, np.float32)
    different = np.flatnonzero(ours.view(np.uint32) != recorded.view(np.uint32))
    return Verdict(
        (start + 1, start + len(recorded)),
        len(recorded) - len(different),
        start + 1 + int(different[0]) if len(different) else None,
        max((relative_difference(float(ours[step]), float(recorded[step])) for step in different), default=0.0),
        evaluations,
        checkpoints,
        tuple(environment_differences(run, dataset, layout)),
    )


def relative_difference(ours: float, theirs: float) -> float:
    """Their distance as a part of the second's size; infinite where one is not finite, or the second is 0."""
    if ours == theirs:
        return 0.0
    part = abs(ours - theirs) / abs(theirs) if theirs else math.inf
    return part if math.isfinite(part) else math.inf


def metrics_difference(ours: dict[str, Any], theirs: dict[str, Any], task: Task) -> float | None:
    """The largest relative difference of two lines of metrics.jsonl, None where they say the very same.

    The headline and scores do not count: they may be decisions, and an image between two classes changes sides by
    rounding. The other sums, losses, tell as much.
    """
    ours, theirs = record.replace_nonfinite(ours), {name: value for name, value in theirs.items() if name != "step"}
    if ours == theirs:
        return None
    sums = {*task.sums, *task.means} - {task.headline.metric}
    names = [name for name in ours.keys() | theirs.keys() if name in ALWAYS or name.partition("_")[2] in sums]
    values = [[math.inf if (value := line.get(name)) is None else value for line in (ours, theirs)] for name in names]
    return max(relative_difference(*pair) for pair in values)


def checkpoint_difference(folder: Path, step: int, state: TrainState) -> float:
    """How far all that a kept checkpoint's steps have made is from ours, relative; infinite where it is damaged."""
    try:
        saved = read_checkpoint(folder, step, state)
    except RecordError:
        return math.inf
    theirs, ours = (
        [
            np.asarray(leaf, np.float64)
            for leaf in jax.tree.leaves(jax.device_get(one.replace(step={}, sums={}, diverged_at={})))
        ]
        for one in (saved, state)
    )
    apart = sum(float(np.square(a - b).sum()) for a, b in zip(ours, theirs, strict=True))
    return math.sqrt(apart / sum(float(np.square(leaf).sum()) for leaf in theirs))


def read_digests(folder: Path) -> dict[int, str]:
    """The digest of each checkpoint that a run keeps, by step."""
    steps = [path for path in (folder / "checkpoints").glob("*") if path.name.isdigit()]
    metas = {int(path.name): record.read_json(path / "meta" / "metadata") for path in steps}
    return {step: meta["digest"] for step, meta in sorted(metas.items()) if meta}


def read_checkpoint(folder: Path, step: int, like: TrainState) -> TrainState:
    """The state of a kept checkpoint; raises RecordError where there is none, or it is damaged."""
    digests = read_digests(folder)
    if step not in digests:
        raise RecordError(
            f"{folder} keeps no checkpoint of step {step}; it keeps {', '.join(map(str, digests)) or 'none'}"
        )
    state = variables.read_tree(folder / "checkpoints" / str(step) / "state", like)
    if digest(state) != digests[step]:
        raise RecordError(f"{folder / 'checkpoints' / str(step)} is damaged; verify from the beginning, --from=0")
    return state


def environment_differences(run: Run, dataset: Dataset, layout: Layout) -> list[str]:
    """In what this machine and call differ from those of the run's sessions, as far as its manifest tells."""
    here, differences = manifest.facts(dataset, layout), set()
    for session in (run.manifest, *run.manifest.get("earlier", [])):
        for name in here.keys() & session.keys():
            ours, theirs = (
                {"": value} if not isinstance(value, dict) else value for value in (here[name], session[name])
            )
            for key in ours.keys() | theirs.keys():
                if ours.get(key) != theirs.get(key):
                    differences.add(f"{name} {key}".strip() + f": {theirs.get(key)} there, {ours.get(key)} here")
    return sorted(differences)
