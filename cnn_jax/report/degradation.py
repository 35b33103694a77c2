"""The claims of a degradation study: deeper plain networks train worse, deeper residual ones do not."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from cnn_jax.report.cells import cell, label
from cnn_jax.report.claims import Group, compare
from cnn_jax.train.record import Run


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
    """One dict a claim, as of `claims.compare`, but with {"kind", "depth", "n", "mean", "sd"} as `a` and `b`.

    The deepest and the shallowest are looked for among all runs, so that a depth whose runs all failed is not passed
    over.
    """
    return [_judge(runs, claim) for claim in claims]


def _judge(runs: Sequence[Run], claim: Claim) -> dict[str, Any]:
    cells = [(side.kind, _depth(runs, side)) for side in (claim.a, claim.b)]
    a, b = (_group(runs, *key, claim.a.depth_of) for key in cells)
    kind, depth = cells[0]
    obstacle = ""
    if cells[0] == cells[1] and depth is not None:
        obstacle = f"The study has one depth of {kind} nets only ({depth})."
    verdict = compare(claim.name, claim.text, claim.metric, a, b, claim.higher, obstacle=obstacle)
    for side, (kind, depth) in zip(("a", "b"), cells, strict=True):
        numbers = {key: verdict[side][key] for key in ("n", "mean", "sd")}
        verdict[side] = {"kind": kind, "depth": depth} | numbers
    return verdict


def _group(runs: Sequence[Run], kind: str, depth: int | None, depth_of: str) -> Group:
    if depth is None:
        return Group(f"{depth_of} net", [])
    return Group(label(kind, depth), [run for run in runs if cell(run) == (kind, depth)])


def _depth(runs: Sequence[Run], side: Side) -> int | None:
    depths = [depth for kind, depth in map(cell, runs) if kind == side.depth_of and depth is not None]
    if not depths:
        return None
    return max(depths) if side.which == "deepest" else min(depths)
