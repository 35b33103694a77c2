"""Repeats steps of a run, and compares them with what it recorded: nothing in its folder is touched."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from cnn_jax import classification
from cnn_jax.config import Config
from cnn_jax.data import Dataset
from cnn_jax.train import devices, feed, loop, manifest, record, variables
from cnn_jax.train.checkpoint import digest
from cnn_jax.train.devices import Layout
from cnn_jax.train.record import RecordError, Run
from cnn_jax.train.step import TrainState, no_sums

ROUNDING = 1e-4  # relative, of a loss: more is not another order of summation


class Verdict(NamedTuple):
    """What came of the comparison.

    Attributes:
      steps: `(first, last)` that were repeated, counted from 1.
      equal: how many of their losses are equal bit for bit.
      first_difference: the first step whose loss differs, or None.
      largest_difference: of the losses, relative.
      checkpoints: of each kept checkpoint among the steps, whether all its bits are equal.
      environment: in what this machine and call differ from the run's, a line each.
    """

    steps: tuple[int, int]
    equal: int
    first_difference: int | None
    largest_difference: float
    checkpoints: dict[int, bool]
    environment: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether all bits are equal, or in another environment all but rounding."""
        return self.first_difference is None and all(self.checkpoints.values()) or self.to_rounding

    @property
    def to_rounding(self) -> bool:
        return bool(self.environment) and self.largest_difference <= ROUNDING

    def __str__(self) -> str:
        first, last = self.steps
        lines = [f"differs from the run: {line}" for line in self.environment]
        lines.append(f"steps {first} to {last}: {self.equal} of {last - first + 1} losses are equal bit for bit")
        if self.first_difference is not None:
            lines.append(
                f"the first that differs is step {self.first_difference}'s; the largest difference is "
                f"{self.largest_difference:.1e}, relative"
            )
        lines += [
            f"checkpoint {step}: {'equal bit for bit' if e else 'differs'}" for step, e in self.checkpoints.items()
        ]
        exact = self.first_difference is None and all(self.checkpoints.values())
        lines.append("EQUAL" if exact else "EQUAL TO ROUNDING" if self.to_rounding else "DIFFERENT")
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
    task = classification.make_task(config, dataset, layout.axis_name)
    program = loop.make_program(task, config.optim, config.penalty, config.steps, layout)
    state = loop.initial_state(program, task, config, dataset)
    if start:
        state = checkpoint(run.folder, start, state)
    state, resident = devices.replicate(layout, state), feed.on_devices(dataset, layout)["train"]
    key, batches = loop.run_key(config, layout), feed.training(dataset, config, layout, start)
    kept, equal, losses = digests(run.folder), {}, []
    bar = tqdm(range(start + 1, start + len(recorded) + 1), "repeating", unit="step", disable=not progress)
    for taken, batch in zip(bar, batches, strict=False):
        state, loss = program.train_step(state, resident, devices.shard(layout, batch), key)
        losses.append(np.float32(loss))
        if taken in config.evaluated_steps:
            state = state.replace(sums=devices.replicate(layout, no_sums()))
        if taken in kept:
            equal[taken] = digest(state) == kept[taken]
    batches.close()
    ours = np.asarray(losses, np.float32)
    same = ours.view(np.uint32) == recorded.view(np.uint32)
    different = np.flatnonzero(~same)
    return Verdict(
        (start + 1, start + len(recorded)),
        int(same.sum()),
        start + 1 + int(different[0]) if len(different) else None,
        float(np.max(np.abs(ours / recorded - 1), initial=0.0)),
        equal,
        tuple(environment(run, dataset, layout)),
    )


def digests(folder: Path) -> dict[int, str]:
    """The digest of each checkpoint that a run keeps, by step."""
    steps = [path for path in (folder / "checkpoints").glob("*") if path.name.isdigit()]
    metas = {int(path.name): record.read_json(path / "meta" / "metadata") for path in steps}
    return {step: meta["digest"] for step, meta in sorted(metas.items()) if meta}


def checkpoint(folder: Path, step: int, like: TrainState) -> TrainState:
    """The state of a kept checkpoint; raises RecordError where there is none, or it is damaged."""
    kept = digests(folder)
    if step not in kept:
        raise RecordError(
            f"{folder} keeps no checkpoint of step {step}; it keeps {', '.join(map(str, kept)) or 'none'}"
        )
    state = variables.read(folder / "checkpoints" / str(step) / "state", like)
    if digest(state) != kept[step]:
        raise RecordError(f"{folder / 'checkpoints' / str(step)} is damaged; verify from the beginning, --from=0")
    return state


def environment(run: Run, dataset: Dataset, layout: Layout) -> list[str]:
    """In what this machine and call differ from those of the run, as far as its manifest tells."""
    here, differences = manifest.facts(dataset, layout), []
    for name in here.keys() & run.manifest.keys():
        ours, theirs = (
            {"": value} if not isinstance(value, dict) else value for value in (here[name], run.manifest[name])
        )
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key) != theirs.get(key):
                differences.append(f"{name} {key}".strip() + f": {theirs.get(key)} there, {ours.get(key)} here")
    return sorted(differences)
