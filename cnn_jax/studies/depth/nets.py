"""The networks of diagnostics.json, and a study's table of them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean, median
from types import MappingProxyType
from typing import Any, NamedTuple

from cnn_jax.report.cells import cell_order, family, label
from cnn_jax.train.record import Run


class Net(NamedTuple):
    """A network of diagnostics.json: its kind and depth, the seed, where it is from, and what was found."""

    kind: str
    depth: int | None
    seed: int
    name: str
    results: dict[str, Any]

    @property
    def about(self) -> dict[str, Any]:
        return self.results["about"]

    @property
    def config(self) -> dict[str, Any]:
        """The config it was trained with; of other people's the data set alone."""
        return self.about["config"] or {"model": {"name": self.about["model"]}, "data": {"name": self.about["dataset"]}}

    def to_run(self, result: dict[str, Any], recipe: Mapping[str, Any] = MappingProxyType({})) -> Run:
        """The network as a run with that result and nothing else.

        `recipe` is what stands for its own: that of a network which was not trained is no difference between two.
        """
        return Run(Path(self.name), self.config | dict(recipe), [], result, None, {})


def make_nets(part: dict[str, Any]) -> list[Net]:
    """The networks of a part of the file, in the order of kinds and depths."""
    out = []
    for name, results in part.items():
        about = results["about"]
        kind, depth = family(about["model"])
        seed = (about["config"] or {}).get("seed", 0)
        out.append(Net(about.get("kind", kind), depth, seed, name, results))
    return sorted(out, key=lambda net: (cell_order((net.kind, net.depth)), net.seed, net.name))


def filter_measured(networks: Iterable[Net], what: str) -> list[Net]:
    """Those of which that was computed, and is not empty."""
    return [net for net in networks if net.results.get(what)]


def group_nets(networks: Iterable[Net]) -> dict[tuple[str, int | None], list[Net]]:
    """Those of each kind and depth, in their order."""
    grouped: dict[tuple[str, int | None], list[Net]] = {}
    for net in networks:
        grouped.setdefault((net.kind, net.depth), []).append(net)
    return grouped


COLUMNS = (
    *("net", "name", "seed", "test_error", "error_without_median_block", "error_without_worst_block"),
    *("mean_response_deviation", "first_gradient_norm"),
)
HEADER = (
    *("net", "seed", "test error %", "without its median block", "without its worst block"),
    *("mean sd of responses", "first layer's gradient norm"),
)


def row(net: Net) -> dict[str, Any]:
    """What COLUMNS name of a trained network, errors as fractions; None of what was not computed."""
    lesions, deviations, gradients = (
        net.results.get(name) or {} for name in ("lesions", "deviations", "gradient_norms")
    )
    errors = lesions.get("error")
    return {
        "net": label(net.kind, net.depth),
        "name": net.name,
        "seed": net.seed if net.about["config"] else None,
        "test_error": lesions.get("intact", net.results.get("test_error")),
        "error_without_median_block": median(errors) if errors else None,
        "error_without_worst_block": max(errors) if errors else None,
        "mean_response_deviation": fmean(deviations.values()) if deviations else None,
        "first_gradient_norm": next(iter(gradients.values()), None),
    }


def table(rows: Iterable[dict[str, Any]]) -> list[list[str]]:
    """The rows as text, as HEADER says; of other people's networks the name stands for the seed."""
    lines = []
    for line in rows:
        errors = [line[name] for name in COLUMNS[3:6]]
        deviation, gradient = (line[name] for name in COLUMNS[6:])
        lines.append(
            [
                *(line["net"], line["name"] if line["seed"] is None else str(line["seed"])),
                *("–" if error is None else f"{100 * error:.2f}" for error in errors),
                "–" if deviation is None else f"{deviation:.3f}",
                "–" if gradient is None else f"{gradient:.2g}",
            ]
        )
    return lines
