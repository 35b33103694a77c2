"""What is claimed of depth, judged on diagnostics.json."""

import math
from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import Any

from cnn_jax.report import claims
from cnn_jax.report.cells import label
from cnn_jax.report.claims import Comparison, Group, compare
from cnn_jax.report.significance import Kind
from cnn_jax.studies.depth.nets import Net, filter_measured, group_nets

FIRST = "log10 of the first layer's gradient norm"
RESPONSE = "mean standard deviation of the responses"
ERROR = "test error"
TRAINING = "training error"
SMALLEST_NORM = 1e-45
"""Below every float32: what a gradient that has vanished altogether counts as."""


def make_group(name: str, metric: str, networks: Sequence[Net], value: Callable[[Net], float | None]) -> Group:
    """The networks as runs that have nothing but that number."""
    return Group(name, [net.to_run({metric: value(net)}) for net in networks])


def extreme_nets(networks: Sequence[Net], kind: str, extreme: Callable[..., int]) -> tuple[str, list[Net]]:
    """The networks of a kind at their deepest (`max`) or shallowest (`min`), and what they are called."""
    depths = [net.depth for net in networks if net.kind == kind and net.depth is not None]
    if not depths:
        return kind, []
    depth = extreme(depths)
    return label(kind, depth), [net for net in networks if (net.kind, net.depth) == (kind, depth)]


def judge(initial: Sequence[Net], trained: Sequence[Net]) -> list[dict[str, Any]]:
    """One verdict a claim of which there is something to judge, see `claims.judge`."""
    responding, lesioned = filter_measured(trained, "deviations"), filter_measured(trained, "lesions")
    return claims.judge([*_gradients(initial), *_responses(responding), *_lesions(lesioned), *_construction(trained)])


def _gradients(initial: Sequence[Net]) -> list[Comparison]:
    def first(net: Net) -> float | None:
        norm = next(iter(net.results["gradient_norms"].values()))
        return None if norm is None else math.log10(max(SMALLEST_NORM, norm))

    def less(value: float | None, decades: int) -> float | None:
        return None if value is None else value - decades

    claimed: tuple[tuple[str, int, Kind, str, str], ...] = (
        ("sigmoid", 2, "higher", "a hundredth", "less than"),
        ("relu_bn", 1, "no_higher", "a tenth", "no less than"),
        ("residual", 1, "no_higher", "a tenth", "no less than"),
    )
    out = []
    for kind, decades, sense, part, text in claimed:
        (shallow, a), (deep, b) = extreme_nets(initial, kind, min), extreme_nets(initial, kind, max)
        if a:
            bound = make_group(f"{part} of {shallow}", FIRST, a, lambda net, decades=decades: less(first(net), decades))
            claim = f"before training the first layer of {deep} has {text} {part} of the gradient of {shallow}'s"
            name = f"{kind}_{'vanishes' if sense == 'higher' else 'does_not_vanish'}"
            out.append(compare(name, claim, FIRST, bound, make_group(deep, FIRST, b, first), sense))
    return out


def _responses(trained: Sequence[Net]) -> list[Comparison]:
    def mean(net: Net) -> float:
        return fmean(net.results["deviations"].values())

    (shallow, few), (deep, many) = extreme_nets(trained, "residual", min), extreme_nets(trained, "residual", max)
    twins = [net for net in trained if net.kind == "plain" and many and net.depth == many[0].depth]
    plain = make_group(label("plain", many[0].depth if many else None), RESPONSE, twins, mean)
    residual = make_group(deep, RESPONSE, many, mean)
    out = []
    if many and twins:
        text = "the deepest residual net responds less than its plain twin"
        out.append(compare("residual_responds_less", text, RESPONSE, plain, residual, "higher"))
    if shallow != deep:
        text = "the deepest residual net responds less than the shallowest"
        small = make_group(shallow, RESPONSE, few, mean)
        out.append(compare("deeper_responds_less", text, RESPONSE, small, residual, "higher"))
    return out


def _lesions(trained: Sequence[Net]) -> list[Comparison]:
    def without(net: Net) -> float:
        return median(net.results["lesions"]["error"])

    def five_more(net: Net) -> float:
        return net.results["lesions"]["intact"] + 0.05

    def half_way(net: Net) -> float:
        return (net.results["lesions"]["intact"] + net.results["lesions"]["chance"]) / 2

    out = []  # both sides are of the same networks, hence the pairs
    for (kind, depth), members in group_nets(trained).items():
        name = label(kind, depth)
        a = make_group(f"{name} without its median block", ERROR, members, without)
        if kind == "residual":
            text = f"without its median block {name} errs at most five points more"
            b = make_group(f"{name} with five points more", ERROR, members, five_more)
            out.append(compare(f"residual_{depth}_survives", text, ERROR, a, b, "no_higher", paired=True))
        elif kind == "plain":
            text = f"without its median block {name} is nearer to guessing than to what it was"
            b = make_group("half way to guessing", ERROR, members, half_way)
            out.append(compare(f"plain_{depth}_dies", text, ERROR, a, b, "higher", paired=True))
    return out


def _construction(trained: Sequence[Net]) -> list[Comparison]:
    (shallow, few), (deep, many) = extreme_nets(trained, "plain", min), extreme_nets(trained, "plain", max)
    if shallow == deep:
        return []

    def built(net: Net) -> float | None:
        errors = {one["depth"]: one["train_error"] for one in net.results.get("constructions", [])}
        return errors.get(many[0].depth)

    a = make_group(deep, TRAINING, many, lambda net: net.results["train_error"])
    b = make_group(f"{shallow} and identities", TRAINING, few, built)
    text = "the deepest plain net that SGD found has higher training error than the shallowest with identities added"
    return [compare("construction_is_better", text, TRAINING, a, b, "higher")]
