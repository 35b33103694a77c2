"""Claims about a study, judged on final numbers over seeds: PASS, FAIL or UNDECIDED, with the numbers."""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnn_jax.report import significance, wording
from cnn_jax.report.cells import AXES, common_headline, dataset, number, reason, seed, state, unplanned_fields
from cnn_jax.report.significance import Estimate, Kind
from cnn_jax.report.tables import mean_and_deviation
from cnn_jax.train.record import Run, write_json

SEEDS = 3
MARGIN = 0.005

# A key of result.json, or what computes a number of a run, whose name is then the metric's.
Metric = str | Callable[[Run], float]


class Group(NamedTuple):
    """A side of a comparison: repeats of one training with other seeds, and what they are called in a sentence."""

    name: str
    runs: Sequence[Run]


class Comparison(NamedTuple):
    """What is known of a claim before the others of its page are.

    Attributes:
      claim: what is claimed, a sentence; `name` is its short name, `metric` that of the number compared, `title`
        what it is called, and `unit` its unit.
      kind: see `significance.Kind`; `margin` is the difference from which on A counts as higher than B.
      paired: whether runs are compared seed by seed.
      over: of what the numbers are means, seeds or queries.
      a, b: {"name", "n", "mean", "sd"}, None for what cannot be computed.
      difference: mean(A) - mean(B), None where there is none.
      estimate: the difference with its standard error, None where there is no spread; it is tested where there are
        no `obstacles`, sentences that say why it cannot be.
      deviations: of the two sides, or of the paired differences.
      caveats: sentences on runs that are in no mean, and on what else differs.
    """

    claim: str
    name: str
    metric: str
    title: str
    unit: str
    kind: Kind
    margin: float
    paired: bool
    a: dict[str, Any]
    b: dict[str, Any]
    difference: float | None
    estimate: Estimate | None
    deviations: tuple[float, ...]
    obstacles: list[str]
    caveats: list[str]
    over: str = "seeds"


def compare(
    name: str,
    text: str,
    metric: Metric,
    a: Group,
    b: Group,
    kind: Kind,
    *,
    axes: Sequence[str] = AXES,
    margin: float = MARGIN,
    obstacle: str = "",
    paired: bool = False,
    over: str = "seeds",
) -> Comparison:
    """The evidence on the claim `text` that `metric` is higher in group `a` than in `b`, is not, or is the same.

    `axes` are the dotted fields in which the groups differ on purpose, any other is told; `obstacle` says why the
    caller knows that the two cannot be compared; `paired` groups share what their seeds drew, and are compared seed by
    seed. `over` says what stands for a seed where it is something else: queries, the same of both groups.
    """
    headline, named = common_headline([*a.runs, *b.runs]), metric_name(metric)
    sides = [_numbers(group, metric) for group in (a, b)]
    obstacles = [obstacle] if obstacle else _obstacles(metric, (a, b), sides)
    difference = estimate = None
    deviations: tuple[float, ...] = ()
    if not obstacle and all(side["mean"] is not None for side in sides):
        difference = sides[0]["mean"] - sides[1]["mean"]
    if paired and not obstacles:
        pairs = _differences(metric, a, b)
        difference, deviation = mean_and_deviation(pairs)
        if len(pairs) < SEEDS:
            obstacles = [f"{a.name} and {b.name} have {len(pairs) or 'no'} seeds in common; {SEEDS} are needed."]
        if difference is not None and deviation is not None:
            deviations = (deviation,)
            estimate = Estimate(difference, deviation / math.sqrt(len(pairs)), len(pairs) - 1)
    elif not paired and difference is not None and all(side["sd"] is not None for side in sides):
        deviations = tuple(side["sd"] for side in sides)
        estimate = significance.welch(*(side[part] for side in sides for part in ("mean", "sd", "n")))
    return Comparison(
        text,
        name,
        named,
        wording.metric_title(named, headline),
        wording.metric_unit(named, headline),
        kind,
        margin,
        paired,
        *sides,
        difference,
        estimate,
        deviations,
        obstacles,
        _caveats(metric, (a, b), axes),
        over,
    )


def compare_headline(name: str, text: str, split: str, a: Group, b: Group, kind: Kind, **options: Any) -> Comparison:
    """`compare` of the headline of a split: the claim that it is worse in group `a` than in `b`, or is no worse.

    In `text`, {headline} and {worse} stand for the task's words. Where higher is better, `b` is compared with `a`.
    """
    headline = common_headline([*a.runs, *b.runs])
    groups = (b, a) if headline.higher_is_better else (a, b)
    told = text.format(headline=headline.title, worse=headline.worse)
    return compare(name, told, headline.name(split), *groups, kind, margin=headline.margin, **options)


def judge(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """The verdicts on all claims of a page, which are the family over which the rates of error are controlled.

    Returns for each claim, name, metric, kind, margin, verdict, sentence, rule, a, b, difference, standard_error,
    interval (lower, upper), p_superior and p_noninferior ({"raw", "holm"}, see `significance.p_values`), and
    seeds_needed (None unless tested and UNDECIDED; "more than 1,000" beyond that). What is not tested is UNDECIDED, is
    in no family, and has neither interval nor p.
    """
    tested = {place: one for place, one in enumerate(comparisons) if one.estimate is not None and not one.obstacles}
    kinds = [one.kind for one in tested.values()]
    raw = [significance.p_values(one.estimate, one.margin, one.kind) for one in tested.values() if one.estimate]
    superior, noninferior = significance.adjust(kinds, [p for p, _ in raw], [p for _, p in raw])
    outcomes = significance.decide(kinds, superior, noninferior)
    found = {
        place: {
            "verdict": str(outcomes[i]),
            "p_superior": {"raw": float(raw[i][0]), "holm": float(superior[i])},
            "p_noninferior": {"raw": float(raw[i][1]), "holm": float(noninferior[i])},
        }
        for i, place in enumerate(tested)
    }
    return [_verdict(one, found.get(place), len(tested)) for place, one in enumerate(comparisons)]


def _verdict(one: Comparison, found: dict[str, Any] | None, family: int) -> dict[str, Any]:
    """The comparison with what its family found of it; None where it was not tested."""
    out = {
        "claim": one.claim,
        "name": one.name,
        "metric": one.metric,
        "title": one.title,
        "unit": one.unit,
        "kind": one.kind,
        "margin": one.margin,
        "verdict": "UNDECIDED",
        "sentence": "",
        "rule": wording.describe_rule(one.unit, one.kind, one.margin, one.paired, family, one.over),
        "a": one.a,
        "b": one.b,
        "difference": one.difference,
        "standard_error": None if one.estimate is None else float(one.estimate.error),
        "interval": None,
        "p_superior": None,
        "p_noninferior": None,
        "seeds_needed": None,
    }
    if found is not None and one.estimate is not None:
        lower, upper = significance.interval(one.estimate)
        out |= found | {"interval": [float(lower), float(upper)]}
        if out["verdict"] == "UNDECIDED":
            level = significance.ALPHA / family
            needed = significance.seeds_needed(one.estimate.difference, one.deviations, one.margin, one.kind, level)
            out["seeds_needed"] = needed or f"more than {significance.MOST_SEEDS:,}"
    out["sentence"] = " ".join([*one.obstacles, *wording.describe_outcome(out, one.paired, one.over), *one.caveats])
    return out


def write(verdicts: Sequence[dict[str, Any]], path: str | os.PathLike) -> None:
    """Writes the verdicts as a JSON list, atomically."""
    write_json(Path(path), list(verdicts))


def metric_name(metric: Metric) -> str:
    """`train_error`: the key, or the name of the function."""
    return metric if isinstance(metric, str) else str(getattr(metric, "__name__", metric))


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


def _caveats(metric: Metric, groups: Sequence[Group], axes: Sequence[str]) -> list[str]:
    """Runs that are in no mean, and fields that differ between the runs compared."""
    out, headline = [], common_headline(run for group in groups for run in group.runs)
    finals = [headline.name(split) for split in wording.TITLES]
    members = {run.folder: (group.name, run) for group in groups for run in group.runs}
    for group_name, run in members.values():
        name = f"{group_name} seed {seed(run)}"
        if state(run) == "failed":
            out.append(f"{name} failed and is in no mean: {reason(run)}.")
        elif state(run) == "unfinished":
            out.append(f"{name} is unfinished and in no mean: {reason(run)}.")
        elif not all(math.isfinite(_value(run, final)) for final in finals if final in (run.result or {})):
            out.append(f"{name} finished without finite {headline.title}s.")
        elif not math.isfinite(_value(run, metric)):
            out.append(f"{name} finished without a finite number of {metric_name(metric)}.")
    differing = unplanned_fields([run for _, run in members.values()], axes)
    return [*out, f"The runs compared also differ in {', '.join(differing)}."] if differing else out
