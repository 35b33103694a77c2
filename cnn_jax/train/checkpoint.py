"""Checkpoints of a run: written whole or not at all, verified when read, two kept so that one may be damaged."""

import errno
import functools
import hashlib
import logging
import os
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers
from orbax.checkpoint.options import MultiprocessingOptions

from cnn_jax import config as config_lib
from cnn_jax.config import Config
from cnn_jax.train import processes
from cnn_jax.train.record import RecordError

MAX_TO_KEEP = 2
OVERHEAD_BYTES = 2**20  # bytes that a checkpoint takes beside its arrays, and more
# Orbax numbers the operations of a process by one counter and looks the number up again as it goes: of two threads that
# save at once, one waits for what the other does.
ORBAX_LOCK = threading.Lock()


class KeepLatestAndBest(checkpoint_managers.PreservationPolicy):
    """Keeps the last MAX_TO_KEEP checkpoints, and the best where there is one."""

    def __init__(self, checkpoints: "Checkpoints"):
        self.checkpoints = checkpoints

    def should_preserve(self, checkpoints: Any, *, context: Any) -> list[bool]:
        latest = checkpoint_managers.LatestN(MAX_TO_KEEP).should_preserve(checkpoints, context=context)
        return [
            is_latest or checkpoint.step == self.checkpoints.best
            for checkpoint, is_latest in zip(checkpoints, latest, strict=True)
        ]


class Checkpoints:
    """The folder `checkpoints/` of a run; a context manager.

    Attributes:
      best: the step whose checkpoint stays, however many follow it; None is none.
    """

    def __init__(self, folder: Path, config: Config):
        silence_orbax()
        self.best: int | None = None
        self.folder = folder.absolute() / "checkpoints"
        self.config = config_lib.to_dict(config)
        self.manager = self._open()

    def _open(self) -> ocp.CheckpointManager:
        self.folder.mkdir(exist_ok=True)
        options = ocp.CheckpointManagerOptions(
            create=False,
            preservation_policy=KeepLatestAndBest(self),
            cleanup_tmp_directories=True,
            enable_async_checkpointing=False,
            multiprocessing_options=single_process_options(),
        )
        return ocp.CheckpointManager(self.folder, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: Any) -> None:
        self.manager.close()

    def save(self, step: int, state: Any) -> None:
        """Saves the state as of `step`; a step that is there already is kept. Raises RecordError where it cannot."""
        if step in self.manager.all_steps():
            return
        state = jax.device_get(state)
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + OVERHEAD_BYTES
        free = shutil.disk_usage(self.folder).free
        if free < needed:  # before Orbax begins, which on a disk that is full leaves a folder half-written
            missing = f"{needed / 2**20:.1f} MiB are needed and {free / 2**20:.1f} are free"
            raise self._write_error(step, f"{os.strerror(errno.ENOSPC)}, {missing}")
        meta = {"config": self.config, "digest": digest(state), "variables": digest(state.variables)}
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta))
        try:
            with ORBAX_LOCK:
                self.manager.save(step, args=items)
        except Exception as error:  # whatever Orbax and its file formats raise where they cannot write
            raise self._write_error(step, system_error(error) or first_line(error)) from error

    def _write_error(self, step: int, reason: str) -> RecordError:
        return RecordError(
            f"cannot write {self.folder / str(step)}: {reason}; mend that, and the same command continues from the "
            "checkpoint before"
        )

    def restore(self, target: Any) -> tuple[int, Any] | None:
        """The newest step that can be read, with its state as numpy arrays; None where there is none.

        A damaged checkpoint is reported, moved to `checkpoints_damaged/` and passed over.

        Args:
          target: the state as a tree of arrays or ShapeDtypeStructs.

        Raises:
          RecordError: the checkpoint was written under another config.
        """
        for step in sorted(self.manager.all_steps(), reverse=True):
            try:
                with ORBAX_LOCK:
                    return step, self._read(step, target)
            except RecordError:
                raise
            except Exception as error:  # whatever Orbax and its file formats raise on damaged files
                self._move_damaged(step, error)
        return None

    def rewind(self, step: int, target: Any) -> Any:
        """The state as of `step`, all later checkpoints being deleted; raises RecordError where it is damaged."""
        for later in self.manager.all_steps():
            if later > step:
                self.manager.delete(later)
        restored = self.restore(target)
        if restored is None or restored[0] != step:
            raise RecordError(
                f"{self.folder / str(step)}, the best network of this run, is damaged; the same command trains it again"
            )
        return restored[1]

    def _read(self, step: int, target: Any) -> Any:
        meta = self.manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]
        different = config_lib.differences(meta["config"], self.config)
        if different:
            raise RecordError(f"{self.folder / str(step)} belongs to another config: {'; '.join(different)}")
        # Arrays of numpy, or Orbax would want the very devices that the checkpoint was saved from.
        abstract = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), target)
        state = self.manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract)))["state"]
        if digest(state) != meta["digest"]:
            raise ValueError("its content is not what was saved")
        return state

    def _move_damaged(self, step: int, error: Exception) -> None:
        self.manager.close()
        moved = self.folder.with_name("checkpoints_damaged") / str(step)
        shutil.rmtree(moved, ignore_errors=True)
        moved.parent.mkdir(exist_ok=True)
        (self.folder / str(step)).rename(moved)
        self.manager = self._open()
        print(f"checkpoint {step} is damaged ({first_line(error)}): moved to {moved}, going back to the one before")


def system_error(error: Exception) -> str | None:
    """What the system said, which in TensorStore's errors stands far behind, after paths and parameters."""
    messages = (os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO))
    return next((reason for reason in messages if reason in str(error)), None)


def first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__


def single_process_options() -> MultiprocessingOptions:
    """Of a run's processes the one that calls does all, and Orbax waits for no other."""
    if processes.count() == 1:
        return MultiprocessingOptions()
    return MultiprocessingOptions(primary_host=processes.index(), active_processes={processes.index()})


def silence_orbax() -> None:
    """Orbax tells each save in a dozen lines, warns of files it does without, and tells errors twice or more."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    silence_late_threads()


@functools.cache
def silence_late_threads() -> None:
    """Where a save fails, threads of TensorStore go on to tell an event loop that is closed by then, in tracebacks."""
    hook = sys.unraisablehook

    def report_others(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    sys.unraisablehook = report_others


def digest(tree: Any) -> str:
    """A hash over every leaf's path, type, shape and bytes."""
    total = hashlib.blake2b(digest_size=16)
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(tree)):
        leaf = np.asarray(leaf)
        total.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}".encode())
        total.update(np.ascontiguousarray(leaf).tobytes())
    return total.hexdigest()
