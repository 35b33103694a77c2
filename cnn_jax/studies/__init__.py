"""Questions, each with its measurement, tables, figures and claims side by side.

A sweep writes into its workdir which study it is, and the study's page is rebuilt from the folder alone.
"""

import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnn_jax.report.cells import compare
from cnn_jax.train import record
from cnn_jax.train.record import RecordError, Run

FILE = "study.json"

STUDIES = {
    "depth_sweep": "degradation",
    "architectures": "architectures",
    "depth_diagnostics": "depth",
    "regularization": "regularization",
    "transfer": "transfer",
    "transferability": "transferability",
    **dict.fromkeys(("normalization", "pooling", "activation", "padding"), "factors"),
}
"""By name, the module here that has what rebuilds the page of a workdir."""


def write(name: str, workdir: Path, **options: Any) -> str:
    """Rebuilds the page of the workdir as that study's; returns its tables and verdicts as text. Raises RecordError."""
    module = importlib.import_module(f"cnn_jax.studies.{STUDIES[name]}")  # now: what draws takes a second to import
    if STUDIES[name] == "factors":
        options["factor"] = module.FACTORS[name]
    return module.write(workdir, **options)


def begin(workdir: Path, name: str) -> None:
    """Writes into the workdir that it is the study's; raises RecordError where it is another's."""
    there = read(workdir)
    if there not in (None, name):
        raise RecordError(f"{workdir} holds the study {there}, not {name}: give another --workdir")
    if there is None:
        record.write_json(workdir / FILE, {"study": name})


def read(workdir: Path) -> str | None:
    """The study that began the workdir; None where none has written so, as older versions did not."""
    return (record.read_json(workdir / FILE) or {}).get("study")


def find(workdir: Path) -> str:
    """The study that the workdir holds; raises RecordError where it holds no run."""
    return read(workdir) or recognize(record.read_runs(workdir))


def recognize(runs: Sequence[Run]) -> str:
    """The study that runs of an older version are of, by what varies among them."""
    from cnn_jax.studies.factors import FACTORS
    from cnn_jax.studies.regularization.methods import DISABLED

    varying = set(compare(runs)[1])
    for name, factor in FACTORS.items():
        if factor.field in varying:
            return name
    if varying & {*DISABLED, "data.train_examples"}:
        return "regularization"
    models: set[Any] = {run.config["model"]["name"] for run in runs}
    return "depth_sweep" if all(re.fullmatch(r"(plain|resnet)\d+", model) for model in models) else "architectures"
