"""What each run of the study is, by its config and those of the runs it begins with."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from flax import traverse_util

from cnn_jax import models
from cnn_jax.config import Model
from cnn_jax.models.frozen import find_part
from cnn_jax.report.cells import dataset, number, seed
from cnn_jax.studies.transferability.halves import GROUPS, are_dissimilar
from cnn_jax.studies.transferability.runs import KINDS, SOURCE_SEEDS
from cnn_jax.train.record import Run

SOURCE, BASE = "source", "base"


class Cell(NamedTuple):
    """Runs that differ in their seed alone, and where the halves are drawn, in the classes of these.

    Attributes:
      halves: similar or dissimilar; of a source the classes.
      kind: SOURCE, whose layers are taken; BASE, that of B alone; or one of runs.KINDS.
      cut: the endpoint up to which layers are taken; none of the first two.
    """

    halves: str
    kind: str
    cut: str

    @property
    def name(self) -> str:
        return " ".join(filter(None, (self.halves, self.kind, self.cut)))


def cell_runs(runs: Sequence[Run]) -> dict[Cell, list[Run]]:
    """The runs of each cell by seed: similar halves first, cuts from below, sources last."""
    by_folder = {run.folder.name: run for run in runs}
    partners: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for run in runs:
        start = source(run, by_folder)
        if start is not None and classes(start) != classes(run):
            partners.setdefault(classes(run), []).append(classes(start))
    found: dict[Cell, list[Run]] = {}
    for run in sorted(runs, key=seed):
        found.setdefault(identify(run, by_folder, partners), []).append(run)
    order, cuts = ["similar", "dissimilar"], list(count_layers(runs))
    kinds = [BASE, *KINDS, SOURCE]

    def rank(cell: Cell) -> tuple[Any, ...]:
        place = order.index(cell.halves) if cell.halves in order else len(order)
        return place, kinds.index(cell.kind), cuts.index(cell.cut) if cell.cut else -1, cell.halves

    return {cell: found[cell] for cell in sorted(found, key=rank)}


def identify(run: Run, by_folder: Mapping[str, Run], partners: Mapping[Any, Any]) -> Cell:
    """The cell of a run."""
    config, own = run.config, classes(run)
    if seed(run) >= SOURCE_SEEDS:
        return Cell(" ".join(own), SOURCE, "")
    alone = any(set(own) <= set(group) for group in GROUPS.get(dataset(run), ()))
    known = partners.get(own)  # none of them has begun at first
    apart = alone if known is None else any(are_dissimilar(dataset(run), other, own) for other in known)
    halves = "dissimilar" if apart else "similar"
    frozen, until = config["optim"]["frozen"], config["init_until"]
    if not (frozen or until):
        return Cell(halves, BASE, "")
    if not until:
        return Cell(halves, "random", frozen)
    start = source(run, by_folder)
    letter = "B" if start is not None and classes(start) == own else "A"
    return Cell(halves, f"{letter}nB" + "+" * (not frozen), until)


def source(run: Run, by_folder: Mapping[str, Run]) -> Run | None:
    """The run that it begins with; None where it begins with none, or that is not here."""
    return by_folder.get(Path(run.config["init_from"]).name)


def classes(run: Run) -> tuple[str, ...]:
    """Those of its half."""
    return tuple(run.config["data"]["classes"])


def count_layers(runs: Sequence[Run]) -> dict[str, int]:
    """Of each cut, from below, how many layers with weights are up to it."""
    cuts = {run.config["init_until"] or run.config["optim"]["frozen"] for run in runs} - {""}
    if not cuts:
        return {}
    settings = Model(**runs[0].config["model"])
    model: Any = models.build(settings.name, **models.build_arguments(settings))
    counts, size = {}, model.image_size
    for cut in cuts:
        below = traverse_util.flatten_dict(find_part(model, (size, size, 3), cut, "cut").params)
        counts[cut] = sum(path[-1] == "kernel" and depended for path, depended in below.items())
    return dict(sorted(counts.items(), key=lambda item: item[1]))


def error_above_base(groups: Mapping[Cell, Sequence[Run]]) -> Callable[[Run], float]:
    """What gives the test error of a run less that of its halves' network of B alone, of the same seed."""
    base = {
        (cell.halves, seed(run)): number((run.result or {}).get("test_error"))
        for cell, own in groups.items()
        for run in own
        if cell.kind == BASE
    }
    halves = {run.folder: cell.halves for cell, own in groups.items() for run in own}

    def test_error_above_base(run: Run) -> float:
        return number((run.result or {}).get("test_error")) - base.get((halves[run.folder], seed(run)), math.nan)

    return test_error_above_base
