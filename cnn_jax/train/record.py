"""The run folder: the only thing a run leaves behind and the only thing a report reads.

config.json     what determines the numbers, complete
network.json    what a user of the network needs beside its variables: preprocessing, class names
metrics.jsonl   one line an evaluation; holds no clock, so a resumed run writes the very same bytes
losses.float32  the loss of every step, little-endian; with it `verify` tells whether a run repeats itself
checkpoints/    Orbax
result.json     the final numbers, only when the run is finished
measured.json   what was measured of the finished network, where a study asks for more than its errors
failure.json    why the last attempt failed, only until the run goes on
progress.json   how far an unfinished run is
worker.json     where on a Ray cluster it is run, while it is
manifest.json   what ran it: versions, devices, data, seed, command, times
events.out.*    TensorBoard
"""

import contextlib
import fcntl
import json
import math
import os
import secrets
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnn_jax import config as config_lib
from cnn_jax.train.task import ERROR, Headline


class RecordError(ValueError):
    """A run folder, or a folder of runs, that cannot be used; the message is one line."""


class InUseError(RecordError):
    """A run folder that another process holds."""


class Run(NamedTuple):
    """What one run folder holds; `result`, `failure` and `measured` are None where there is no such file."""

    folder: Path
    config: dict[str, Any]
    metrics: list[dict[str, Any]]
    result: dict[str, Any] | None
    failure: dict[str, Any] | None
    manifest: dict[str, Any]
    measured: dict[str, Any] | None = None

    @property
    def headline(self) -> Headline:
        """That of the run's task."""
        return parse_headline(self.manifest)


def read_run(folder: str | os.PathLike) -> Run:
    """Reads one run folder; raises RecordError naming the file that cannot be read."""
    folder = Path(folder)
    config = read_json(folder / "config.json")
    if config is None:
        raise RecordError(f"{folder} is not a run folder: it holds no config.json")
    return Run(
        folder,
        config_lib.upgrade(config),
        read_metrics(folder),
        read_json(folder / "result.json"),
        read_json(folder / "failure.json"),
        read_json(folder / "manifest.json") or {},
        read_json(folder / "measured.json"),
    )


def read_headline(folder: Path) -> Headline:
    """That of the run's task, as its manifest tells; raises RecordError."""
    return parse_headline(read_json(folder / "manifest.json") or {})


def parse_headline(manifest: dict[str, Any]) -> Headline:
    """That of the run's task; older versions knew classification alone, and did not write it."""
    if "headline" not in manifest:
        return ERROR
    return Headline(**{name: value for name, value in manifest["headline"].items() if name in Headline._fields})


def read_runs(workdir: str | os.PathLike) -> list[Run]:
    """Every run folder directly in `workdir`, by name; raises RecordError where there is none."""
    workdir = Path(workdir)
    if not workdir.is_dir():
        raise RecordError(f"no such folder: {workdir}; give --workdir the folder that a sweep wrote")
    folders = sorted(path.parent for path in workdir.glob("*/config.json"))
    if not folders:
        raise RecordError(f"{workdir} holds no run: no subfolder with a config.json")
    return [read_run(folder) for folder in folders]


def read_json(path: Path) -> Any:
    """The file's content, or None where there is no file; raises RecordError where it is not JSON."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RecordError(f"cannot read {path}: {error}") from error


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; a last line that a killed process left half-written is dropped."""
    path = folder / "metrics.jsonl"
    try:
        lines = path.read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise RecordError(f"cannot read {path}: {error}") from error


def truncate_metrics(folder: Path, step: int, evaluated: frozenset[int]) -> None:
    """Drops what metrics.jsonl says of steps after `step`, which are about to be run again.

    Raises RecordError where it lacks one of the `evaluated` steps that came before.
    """
    kept = [metrics for metrics in read_metrics(folder) if metrics["step"] <= step]
    missing = {number for number in evaluated if number <= step} - {metrics["step"] for metrics in kept}
    if missing:
        raise RecordError(
            f"{folder / 'metrics.jsonl'} lacks step {min(missing)}, which its checkpoint of step {step} has behind it; "
            "put the file back, or delete the run folder to run it anew"
        )
    write_atomically(folder / "metrics.jsonl", "".join(map(_line, kept)))


def append_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """Adds one line to metrics.jsonl, whole or not at all for every reader."""
    with open(folder / "metrics.jsonl", "a") as file:
        file.write(_line(metrics))


def read_losses(folder: Path) -> np.ndarray:
    """The loss of every step that was recorded, float32 (steps,)."""
    try:
        data = (folder / "losses.float32").read_bytes()
    except FileNotFoundError:
        return np.empty(0, np.float32)
    return np.frombuffer(data[: len(data) // 4 * 4], "<f4")


def truncate_losses(folder: Path, step: int) -> None:
    """Drops the losses after `step`; raises RecordError where one before is missing."""
    losses = read_losses(folder)
    if len(losses) < step:
        raise RecordError(
            f"{folder / 'losses.float32'} ends at step {len(losses)}, before its checkpoint of step {step}; put the "
            "file back, or delete the run folder to run it anew"
        )
    write_atomically(folder / "losses.float32", losses[:step].tobytes())


def append_losses(folder: Path, losses: np.ndarray) -> None:
    """Adds the losses of the next steps."""
    with open(folder / "losses.float32", "ab") as file:
        file.write(losses.astype("<f4").tobytes())


def write_progress(folder: Path, progress: dict[str, Any]) -> None:
    """Rewrites progress.json, whole for every reader; after a power cut it may be an older one."""
    temporary = folder / ".progress.json"
    temporary.write_text(json.dumps(replace_nonfinite(progress)))
    temporary.replace(folder / "progress.json")


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically."""
    write_atomically(path, json.dumps(value, indent=2) + "\n")


def write_atomically(path: str | os.PathLike, content: str | bytes) -> None:
    """Writes the whole file or leaves the old one: to a temporary file beside it, synced, then renamed."""
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    # Not by `mkstemp`, whose files ignore the umask, which cannot be read without changing it for all threads.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def require_writable(folder: str | os.PathLike) -> Path:
    """Makes the folder and tries a file in it; raises RecordError where that fails."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise RecordError(f"cannot write in {folder}: {error.strerror}; give --workdir a folder you own") from error


@contextlib.contextmanager
def convert_write_errors(folder: Path) -> Generator[None]:
    """Has what the system says against writing there, a full disk for instance, raised as RecordError."""
    try:
        yield
    except OSError as error:
        raise RecordError(
            f"cannot write in {folder}: {error.strerror or error}; mend that, and the same command continues"
        ) from error


@contextlib.contextmanager
def lock(folder: Path) -> Generator[None]:
    """Holds the run folder for this process; raises InUseError while another process holds it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InUseError(f"another process is running {folder}; wait for it or stop it") from error
        yield
    finally:
        os.close(handle)


def replace_nonfinite(values: dict[str, Any]) -> dict[str, Any]:
    """The values with None for infinity and NaN, which JSON does not know.

    A loss may be infinite in evaluation where it is finite in training.
    """
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def _line(metrics: dict[str, Any]) -> str:
    return json.dumps(replace_nonfinite(metrics), allow_nan=False) + "\n"
