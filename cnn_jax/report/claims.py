"""Claims about a study, judged on final numbers over seeds: PASS, FAIL or NOT ENOUGH SEEDS, with the numbers."""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnn_jax.report.cells import AXES, dataset, number, reason, seed, state, unplanned
from cnn_jax.report.tables import mean_and_deviation
from cnn_jax.train.record import Run, write_json

ERRORS = ("train_error", "test_error")
SEEDS = 3
SMALLEST = 0.005

COMPARISON = (
    "A is higher than B when mean(A) - mean(B) > max(2 SE, {smallest:g}), where SE = {error} "
    "with sample standard deviations over seeds; {least} is the smallest difference that counts. Fewer than "
    "three seeds on a side, or a missing side, is NOT ENOUGH SEEDS."
)
UNPAIRED = "sqrt(sd(A)^2/n(A) + sd(B)^2/n(B))"
PAIRED = "sd(A - B)/sqrt(n), over runs of the same seed, which drew the same training examples and initial values,"
FINAL = (
    " Errors are final ones: training error exact over the training split, test error after the last step, never the "
    "best on test."
)
RULE = COMPARISON.format(error=UNPAIRED, smallest=SMALLEST, least="half a percentage point") + FINAL

# A key of result.json, or what computes a number of a run, whose name is then the metric's.
Metric = str | Callable[[Run], float]


class Group(NamedTuple):
    """A side of a comparison: repeats of one training with other seeds, and what they are called in a sentence."""

    name: str
    runs: Sequence[Run]


def compare(
    name: str,
    text: str,
    metric: Metric,
    a: Group,
    b: Group,
    higher: bool,
    *,
    axes: Sequence[str] = AXES,
    smallest: float = SMALLEST,
    obstacle: str = "",
    paired: bool = False,
) -> dict[str, Any]:
    """The verdict on the claim `text` that `metric` is higher in group `a` than in `b`, or that it is not (`higher`).

    Metrics with "error" in their name are fractions, told in percent; others are told as plain numbers. `axes` are the
    dotted fields in which the groups differ on purpose, any other is told; `smallest` is the smallest difference that
    counts; `obstacle` says why the caller knows that the two cannot be compared; `paired` groups share what their seeds
    drew, and are compared seed by seed.

    Returns claim, name, metric, verdict, sentence, rule, a, b, difference, standard_error, threshold. `a` and `b` are
    {"name", "n", "mean", "sd"}; what cannot be computed is None.
    """
    sides = [_numbers(group, metric) for group in (a, b)]
    difference = error = threshold = None
    if not obstacle and all(side["mean"] is not None for side in sides):
        difference = sides[0]["mean"] - sides[1]["mean"]
    if not obstacle and all(side["sd"] is not None for side in sides):
        error = math.sqrt(sum(side["sd"] ** 2 / side["n"] for side in sides))
    if paired and error is not None:
        difference, deviation = mean_and_deviation(pairs := _differences(metric, a, b))
        error = None if deviation is None else deviation / math.sqrt(len(pairs))
        if len(pairs) < SEEDS:
            obstacle = f"{a.name} and {b.name} have {len(pairs) or 'no'} seeds in common; {SEEDS} are needed."
    if error is not None:
        threshold = max(2 * error, smallest)
    obstacles = [obstacle] if obstacle else _obstacles(metric, (a, b), sides)
    if obstacles or difference is None or threshold is None:
        verdict = "NOT ENOUGH SEEDS"
    else:
        verdict = "PASS" if _exceeds(difference, threshold) == higher else "FAIL"
    outcome = _outcome(metric, *sides, difference, threshold)
    return {
        "claim": text,
        "name": name,
        "metric": metric_name(metric),
        "verdict": verdict,
        "sentence": " ".join([*obstacles, *outcome, *_caveats(metric, (a, b), axes)]),
        "rule": rule(metric, smallest, paired),
        "a": sides[0],
        "b": sides[1],
        "difference": difference,
        "standard_error": error,
        "threshold": threshold,
    }


def write(verdicts: Sequence[dict[str, Any]], path: str | os.PathLike) -> None:
    """Writes the verdicts as a JSON list, atomically."""
    write_json(Path(path), list(verdicts))


def metric_name(metric: Metric) -> str:
    """`train_error`: the key, or the name of the function."""
    return metric if isinstance(metric, str) else str(getattr(metric, "__name__", metric))


def in_percent(metric: str) -> bool:
    """Whether the metric of that name is a fraction told in percent: an error is."""
    return "error" in metric


def amount(value: float | None, metric: str, unit: str = "") -> str:
    """A value of the metric in words, with the unit if it is told in percent; "–" where there is none."""
    if value is None:
        return "–"
    return f"{100 * value:.2f}{unit}" if in_percent(metric) else f"{value:.4g}"


def rule(metric: Metric, smallest: float = SMALLEST, paired: bool = False) -> str:
    """How a comparison of the metric is judged, in words."""
    error = PAIRED if paired else UNPAIRED
    if not in_percent(metric_name(metric)):
        return COMPARISON.format(error=error, smallest=smallest, least=f"{smallest:g}")
    least = "half a percentage point" if smallest == SMALLEST else f"{100 * smallest:g} percentage points"
    return COMPARISON.format(error=error, smallest=smallest, least=least) + FINAL


def _value(run: Run, metric: Metric) -> float:
    """The number of a finished run; NaN of any other, or where it is missing."""
    if run.result is None:
        return math.nan
    return number(run.result.get(metric) if isinstance(metric, str) else metric(run))


def _numbers(group: Group, metric: Metric) -> dict[str, Any]:
    values = [value for value in (_value(run, metric) for run in group.runs) if math.isfinite(value)]
    mean, deviation = mean_and_deviation(values)
    return {"name": group.name, "n": len(values), "mean": mean, "sd": deviation}


def _differences(metric: Metric, a: Group, b: Group) -> list[float]:
    """What `a` is above `b` by, a number for each seed that both have finished."""
    first, second = ({seed(run): _value(run, metric) for run in group.runs} for group in (a, b))
    pairs = [first[number] - second[number] for number in sorted(first.keys() & second.keys())]
    return [difference for difference in pairs if math.isfinite(difference)]


def _exceeds(difference: float, threshold: float) -> bool:
    # Rounded, so that a difference of exactly the threshold does not pass for the last bit of a subtraction.
    return round(difference, 12) > round(threshold, 12)


def _obstacles(metric: Metric, groups: Sequence[Group], sides: Sequence[dict[str, Any]]) -> list[str]:
    """Why the claim cannot be judged, as sentences; nothing where it can."""
    for group in groups:
        if not group.runs:
            return [f"The study has no {group.name}."]
    datasets = sorted({dataset(run) for group in groups for run in group.runs})
    if len(datasets) > 1:
        return [f"The runs are not comparable: their data are {', '.join(datasets)}."]
    out = []
    for group, side in zip(groups, sides, strict=True):
        seeds = [seed(run) for run in group.runs if math.isfinite(_value(run, metric))]
        if len(set(seeds)) < len(seeds):
            out.append(f"{group.name} has more than one run of a seed, so its runs are not independent repeats.")
        if side["n"] < SEEDS:
            plural = "" if side["n"] == 1 else "s"
            out.append(f"{group.name} has {side['n'] or 'no'} finished seed{plural}; {SEEDS} are needed.")
    return out


def _outcome(
    metric: Metric, a: dict[str, Any], b: dict[str, Any], difference: float | None, threshold: float | None
) -> list[str]:
    """The numbers in words, errors in percent and percentage points."""
    if difference is None:
        return []
    name = metric_name(metric)
    direction = "higher" if difference > 0 else "lower"
    text = f"{_title(name)}: {a['name']} {_spread(a, name)}, {b['name']} {_spread(b, name)}; {a['name']} is "
    text += "level with it" if difference == 0 else f"{amount(abs(difference), name, ' points')} {direction}"
    if threshold is None:
        return [f"{text}, with no spread to judge it by."]
    return [f"{text}; more than {amount(threshold, name, ' points')} count as higher."]


def _caveats(metric: Metric, groups: Sequence[Group], axes: Sequence[str]) -> list[str]:
    """Runs that are in no mean, and fields that differ between the runs compared."""
    out = []
    members = {run.folder: (group.name, run) for group in groups for run in group.runs}
    for group_name, run in members.values():
        name = f"{group_name} seed {seed(run)}"
        if state(run) == "failed":
            out.append(f"{name} failed and is in no mean: {reason(run)}.")
        elif state(run) == "unfinished":
            out.append(f"{name} is unfinished and in no mean: {reason(run)}.")
        elif not all(math.isfinite(_value(run, error)) for error in ERRORS if error in (run.result or {})):
            out.append(f"{name} finished without finite errors.")
        elif not math.isfinite(_value(run, metric)):
            out.append(f"{name} finished without a finite number of {metric_name(metric)}.")
    differing = unplanned([run for _, run in members.values()], axes)
    return [*out, f"The runs compared also differ in {', '.join(differing)}."] if differing else out


def _title(metric: str) -> str:
    words = {"train_error": "Training error"}
    return words.get(metric, metric.replace("_", " ").capitalize())


def _spread(side: dict[str, Any], metric: str) -> str:
    spread = "" if side["sd"] is None else f"sd {amount(side['sd'], metric)}, "
    return f"{amount(side['mean'], metric, ' %')} ({spread}n = {side['n']})"
