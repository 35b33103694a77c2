"""What a run is to a study: its cell (kind and depth), its state, and how its configuration differs from the others."""

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from cnn_jax.train.record import Run
from cnn_jax.train.task import ERROR, Headline

# The order in which kinds are drawn and listed: the paper's left and right panel, then everything else by name.
KINDS = ("plain", "residual")

# What a study of depth varies on purpose, beside the seed.
AXES = ("model.name",)


def cell(run: Run) -> tuple[str, int | None]:
    """The run's (kind, depth) by the name of its model, see `family`."""
    return family(str((run.config.get("model") or {}).get("name", run.folder.name)))


def family(name: str) -> tuple[str, int | None]:
    """(kind, depth): plain20 -> ("plain", 20), resnet20 -> ("residual", 20), other -> (name, None)."""
    match = re.fullmatch(r"(plain|resnet)(\d+)", name)
    if not match:
        return name, None
    return "residual" if match[1] == "resnet" else "plain", int(match[2])


def cell_order(key: tuple[str, int | None]) -> tuple[int, str, int]:
    """The sort key of a cell: plain, residual, other kinds by name; shallow before deep."""
    kind, depth = key
    return KINDS.index(kind) if kind in KINDS else len(KINDS), kind, depth or 0


def label(kind: str, depth: int | None) -> str:
    """The cell's name as the paper writes it: plain-20, ResNet-20."""
    if depth is None:
        return kind
    return f"{'ResNet' if kind == 'residual' else kind}-{depth}"


def group(runs: Iterable[Run]) -> dict[tuple[str, int | None], list[Run]]:
    """The runs of every cell, in the order of `cell_order`, within a cell by seed and then by folder."""
    ordered = sorted(runs, key=lambda run: (cell_order(cell(run)), seed(run), run.folder.name))
    groups: dict[tuple[str, int | None], list[Run]] = {}
    for run in ordered:
        groups.setdefault(cell(run), []).append(run)
    return groups


def model_name(run: Run) -> str:
    """The name of the run's network."""
    return str((run.config.get("model") or {}).get("name", ""))


def seed(run: Run) -> int:
    """The run's seed."""
    return int(run.config.get("seed") or 0)


def dataset(run: Run) -> str:
    """The name of the run's dataset, "" where the configuration has none."""
    return str((run.config.get("data") or {}).get("name", ""))


def common_headline(runs: Iterable[Run]) -> Headline:
    """The headline of the runs' task; of several tasks the first's, and classification's where there is no run."""
    return next((run.headline for run in runs), ERROR)


def state(run: Run) -> str:
    """ "finished", "failed" or "unfinished"; a run with a result is finished, whatever earlier attempts did."""
    if run.result is not None:
        return "finished"
    return "failed" if run.failure is not None else "unfinished"


def reason(run: Run) -> str:
    """Why a run has no result, in one line; "" for a finished run."""
    if run.result is not None:
        return ""
    if run.failure is not None:
        step = run.failure.get("step")
        text = " ".join(str(run.failure.get("error", "no reason recorded")).split())
        return text if step is None else f"{text} (at step {step})"
    reached = run.metrics[-1].get("step", 0) if run.metrics else 0
    return f"reached step {reached} of {run.config.get('steps', '?')}"


def number(value: Any) -> float:
    """`value` as a float; NaN where it is missing or no number."""
    return float(value) if isinstance(value, (int, float)) else math.nan


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted field -> JSON text: {"optim": {"learning_rate": 0.1}} -> {"optim.learning_rate": "0.1"}."""
    fields: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, dict) and value:
            fields |= flatten(value, f"{prefix}{name}.")
        else:
            fields[prefix + name] = json.dumps(value)
    return fields


def compare(runs: Sequence[Run]) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    """The fields that all runs share, and for every other field how many runs have each value ("absent" included)."""
    flat = [flatten(run.config) for run in runs]
    common: dict[str, str] = {}
    varying: dict[str, dict[str, int]] = {}
    for name in dict.fromkeys(name for fields in flat for name in fields):
        counts: dict[str, int] = {}
        for fields in flat:
            value = fields.get(name, "absent")
            counts[value] = counts.get(value, 0) + 1
        if len(counts) == 1:
            common[name] = next(iter(counts))
        else:
            varying[name] = counts
    return common, varying


def unplanned_fields(runs: Sequence[Run], axes: Sequence[str] = AXES) -> list[str]:
    """The dotted fields, other than the seed and those that the study varies on purpose, in which the runs differ."""
    return [name for name in compare(runs)[1] if name not in axes and name != "seed"]
