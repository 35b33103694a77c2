"""What ran a run: versions, devices, data, command and times; nothing in here changes a number."""

import os
import platform
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import cnn_jax
from cnn_jax.config import Config
from cnn_jax.data import Dataset
from cnn_jax.train.devices import Layout
from cnn_jax.train.record import RecordError, read_json, write_json

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class Session:
    """One process's share of a run, kept in manifest.json; `seconds` of all sessions add up to the run's."""

    def __init__(
        self, folder: Path, config: Config, dataset: Dataset, layout: Layout, command: str, penalized: list[str]
    ):
        self.path = folder / "manifest.json"
        before: dict[str, Any] = read_json(self.path) or {"sessions": []}
        sizes = {split: dataset.count(split) for split in dataset.splits}
        data = {"name": dataset.name, "fingerprint": dataset.fingerprint, "examples": sizes}
        if before.get("dataset", data) != data:
            raise RecordError(f"{folder} was begun on other data: {before['dataset']} there, {data} here")
        self.manifest: dict[str, Any] = {
            "versions": versions(),
            "machine": f"{platform.platform()}, {os.cpu_count()} CPUs",
            "devices": [device.device_kind for device in layout.devices],
            "parallel": layout.parallel,
            "dataset": data,
            "seed": config.seed,
            "command": command,
            "sessions": before["sessions"],
        }
        self.started = time.monotonic()
        started = datetime.now(UTC).isoformat(timespec="seconds")
        self.session: dict[str, Any] = {"started": started, "regularized": penalized}
        self.manifest["sessions"].append(self.session)

    def update(self, **facts: Any) -> None:
        """Adds facts about this session (`from_step`, `to_step`, ...) and its seconds so far."""
        self.session |= facts | {"seconds": round(time.monotonic() - self.started, 3)}
        write_json(self.path, self.manifest)

    @property
    def seconds(self) -> float:
        """Seconds of all sessions of the run."""
        return sum(session["seconds"] for session in self.manifest["sessions"])


def versions() -> dict[str, str]:
    """Python's, ours, and those of the packages that compute."""
    packages = {name: metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "cnn_jax": cnn_jax.__version__} | packages
