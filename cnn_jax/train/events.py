"""TensorBoard events, written by the thread that has them: one that failed behind it would tell of it too late."""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # ty: ignore[missing-module-member]  (generated)
from tensorboardX.summary import scalar


class Events:
    """A new file of events in a run folder; a context manager. Steps after `start` in older files are void."""

    def __init__(self, folder: Path, start: int):
        self.writer = EventsWriter(str(folder / "events"))
        self._write(start, session_log=SessionLog(status=SessionLog.START))

    def _write(self, step: int, **what: Any) -> None:
        self.writer.write_event(Event(wall_time=time.time(), step=step, **what))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Writes a scalar of each name; raises OSError."""
        for name, value in values.items():
            self._write(step, summary=scalar(name, value))
        self.writer.flush()

    def __enter__(self) -> "Events":
        return self

    def __exit__(self, *_: Any) -> None:
        with contextlib.suppress(OSError):  # of what `add` could not write already
            self.writer.close()
