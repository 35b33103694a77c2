"""What ran a run: versions, devices, data, command and times; nothing in here changes a number."""

import functools
import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import cnn_jax
from cnn_jax.config import Config
from cnn_jax.data import Dataset
from cnn_jax.train import processes
from cnn_jax.train.devices import Layout, is_deterministic
from cnn_jax.train.record import RecordError, read_json, write_json
from cnn_jax.train.task import Headline

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
VARIABLES = ("XLA_", "JAX_", "LIBTPU_", "CNN_JAX_NATIVE")
IRRELEVANT_VARIABLES = ("JAX_COMPILATION_CACHE", "JAX_PERSISTENT_CACHE", "JAX_COORDINATOR")
compiling = [0.0]  # seconds that XLA has compiled in this process, or read what it had compiled before


def add_compile_seconds(event: str, duration_secs: float, **_: str | int) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        compiling[0] += duration_secs


jax.monitoring.register_event_duration_secs_listener(add_compile_seconds)


class Session:
    """One process's share of a run, kept in manifest.json; `seconds` of all sessions add up to the run's."""

    def __init__(
        self,
        folder: Path,
        config: Config,
        dataset: Dataset,
        layout: Layout,
        about: dict[str, Any],
        penalized: list[str],
        headline: Headline,
    ):
        self.path = folder / "manifest.json"
        previous: dict[str, Any] = read_json(self.path) or {"sessions": []}
        current = facts(dataset, layout)
        if previous.get("dataset", current["dataset"]) != current["dataset"]:
            raise RecordError(
                f"{folder} was begun on other data: {previous['dataset']} there, {current['dataset']} here; give "
                "another --workdir, or the same data"
            )
        self.manifest: dict[str, Any] = current | {"seed": config.seed, "headline": headline._asdict()} | about
        self.manifest["classes"] = {name: list(field.names) for name, field in dataset.fields.items() if field.names}
        self.manifest["sessions"] = previous["sessions"]
        changed = {name: previous[name] for name in current if previous.get(name, current[name]) != current[name]}
        if earlier := previous.get("earlier", []) + [changed] * bool(changed):
            self.manifest["earlier"] = earlier  # in what earlier sessions ran otherwise than those after them
        self.started, self.compiled = time.monotonic(), compiling[0]
        started = datetime.now(UTC).isoformat(timespec="seconds")
        self.session: dict[str, Any] = {"started": started, "regularized": penalized}
        self.manifest["sessions"].append(self.session)

    def update(self, **facts: Any) -> None:
        """Adds facts about this session (`from_step`, `to_step`, ...), its seconds so far and those of compiling."""
        self.session |= facts | {"seconds": round(time.monotonic() - self.started, 3)}
        self.session["compile_seconds"] = round(compiling[0] - self.compiled, 3)
        write_json(self.path, self.manifest)

    @property
    def seconds(self) -> float:
        """Seconds of all sessions of the run."""
        return sum(session["seconds"] for session in self.manifest["sessions"])


def facts(dataset: Dataset, layout: Layout) -> dict[str, Any]:
    """What the bits of a run can depend on beside its config."""
    sizes = {split: dataset.count(split) for split in dataset.splits}
    data: dict[str, Any] = {"name": dataset.name, "fingerprint": dataset.fingerprint, "examples": sizes}
    if dataset.damaged:
        data["left_out"] = list(dataset.damaged)
    return {
        "versions": versions(),
        "machine": f"{platform.platform()}, {os.cpu_count()} CPUs",
        "devices": [device.device_kind for device in layout.devices],
        "processes": processes.count(),
        "parallel": layout.parallel,
        "accumulate": layout.accumulate,
        "deterministic": is_deterministic(),
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(VARIABLES) and not name.startswith(IRRELEVANT_VARIABLES)
        },
        "git": git(),
        "dataset": data,
    }


def versions() -> dict[str, str]:
    """Python's, ours, and those of the packages that compute."""
    packages = {name: metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "cnn_jax": cnn_jax.__version__} | packages


@functools.cache
def git() -> dict[str, Any] | None:
    """The commit of this code, and whether it was changed since; None outside of a clone."""
    root = Path(cnn_jax.__file__).parents[1]

    def run_git(*command: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *command], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        if Path(run_git("rev-parse", "--show-toplevel")) != root.resolve():
            return None
        return {"commit": run_git("rev-parse", "HEAD"), "changed": bool(run_git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None
