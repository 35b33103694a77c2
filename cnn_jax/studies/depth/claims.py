"""What is claimed of depth, judged on diagnostics.json."""

import math
from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import Any

from cnn_jax.report.cells import label
from cnn_jax.report.claims import Group, compare
from cnn_jax.studies.depth.nets import Net, cells, having

FIRST = "log10 of the first layer's gradient norm"
RESPONSE = "mean standard deviation of the responses"
ERROR = "test error"
TRAINING = "training error"
SMALLEST_NORM = 1e-45
"""Below every float32: what a gradient that has vanished altogether counts as."""


def group(name: str, metric: str, networks: Sequence[Net], value: Callable[[Net], float | None]) -> Group:
    """The networks as runs that have nothing but that number."""
    return Group(name, [net.as_run({metric: value(net)}) for net in networks])


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
            bound = group(f"{part} of {shallow}", FIRST, a, lambda net, decades=decades: less(first(net), decades))
            claim = f"before training the first layer of {deep} has {text} {part} of the gradient of {shallow}'s"
            name = f"{kind}_{'vanishes' if higher else 'does_not_vanish'}"
            verdicts.append(compare(name, claim, FIRST, bound, group(deep, FIRST, b, first), higher))
    return verdicts


def _responses(trained: Sequence[Net]) -> list[dict[str, Any]]:
    def mean(net: Net) -> float:
        return fmean(net.found["deviations"].values())

    (shallow, few), (deep, many) = at(trained, "residual", min), at(trained, "residual", max)
    twins = [net for net in trained if net.kind == "plain" and many and net.depth == many[0].depth]
    plain = group(label("plain", many[0].depth if many else None), RESPONSE, twins, mean)
    residual = group(deep, RESPONSE, many, mean)
    verdicts = []
    if many and twins:
        text = "the deepest residual net responds less than its plain twin"
        verdicts.append(compare("residual_responds_less", text, RESPONSE, plain, residual, True))
    if shallow != deep:
        text = "the deepest residual net responds less than the shallowest"
        small = group(shallow, RESPONSE, few, mean)
        verdicts.append(compare("deeper_responds_less", text, RESPONSE, small, residual, True))
    return verdicts


def _lesions(trained: Sequence[Net]) -> list[dict[str, Any]]:
    def without(net: Net) -> float:
        return median(net.found["lesions"]["error"])

    def five_more(net: Net) -> float:
        return net.found["lesions"]["intact"] + 0.05

    def half_way(net: Net) -> float:
        return (net.found["lesions"]["intact"] + net.found["lesions"]["chance"]) / 2

    verdicts = []
    for (kind, depth), members in cells(trained).items():
        name = label(kind, depth)
        a = group(f"{name} without its median block", ERROR, members, without)
        if kind == "residual":
            text = f"without its median block {name} errs at most five points more"
            b = group(f"{name} with five points more", ERROR, members, five_more)
            verdicts.append(compare(f"residual_{depth}_survives", text, ERROR, a, b, False))
        elif kind == "plain":
            text = f"without its median block {name} is nearer to guessing than to what it was"
            b = group("half way to guessing", ERROR, members, half_way)
            verdicts.append(compare(f"plain_{depth}_dies", text, ERROR, a, b, True))
    return verdicts


def _construction(trained: Sequence[Net]) -> list[dict[str, Any]]:
    (shallow, few), (deep, many) = at(trained, "plain", min), at(trained, "plain", max)
    if shallow == deep:
        return []

    def built(net: Net) -> float | None:
        errors = {one["depth"]: one["train_error"] for one in net.found.get("constructions", [])}
        return errors.get(many[0].depth)

    a = group(deep, TRAINING, many, lambda net: net.found["train_error"])
    b = group(f"{shallow} and identities", TRAINING, few, built)
    text = "the deepest plain net that SGD found has higher training error than the shallowest with identities added"
    return [compare("construction_is_better", text, TRAINING, a, b, True)]
