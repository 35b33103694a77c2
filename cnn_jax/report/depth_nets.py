"""The networks of diagnostics.json, and a study's table of them."""

from collections.abc import Iterable
from statistics import fmean, median
from typing import Any, NamedTuple

from cnn_jax.report.cells import cell_order, family, label


class Net(NamedTuple):
    """A network of diagnostics.json: its kind and depth, the seed, where it is from, and what was found."""

    kind: str
    depth: int | None
    seed: int
    name: str
    found: dict[str, Any]

    @property
    def about(self) -> dict[str, Any]:
        return self.found["about"]

    @property
    def config(self) -> dict[str, Any]:
        """The config it was trained with; of other people's the data set alone."""
        return self.about["config"] or {"data": {"name": self.about["dataset"]}}


def nets(part: dict[str, Any]) -> list[Net]:
    """The networks of a part of the file, in the order of kinds and depths."""
    out = []
    for name, found in part.items():
        about = found["about"]
        kind, depth = family(about["model"])
        seed = (about["config"] or {}).get("seed", 0)
        out.append(Net(about.get("kind", kind), depth, seed, name, found))
    return sorted(out, key=lambda net: (cell_order((net.kind, net.depth)), net.seed, net.name))


def having(networks: Iterable[Net], what: str) -> list[Net]:
    """Those of which that was computed, and is not empty."""
    return [net for net in networks if net.found.get(what)]


def cells(networks: Iterable[Net]) -> dict[tuple[str, int | None], list[Net]]:
    """Those of each kind and depth, in their order."""
    grouped: dict[tuple[str, int | None], list[Net]] = {}
    for net in networks:
        grouped.setdefault((net.kind, net.depth), []).append(net)
    return grouped


HEADER = (
    *("net", "seed", "test error %", "without its median block", "without its worst block"),
    *("mean sd of responses", "first layer's gradient norm"),
)


def table(networks: Iterable[Net]) -> list[list[str]]:
    """A row a trained network, as HEADER says."""
    rows = []
    for net in networks:
        row = [label(net.kind, net.depth), str(net.seed) if net.about["config"] else net.name]
        lesions, deviations, gradients = (net.found.get(name) for name in ("lesions", "deviations", "gradient_norms"))
        errors = [lesions["intact"], median(lesions["error"]), max(lesions["error"])] if lesions else []
        row += [f"{100 * error:.2f}" for error in errors] or ["–"] * 3
        row.append(f"{fmean(deviations.values()):.3f}" if deviations else "–")
        first = next(iter(gradients.values())) if gradients else None
        row.append("–" if first is None else f"{first:.2g}")
        rows.append(row)
    return rows
