"""What is claimed of retrieval, judged query by query."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from cnn_jax.report import claims
from cnn_jax.report.claims import Comparison, Group, compare
from cnn_jax.report.significance import Kind
from cnn_jax.retrieval.baselines import BASELINES
from cnn_jax.train.record import Run

METRIC = "average precision"


def precisions(measured: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[int, float]:
    """The average precision of each query, over the networks; of each network what its name says."""
    found: dict[int, list[float]] = {}
    for one, name in zip(measured, names, strict=True):
        variant = one["variants"][name]
        for query, value in zip(variant["queries"], variant["average_precision"], strict=True):
            found.setdefault(query, []).append(value)
    return {query: fmean(values) for query, values in found.items()}


def make_group(title: str, measured: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Group:
    """The queries as runs that have nothing but their average precision."""
    return Group(
        title,
        [
            Run(Path(f"query {query}"), {"seed": query}, [], {METRIC: value}, None, {})
            for query, value in precisions(measured, names).items()
        ],
    )


def judge(measured: Sequence[Mapping[str, Any]], last: str) -> list[dict[str, Any]]:
    """A verdict a claim, see `claims.judge`.

    Args:
      measured: of each network what `measure` gives.
      last: the network's last endpoint, as it is written.
    """
    single = [one["chosen"]["single"] for one in measured]
    endpoints = [name.partition(":")[0] for name in single]

    def group(title: str, names: Sequence[str]) -> Group:
        return make_group(title, measured, names)

    def pooled(pooling: str) -> Group:
        names = [f"{endpoint}:{pooling}" for endpoint in endpoints]
        return group(
            pooling, [n if n in one["variants"] else e for n, e, one in zip(names, endpoints, measured, strict=True)]
        )

    deep = group(f"the chosen endpoint ({', '.join(dict.fromkeys(single))})", single)
    kept = group("with lengths kept", [f"{name}, length kept, Euclid's distance" for name in single])
    claimed: list[tuple[str, str, Group, Group, Kind]] = [
        (
            f"deep_beats_{name.split()[0]}",
            f"the chosen endpoint beats the {name}",
            deep,
            group(name, [name] * len(measured)),
            "higher",
        )
        for name in BASELINES
    ]
    claimed += [
        (
            "last_is_not_best",
            f"the chosen endpoint beats the last layer ({last})",
            deep,
            group(last, [last] * len(measured)),
            "higher",
        ),
        (
            "gem_no_worse_than_max",
            "of the chosen endpoint the maximum is no better than GeM",
            pooled("max"),
            pooled("gem"),
            "no_higher",
        ),
        (
            "max_no_worse_than_average",
            "of the chosen endpoint the average is no better than the maximum",
            pooled("average"),
            pooled("max"),
            "no_higher",
        ),
        ("unit_length_beats_raw", "vectors of length 1 beat those whose lengths are kept", deep, kept, "higher"),
    ]
    return claims.judge([comparison(*one) for one in claimed])


def comparison(name: str, text: str, a: Group, b: Group, kind: Kind) -> Comparison:
    return compare(name, text, METRIC, a, b, kind, paired=True, over="queries")
