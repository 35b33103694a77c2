"""What is claimed of depth, judged on diagnostics.json."""

import math
from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import Any, NamedTuple

from cnn_jax.report.cells import label
from cnn_jax.report.claims import RULE, SEEDS, SMALLEST
from cnn_jax.report.depth_nets import Net, having
from cnn_jax.report.tables import mean_and_deviation

FIRST = "log10 of the first layer's gradient norm"
RESPONSE = "mean standard deviation of the responses"
SMALLEST_NORM = 1e-45
"""Below every float32: what a gradient that has vanished altogether counts as."""


class Group(NamedTuple):
    """Networks that are compared as one: what they are called, and the number and the data set of each."""

    name: str
    values: list[tuple[int, float]]  # (seed, value)
    datasets: set[str]


def group(name: str, networks: Sequence[Net], value: Callable[[Net], float | None]) -> Group:
    """The networks that have the value; those that differ in more than the seed count as repeats of it."""
    values = [(net.seed, value(net)) for net in networks]
    return Group(
        name, [(seed, found) for seed, found in values if found is not None], {net.dataset for net in networks}
    )


def compare(name: str, text: str, metric: str, a: Group, b: Group, higher: bool) -> dict[str, Any]:
    """A verdict by `claims.RULE`: it holds where `a` is higher than `b`, or with `higher` False where it is not.

    Errors are fractions, told in percent; any other metric is told as it is.
    """
    sides: list[dict[str, Any]] = []
    for side in (a, b):
        mean, deviation = mean_and_deviation([value for _, value in side.values])
        sides.append({"name": side.name, "n": len(side.values), "mean": mean, "sd": deviation})
    obstacles = [f"{side.name} has {len(side.values)} seeds; {SEEDS} are needed." for side in (a, b) if few(side)]
    if len(a.datasets | b.datasets) > 1:
        obstacles.append(
            f"The networks are not comparable: their data are {', '.join(sorted(a.datasets | b.datasets))}."
        )
    difference = error = threshold = None
    (one, other), sentences, verdict = sides, list(obstacles), "NOT ENOUGH SEEDS"
    if one["mean"] is not None and other["mean"] is not None:
        difference = one["mean"] - other["mean"]
        shown = [f"{side['name']} {show(metric, side['mean'])} (n = {side['n']})" for side in sides]
        sentences.append(f"{metric.capitalize().replace('_', ' ')}: {', '.join(shown)}.")
    if difference is not None and one["sd"] is not None and other["sd"] is not None:
        error = math.sqrt(one["sd"] ** 2 / one["n"] + other["sd"] ** 2 / other["n"])
        threshold = max(2 * error, SMALLEST)
        sentences.append(f"More than {show(metric, threshold)} counts as higher.")
        if not obstacles:
            verdict = "PASS" if (round(difference, 12) > round(threshold, 12)) == higher else "FAIL"
    return {
        **{"claim": text, "name": name, "metric": metric, "verdict": verdict, "sentence": " ".join(sentences)},
        **{"rule": RULE, "a": one, "b": other},
        **{"difference": difference, "standard_error": error, "threshold": threshold},
    }


def few(side: Group) -> bool:
    """Whether its different seeds are too few."""
    return len({seed for seed, _ in side.values}) < SEEDS


def show(metric: str, value: float) -> str:
    return f"{100 * value:.2f} %" if metric.endswith("error") else f"{value:.3f}"


def at(networks: Sequence[Net], kind: str, extreme: Callable[..., int]) -> tuple[str, list[Net]]:
    """The networks of a kind at their deepest (`max`) or shallowest (`min`), and what they are called."""
    depths = [net.depth for net in networks if net.kind == kind and net.depth is not None]
    if not depths:
        return kind, []
    depth = extreme(depths)
    return label(kind, depth), [net for net in networks if (net.kind, net.depth) == (kind, depth)]


def judge(initial: Sequence[Net], trained: Sequence[Net]) -> list[dict[str, Any]]:
    """One verdict a claim of which there is something to judge, see `claims.compare`."""
    return [*_gradients(initial), *_responses(having(trained, "deviations")), *_lesions(having(trained, "lesions"))] + (
        _construction(trained)
    )


def _gradients(initial: Sequence[Net]) -> list[dict[str, Any]]:
    def first(net: Net) -> float | None:
        norm = next(iter(net.found["gradient_norms"].values()))
        return None if norm is None else math.log10(max(SMALLEST_NORM, norm))

    def less(value: float | None, decades: int) -> float | None:
        return None if value is None else value - decades

    claims = (
        ("sigmoid", 2, True, "a hundredth", "less than"),
        ("relu_bn", 1, False, "a tenth", "no less than"),
        ("residual", 1, False, "a tenth", "no less than"),
    )
    verdicts = []
    for kind, decades, higher, part, text in claims:
        (shallow, a), (deep, b) = at(initial, kind, min), at(initial, kind, max)
        if a:
            bound = group(f"{part} of {shallow}", a, lambda net, decades=decades: less(first(net), decades))
            claim = f"before training the first layer of {deep} has {text} {part} of the gradient of {shallow}'s"
            name = f"{kind}_{'vanishes' if higher else 'does_not_vanish'}"
            verdicts.append(compare(name, claim, FIRST, bound, group(deep, b, first), higher))
    return verdicts


def _responses(trained: Sequence[Net]) -> list[dict[str, Any]]:
    def mean(net: Net) -> float:
        return fmean(net.found["deviations"].values())

    (shallow, few), (deep, many) = at(trained, "residual", min), at(trained, "residual", max)
    twins = [net for net in trained if net.kind == "plain" and many and net.depth == many[0].depth]
    plain = group(label("plain", many[0].depth if many else None), twins, mean)
    residual = group(deep, many, mean)
    verdicts = []
    if many and twins:
        text = "the deepest residual net responds less than its plain twin"
        verdicts.append(compare("residual_responds_less", text, RESPONSE, plain, residual, True))
    if shallow != deep:
        text = "the deepest residual net responds less than the shallowest"
        small = group(shallow, few, mean)
        verdicts.append(compare("deeper_responds_less", text, RESPONSE, small, residual, True))
    return verdicts


def _lesions(trained: Sequence[Net]) -> list[dict[str, Any]]:
    def without(net: Net) -> float:
        return median(net.found["lesions"]["error"])

    def five_more(net: Net) -> float:
        return net.found["lesions"]["intact"] + 0.05

    def half_way(net: Net) -> float:
        return (net.found["lesions"]["intact"] + net.found["lesions"]["chance"]) / 2

    claims = (
        ("residual", "residual_survives", five_more, "five points more", False, "errs at most five points more"),
        ("plain", "plain_dies", half_way, "half way to guessing", True, "is nearer to guessing than to what it was"),
    )
    verdicts = []
    for kind, name, bound, bound_name, higher, text in claims:
        deep, members = at(trained, kind, max)
        if members:
            a = group(f"{deep} without its median block", members, without)
            b = group(f"{deep} {bound_name}", members, bound)
            claim = f"without its median block the deepest {kind} net {text}"
            verdicts.append(compare(name, claim, "test_error", a, b, higher))
    return verdicts


def _construction(trained: Sequence[Net]) -> list[dict[str, Any]]:
    (shallow, few), (deep, many) = at(trained, "plain", min), at(trained, "plain", max)
    if shallow == deep:
        return []

    def built(net: Net) -> float | None:
        errors = {one["depth"]: one["train_error"] for one in net.found.get("constructions", [])}
        return errors.get(many[0].depth)

    a = group(deep, many, lambda net: net.found["train_error"])
    b = group(f"{shallow} and identities", few, built)
    text = "the deepest plain net that SGD found has higher training error than the shallowest with identities added"
    return [compare("construction_is_better", text, "train_error", a, b, True)]
