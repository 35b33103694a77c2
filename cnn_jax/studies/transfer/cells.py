"""The cells of a transfer study: runs of one way at one cut from one network on one number of examples a class."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cnn_jax.report.cells import number, seed
from cnn_jax.studies.transfer import probe
from cnn_jax.studies.transfer.ways import LINEAR, WAYS, recognize
from cnn_jax.train.record import Run, read_runs


class Cell(NamedTuple):
    """A way, learning from so many examples.

    Attributes:
      way: one of WAYS.
      cut: the endpoint up to which the network is used; "" where the way has none.
      source: folder of the network's variables; "" where there is none.
      size: pixels a side of images enlarged for it alone; 0 where they are shown as to the other ways.
      examples: of each class, data.examples_per_class; 0 is all.
      runs: by seed.
    """

    way: str
    cut: str
    source: str
    size: int
    examples: int
    runs: list[Run]

    @property
    def name(self) -> str:
        """`frozen to fire5`, `linear to fire9 at 224 px`."""
        return (f"{self.way} to {self.cut}" if self.cut else self.way) + (f" at {self.size} px" if self.size else "")


class Study(NamedTuple):
    """The cells of a workdir.

    Attributes:
      cells: of the network that is transferred, in the order of WAYS, of the cuts, and of the numbers of examples.
      unrelated: of another, far from the task; none where there is none.
      endpoints: the network's, in its order, where the linear way was measured.
    """

    cells: list[Cell]
    unrelated: list[Cell]
    endpoints: list[str]


def read(workdir: Path) -> Study:
    """Raises RecordError where the workdir holds no run.

    The network that is transferred is the one that more ways than one, or than any other, begin with.
    """
    groups: dict[tuple[str, str, str, int, int], list[Run]] = {}
    linear = probe.read(workdir)
    alone = linear and not any(workdir.glob("*/config.json"))
    found = [(recognize(run.config), run) for run in ([] if alone else read_runs(workdir))]
    found += [((LINEAR, cut), run) for cut, run in linear]
    shown = linear[0][1].config["data"]["crop"] if linear else None
    for (way, cut), run in sorted(found, key=lambda pair: seed(pair[1])):
        source, data = run.config["init_from"] if way != "scratch" else "", run.config["data"]
        size = data["crop"] if way == LINEAR and data["crop"] != shown else 0
        groups.setdefault((way, cut, source, size, data["examples_per_class"]), []).append(run)
    sources = [source for _, _, source, *_ in groups if source]
    own = max(dict.fromkeys(sources), key=sources.count, default="")
    ordered = sorted(groups, key=lambda key: (list(WAYS).index(key[0]), key[3], key[4] or math.inf))
    cells = [Cell(*key, groups[key]) for key in ordered]
    endpoints = list(dict.fromkeys(cut for cut, _ in linear))
    return Study(
        [cell for cell in cells if cell.source in ("", own)],
        [cell for cell in cells if cell.source not in ("", own)],
        endpoints,
    )


def counts(cells: Sequence[Cell]) -> list[int]:
    """The numbers of examples a class there are, 0, all, last."""
    return sorted({cell.examples for cell in cells}, key=lambda count: count or math.inf)


def sizes_shown(cells: Sequence[Cell]) -> list[int]:
    """The sizes of images there are, 0, that of the other ways, first."""
    return sorted({cell.size for cell in cells})


def values(cell: Cell, metric: str) -> list[float]:
    """A number of each finished run's result, where it is finite."""
    found = [number((run.result or {}).get(metric)) for run in cell.runs]
    return [value for value in found if math.isfinite(value)]


def mean(cell: Cell, metric: str) -> float:
    """Over seeds; NaN where there is none."""
    own = values(cell, metric)
    return float(np.mean(own)) if own else math.nan


def choose_linear(cells: Sequence[Cell], count: int) -> Cell | None:
    """The linear cell on so many examples whose cut and size have the lowest mean held-out error, of equals the later.

    Of one example a class, of which none can be held out, the last.
    """
    there = [cell for cell in cells if (cell.way, cell.examples) == (LINEAR, count)]
    known = [cell for cell in there if math.isfinite(mean(cell, "held_out_error"))]
    return min(reversed(known or there[-1:]), key=lambda cell: mean(cell, "held_out_error"), default=None)


def chosen(study: Study) -> list[Cell]:
    """Every trained cell, and of each number of examples the linear one that `choose_linear` takes."""
    picked = [choose_linear(study.cells, count) for count in counts(study.cells)]
    return [cell for cell in study.cells if cell.way != LINEAR or any(cell is one for one in picked)]


def find(study: Study, way: str, count: int) -> Cell | None:
    """The cell of a way on so many examples; of several cuts the chosen one if linear, else the network's last."""
    if way == LINEAR:
        return choose_linear(study.cells, count)
    there = [cell for cell in study.cells if (cell.way, cell.examples) == (way, count)]
    places = {name: place for place, name in enumerate(study.endpoints)}
    return max(there, key=lambda cell: places.get(cell.cut, -1), default=None)


def best(study: Study) -> Cell | None:
    """Of the trained cells on the most examples the one with the lowest mean test error."""
    trained = [cell for cell in study.cells if cell.way != LINEAR and values(cell, "test_error")]
    most = [cell for cell in trained if cell.examples == counts(trained)[-1]]
    return min(most, key=lambda cell: mean(cell, "test_error"), default=None)
