"""The run folder as the loop writes it: in a run of several processes the leader alone does, and tells the others."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cnn_jax import config as config_lib
from cnn_jax.config import Config
from cnn_jax.train import early_stopping, processes, record
from cnn_jax.train.checkpoint import Checkpoints
from cnn_jax.train.manifest import Session
from cnn_jax.train.record import RecordError
from cnn_jax.train.task import Headline

PROGRESS_SECONDS = 2.0  # between two writings of progress.json within a phase


class RunFolder:
    """A run folder held by this run; a context manager, whose methods all processes of the run call alike.

    Raises RecordError, in every process, where the folder belongs to another config or other data, is in use, is
    damaged or cannot be written.
    """

    def __init__(self, path: Path, config: Config, headline: Headline):
        self.path, self.config, self.headline = path, config, headline
        self.losses: list[np.ndarray] = []
        self.evaluated = config.evaluation_steps
        self.shown, self.phase = 0.0, ""

    def __enter__(self) -> "RunFolder":
        with contextlib.ExitStack() as stack:
            self._run_on_leader(lambda: stack.enter_context(record.lock(record.require_writable(self.path))))
            self.held = stack.pop_all()
        return self

    def _run_on_leader(self, function: Callable[[], Any]) -> Any:
        """What the function returns in the leader, which alone calls it."""

        def write() -> Any:
            with record.convert_write_errors(self.path):
                return function()

        return processes.run_on_leader(write)

    def __exit__(self, *_: Any) -> None:
        self.held.close()

    def begin(self) -> dict[str, Any] | None:
        """Writes config.json, or checks it; returns the result of a finished run."""
        return self._run_on_leader(self._begin)

    def _begin(self) -> dict[str, Any] | None:
        new, old = config_lib.to_dict(self.config), record.read_json(self.path / "config.json")
        if old is None:
            record.write_json(self.path / "config.json", new)
        elif different := config_lib.differences(old, new):
            raise RecordError(f"{self.path} belongs to another config: {'; '.join(different)}; give another --workdir")
        return record.read_json(self.path / "result.json")

    def restore(self, state: Any, session: Callable[[], Session]) -> tuple[int, Any]:
        """The step to go on from, and its state as numpy arrays; 0 and the given state where nothing is saved.

        The session, of this process's share of the run, begins with it.
        """
        start = self._run_on_leader(lambda: self._restore(state, session))
        return start, processes.broadcast(self.restored if processes.is_leader() else jax.tree.map(np.asarray, state))

    def _restore(self, state: Any, session: Callable[[], Session]) -> int:
        self.session = session()
        self.checkpoints = self.held.enter_context(Checkpoints(self.path, self.config))
        start, self.restored = self.checkpoints.restore(state) or (0, jax.tree.map(np.asarray, state))
        record.truncate_metrics(self.path, start, self.evaluated)
        record.truncate_losses(self.path, start)
        self.session.update(from_step=start, to_step=start)
        (self.path / "failure.json").unlink(missing_ok=True)
        # Here, where something is written: tensorboardX 2.6 imports PyTorch where it is installed, 470 MB and 3 s.
        from cnn_jax.train.events import Events

        self.events = self.held.enter_context(Events(self.path, start))
        return start

    def keep_network(self, about: Callable[[], dict[str, Any]]) -> None:
        """Writes network.json, of what the function gives, where it is not there yet."""
        path = self.path / "network.json"

        def write() -> None:
            if not path.exists() and (content := about()):
                record.write_json(path, content)

        self._run_on_leader(write)

    def add_facts(self, **facts: Any) -> None:
        """Adds facts about this session to the manifest."""
        if processes.is_leader():
            with record.convert_write_errors(self.path):
                self.session.update(**facts)

    def add_losses(self, losses: list[jax.Array]) -> None:
        """Keeps the losses of the next steps until the next `save`; waits for the device."""
        self.losses += jax.device_get(losses)

    def add_metrics(self, step: int, line: dict[str, Any]) -> bool:
        """Adds a line to metrics.jsonl and to the events; returns whether training stops early."""

        def add() -> bool:
            record.append_metrics(self.path, {"step": step} | line)
            rate = "learning_rate"
            tags = {name: name if name == rate else name.replace("_", "/", 1) for name in line if name != "epoch"}
            self.events.add(step, {tag: line[name] for name, tag in tags.items()})
            return self._has_stopped()

        return self._run_on_leader(add)

    def has_stopped(self) -> bool:
        """Whether training has stopped early; the checkpoint of the best validation headline stays."""
        return self._run_on_leader(self._has_stopped)

    def _has_stopped(self) -> bool:
        metrics, patience = record.read_metrics(self.path), self.config.patience
        if patience and metrics:
            self.checkpoints.best = early_stopping.best_evaluation(metrics, self.headline)["step"]
        return early_stopping.should_stop(metrics, patience, self.headline)

    def is_best(self, step: int) -> bool:
        """Whether the best validation headline is this step's."""
        return bool(self.config.patience) and self._run_on_leader(lambda: self.checkpoints.best == step)

    def save(self, step: int, state: Any) -> None:
        """Saves the state as of `step`, and the losses until then."""
        self.write_progress("saving", step)
        losses, self.losses = np.asarray(self.losses, np.float32), []

        def write() -> None:
            record.append_losses(self.path, losses)
            self.checkpoints.save(step, state)
            self.session.update(to_step=step)

        self._run_on_leader(write)

    def restore_best(self, state: Any) -> Any:
        """The state, as numpy arrays, that had the best validation headline; later checkpoints are deleted."""

        def read() -> None:
            best = early_stopping.best_evaluation(record.read_metrics(self.path), self.headline)["step"]
            self.restored = self.checkpoints.rewind(best, state)

        self._run_on_leader(read)
        return processes.broadcast(self.restored if processes.is_leader() else jax.tree.map(np.asarray, state))

    def finish(self, train: dict[str, float], facts: dict[str, Any]) -> dict[str, Any]:
        """Writes result.json, of `facts`, the exact training metrics and what was recorded, and returns it."""

        def write() -> dict[str, Any]:
            metrics = record.read_metrics(self.path)
            self.session.update(to_step=metrics[-1]["step"])
            result = record.replace_nonfinite(
                facts | final_metrics(metrics, train, self.config.patience, self.headline)
            )
            result["seconds"] = self.session.seconds
            record.write_json(self.path / "result.json", result)
            (self.path / "progress.json").unlink(missing_ok=True)
            return result

        return self._run_on_leader(write)

    def write_progress(self, phase: str, step: int, headline: float | None = None) -> None:
        """Rewrites progress.json where the phase is new or the last writing some time ago."""
        now = time.time()
        if processes.is_leader() and (phase != self.phase or now - self.shown > PROGRESS_SECONDS):
            self.shown, self.phase = now, phase
            text = headline if headline is None else f"{self.headline.title} {self.headline.format(headline)}"
            progress = {"step": step, "steps": self.config.steps, "phase": phase, "headline": text, "time": now}
            record.write_progress(self.path, progress)


def final_metrics(
    metrics: list[dict[str, Any]], train: dict[str, float], patience: int, headline: Headline
) -> dict[str, float]:
    """The steps taken, the final metrics, and the headline at the best evaluations, labelled as such.

    With `patience` the final network is that of the best validation headline; `steps` are those it had taken. `train`
    is its exact evaluation.
    """
    final = early_stopping.best_evaluation(metrics, headline) if patience else metrics[-1]
    others = {name: final[name] for name in final if name.startswith(("test_", "validation_"))}
    tested = headline.name("test")
    best = {f"best_{tested}": early_stopping.best_evaluation(metrics, headline, "test")[tested]}
    if headline.name("validation") in others:
        best[f"{tested}_at_best_validation"] = early_stopping.best_evaluation(metrics, headline)[tested]
    return {"steps": final["step"]} | {f"train_{name}": value for name, value in train.items()} | others | best
