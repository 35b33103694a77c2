"""Claims about a study, judged on final errors over seeds: PASS, FAIL or NOT ENOUGH SEEDS, with the numbers."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnn_jax.report.cells import cell, dataset, label, number, reason, seed, state, unplanned
from cnn_jax.report.tables import mean_and_deviation
from cnn_jax.train.record import Run, write_json

SEEDS = 3
SMALLEST = 0.005

RULE = (
    "A is higher than B when mean(A) - mean(B) > max(2 SE, 0.005), where SE = sqrt(sd(A)^2/n(A) + sd(B)^2/n(B)) with "
    "sample standard deviations over seeds; half a percentage point is the smallest difference that counts. Fewer than "
    "three seeds on a side, or a missing side, is NOT ENOUGH SEEDS. Errors are final ones: training error exact over "
    "the training split, test error after the last step, never the best on test."
)


class Side(NamedTuple):
    """A cell of a study: the nets of `kind` at the shallowest or deepest depth that the study has of `depth_of`."""

    kind: str
    depth_of: str
    which: str  # "shallowest" or "deepest"


class Claim(NamedTuple):
    """`higher`: the claim holds when the error of `a` is higher than that of `b`; otherwise when it is not."""

    name: str
    text: str
    metric: str
    a: Side
    b: Side
    higher: bool


DEGRADATION = (
    Claim(
        "plain_degrades",
        "the deepest plain net has higher training error than the shallowest",
        "train_error",
        Side("plain", "plain", "deepest"),
        Side("plain", "plain", "shallowest"),
        True,
    ),
    Claim(
        "residual_does_not",
        "the deepest residual net has no higher training error than the shallowest",
        "train_error",
        Side("residual", "residual", "deepest"),
        Side("residual", "residual", "shallowest"),
        False,
    ),
    Claim(
        "residual_beats_its_twin",
        "the deepest residual net beats its plain twin on test",
        "test_error",
        Side("plain", "residual", "deepest"),
        Side("residual", "residual", "deepest"),
        True,
    ),
)


def judge(runs: Sequence[Run], claims: Sequence[Claim] = DEGRADATION) -> list[dict[str, Any]]:
    """One dict a claim: claim, name, metric, verdict, sentence, rule, a, b, difference, standard_error, threshold.

    `a` and `b` are {"kind", "depth", "n", "mean", "sd"}; errors are fractions; what cannot be computed is None. The
    deepest and the shallowest are looked for among all runs, so that a depth whose runs all failed is not passed over.
    """
    return [_judge(runs, claim) for claim in claims]


def write(verdicts: Sequence[dict[str, Any]], path: str | os.PathLike) -> None:
    """Writes the verdicts as a JSON list, atomically."""
    write_json(Path(path), list(verdicts))


def _judge(runs: Sequence[Run], claim: Claim) -> dict[str, Any]:
    depths = [_depth(runs, side) for side in (claim.a, claim.b)]
    members = [
        [run for run in runs if depth is not None and cell(run) == (side.kind, depth)]
        for side, depth in zip((claim.a, claim.b), depths, strict=True)
    ]
    a, b = (
        _numbers(side.kind, depth, cell_runs, claim.metric)
        for side, depth, cell_runs in zip((claim.a, claim.b), depths, members, strict=True)
    )
    difference = error = threshold = None
    distinct = _name(a) != _name(b)
    if distinct and a["mean"] is not None and b["mean"] is not None:
        difference = a["mean"] - b["mean"]
    if distinct and a["sd"] is not None and b["sd"] is not None:
        error = math.sqrt(a["sd"] ** 2 / a["n"] + b["sd"] ** 2 / b["n"])
        threshold = max(2 * error, SMALLEST)
    obstacles = _obstacles(claim, a, b, *members)
    if obstacles or difference is None or threshold is None:
        verdict = "NOT ENOUGH SEEDS"
    else:
        verdict = "PASS" if _exceeds(difference, threshold) == claim.higher else "FAIL"
    sentences = [*obstacles, *_outcome(claim.metric, a, b, difference, threshold), *_caveats(members)]
    return {
        "claim": claim.text,
        "name": claim.name,
        "metric": claim.metric,
        "verdict": verdict,
        "sentence": " ".join(sentences),
        "rule": RULE,
        "a": a,
        "b": b,
        "difference": difference,
        "standard_error": error,
        "threshold": threshold,
    }


def _depth(runs: Sequence[Run], side: Side) -> int | None:
    depths = [depth for kind, depth in map(cell, runs) if kind == side.depth_of and depth is not None]
    if not depths:
        return None
    return max(depths) if side.which == "deepest" else min(depths)


def _final(run: Run, metric: str) -> float:
    return number(run.result.get(metric)) if run.result is not None else math.nan


def _numbers(kind: str, depth: int | None, runs: Sequence[Run], metric: str) -> dict[str, Any]:
    values = [value for value in (_final(run, metric) for run in runs) if math.isfinite(value)]
    mean, deviation = mean_and_deviation(values)
    return {"kind": kind, "depth": depth, "n": len(values), "mean": mean, "sd": deviation}


def _exceeds(difference: float, threshold: float) -> bool:
    # Rounded, so that a difference of exactly the threshold does not pass for the last bit of a subtraction.
    return round(difference, 12) > round(threshold, 12)


def _obstacles(claim: Claim, a: dict[str, Any], b: dict[str, Any], *members: list[Run]) -> list[str]:
    """Why the claim cannot be judged, as sentences; nothing where it can."""
    for side, cell_runs in zip((a, b), members, strict=True):
        if side["depth"] is None:
            return [f"The study has no {claim.a.depth_of} net."]
        if not cell_runs:
            return [f"The study has no {_name(side)}."]
    if _name(a) == _name(b):
        return [f"The study has one depth of {a['kind']} nets only ({a['depth']})."]
    datasets = sorted({dataset(run) for runs in members for run in runs})
    if len(datasets) > 1:
        return [f"The runs are not comparable: their data are {', '.join(datasets)}."]
    out = []
    for side, cell_runs in zip((a, b), members, strict=True):
        seeds = [seed(run) for run in cell_runs if math.isfinite(_final(run, claim.metric))]
        if len(set(seeds)) < len(seeds):
            out.append(f"{_name(side)} has more than one run of a seed, so its runs are not independent repeats.")
        if side["n"] < SEEDS:
            plural = "" if side["n"] == 1 else "s"
            out.append(f"{_name(side)} has {side['n'] or 'no'} finished seed{plural}; {SEEDS} are needed.")
    return out


def _outcome(
    metric: str, a: dict[str, Any], b: dict[str, Any], difference: float | None, threshold: float | None
) -> list[str]:
    """The numbers in words, in percent and percentage points."""
    if difference is None:
        return []
    kind = "Training" if metric == "train_error" else "Test"
    direction = "higher" if difference > 0 else "lower"
    text = f"{kind} error: {_name(a)} {_percent(a)}, {_name(b)} {_percent(b)}; {_name(a)} is "
    text += "level with it" if difference == 0 else f"{abs(100 * difference):.2f} points {direction}"
    if threshold is None:
        return [f"{text}, with no spread to judge it by."]
    return [f"{text}; more than {100 * threshold:.2f} points count as higher."]


def _caveats(members: Sequence[Sequence[Run]]) -> list[str]:
    """Runs that are in no mean, and fields that differ between the runs compared."""
    out = []
    runs = list({run.folder: run for cell_runs in members for run in cell_runs}.values())
    for run in runs:
        name = f"{label(*cell(run))} seed {seed(run)}"
        if state(run) == "failed":
            out.append(f"{name} failed and is in no mean: {reason(run)}.")
        elif state(run) == "unfinished":
            out.append(f"{name} is unfinished and in no mean: {reason(run)}.")
        elif not all(math.isfinite(_final(run, metric)) for metric in ("train_error", "test_error")):
            out.append(f"{name} finished without finite errors.")
    differing = unplanned(runs)
    return [*out, f"The runs compared also differ in {', '.join(differing)}."] if differing else out


def _name(side: dict[str, Any]) -> str:
    return label(side["kind"], side["depth"])


def _percent(side: dict[str, Any]) -> str:
    spread = "" if side["sd"] is None else f"sd {100 * side['sd']:.2f}, "
    return f"{100 * side['mean']:.2f} % ({spread}n = {side['n']})"
