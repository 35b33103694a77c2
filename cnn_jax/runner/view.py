"""All runs of a sweep in one view: how many wait, run, are finished and failed, and how far each one is."""

import contextlib
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from cnn_jax.runner.one import Outcome
from cnn_jax.train import record

DRAW_SECONDS = 1.0  # between two drawings on a terminal
LINE_SECONDS = 30.0  # between two lines in a log
NAMED = 4  # runs that a line in a log names


class Run(NamedTuple):
    """A run under way: where, what its progress.json says, since when (monotonic), and whether it is this attempt's."""

    place: str
    progress: dict[str, Any] | None
    since: float
    updated: bool = False


class View:
    """Drawn on stderr: a line a run on a terminal, else a line now and then. A context manager.

    Whoever runs the runs says which begin and end, and has it look about every second.
    """

    def __init__(self, folders: Iterable[Path], progress: bool):
        self.waiting = set(folders)
        self.running: dict[Path, Run] = {}
        self.total, self.finished, self.failed = len(self.waiting), 0, 0
        self.progress, self.terminal = progress, sys.stderr.isatty()
        self.height, self.drawn = 0, time.monotonic()

    def __enter__(self) -> "View":
        return self

    def __exit__(self, *_: Any) -> None:
        self.clear()

    def begin(self, folder: Path, place: str) -> None:
        """The run begins, or begins once more, at that place."""
        self.waiting.discard(folder)
        self.running[folder] = Run(place, read(folder), time.monotonic())

    def wait(self, folder: Path, reason: str) -> None:
        """The run stopped for that reason and waits to be continued; tells it."""
        self.running.pop(folder, None)
        self.waiting.add(folder)
        self.clear()
        print(f"{folder.name}: {reason}; it is continued from its checkpoint", file=sys.stderr, flush=True)

    def end(self, outcome: Outcome) -> None:
        """The run has ended; the view gives way for what is printed of it."""
        self.waiting.discard(outcome.folder)
        self.running.pop(outcome.folder, None)
        self.finished += outcome.error is None
        self.failed += outcome.error is not None
        self.clear()

    def refresh(self) -> None:
        """Reads how far the runs are, and draws it when it is time to."""
        now = time.monotonic()
        for folder, run in list(self.running.items()):
            progress = read(folder)
            if progress is not None and progress != run.progress:
                self.running[folder] = Run(run.place, progress, now, updated=True)
        if self.progress and now - self.drawn > (DRAW_SECONDS if self.terminal else LINE_SECONDS):
            self.drawn = now
            self.draw()

    def find_hung(self, seconds: float) -> list[Path]:
        """The runs whose progress.json has said the same for that long."""
        now = time.monotonic()
        return [folder for folder, run in self.running.items() if now - run.since > seconds]

    def draw(self) -> None:
        runs = sorted(self.running)
        counts = (
            f"{self.finished} of {self.total} finished, {self.failed} failed, {len(runs)} running, "
            f"{len(self.waiting)} waiting"
        )
        if not self.terminal:
            named = [f"{folder.name} {describe(self.running[folder])}" for folder in runs[:NAMED]]
            more = [f"{len(runs) - NAMED} more"] if len(runs) > NAMED else []
            print("; ".join([counts, *named, *more]), file=sys.stderr, flush=True)
            return
        columns, rows = shutil.get_terminal_size()
        widest = max((len(folder.name) for folder in runs), default=0)
        lines = [counts, *(f"  {folder.name:<{widest}}  {describe(self.running[folder])}" for folder in runs)]
        if len(lines) >= rows:
            lines = [*lines[: rows - 2], f"  {len(lines) - rows + 2} more"]
        self.clear()
        print(*(line[: columns - 1] for line in lines), sep="\n", file=sys.stderr, flush=True)
        self.height = len(lines)

    def clear(self) -> None:
        """Takes the lines off the terminal."""
        if self.height:
            print(f"\x1b[{self.height}A\x1b[J", end="", file=sys.stderr, flush=True)  # so many lines up, erased below
            self.height = 0


def read(folder: Path) -> dict[str, Any] | None:
    """What the run's progress.json says, None where it cannot be read at the moment."""
    with contextlib.suppress(record.RecordError):
        return record.read_json(folder / "progress.json")
    return None


def describe(run: Run) -> str:
    """`training   1200/3000 40 %  error 12.30 %  node`; `starting` until this attempt says something."""
    if run.progress is None or not run.updated:
        return f"starting    {run.place}"
    progress = run.progress
    share = progress["step"] / max(progress["steps"], 1)
    headline = f"  {progress['headline']}" if progress.get("headline") else ""
    return f"{progress['phase']:<10}  {progress['step']}/{progress['steps']} {share:.0%}{headline}  {run.place}"
