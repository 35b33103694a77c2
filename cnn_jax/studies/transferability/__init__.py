"""What layers learned on half of the classes are worth on the other half (Yosinski et al. 2014)."""

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

from cnn_jax.report import claims, page
from cnn_jax.report.cells import common_headline, number, seed
from cnn_jax.report.claims import Comparison, Group, compare
from cnn_jax.report.significance import Kind
from cnn_jax.report.tables import format_mean, spread
from cnn_jax.studies.transferability import figures
from cnn_jax.studies.transferability.cells import BASE, KINDS, SOURCE, Cell, cell_runs, count_layers, error_above_base
from cnn_jax.train.record import Run, read_runs

SOURCE_TEXT = (
    "After Yosinski, Clune, Bengio and Lipson, “How transferable are features in deep neural networks?”, 2014."
)
AXES = ("data.classes", "init_from", "init_until", "init_digest", "optim.frozen")
COLUMNS = ("halves", "kind", "cut", "layers", "classes", "seed", "train_error", "test_error", "seconds")
NOTE = (
    "Mean ± sample standard deviation over seeds. n layers are those of B's own network (BnB), of A's (AnB) or as they "
    "were drawn (random), kept as they are or, with +, fine-tuned; those above are drawn anew, all are trained on B by "
    "one recipe. The network at 0 layers is trained on B alone, under the same seed."
)


def write(workdir: str | os.PathLike) -> str:
    """Rebuilds the page of the study, see `page.write`, from the run folders in `workdir` alone.

    Raises RecordError where the folder holds no run.
    """
    return page.write(study(read_runs(workdir)), workdir)


def study(runs: Sequence[Run]) -> page.Study:
    """Fig. 2 of the paper, similar halves beside dissimilar ones, errors by cut, and the verdicts on its findings."""
    groups = cell_runs(runs)
    cuts = count_layers(runs)
    present = dict.fromkeys(cell.halves for cell in groups if cell.kind != SOURCE)
    return page.Study(
        title=f"Transferability of layers of {' and '.join(sorted({run.config['model']['name'] for run in runs}))}",
        source=SOURCE_TEXT,
        cells={cell.name: members for cell, members in groups.items()},
        columns=COLUMNS,
        results=[row(cell, run, cuts) for cell, own in groups.items() for run in own if run.result is not None],
        tables=[table(groups, halves, cuts) for halves in present],
        figures={
            "accuracy_against_layers": (figures.accuracy_against_layers(groups, cuts), figures.FIG2),
            "similar_and_dissimilar": (figures.loss_against_layers(groups, cuts), figures.FIG3),
        },
        verdicts=judge(groups, cuts),
        axes=AXES,
    )


def row(cell: Cell, run: Run, cuts: dict[str, int]) -> dict[str, Any]:
    """A line of results.csv; errors are fractions."""
    line = {"halves": cell.halves, "kind": cell.kind, "cut": cell.cut, "layers": cuts.get(cell.cut, 0)}
    line |= {"classes": " ".join(run.config["data"]["classes"]), "seed": seed(run)}
    return line | {name: (run.result or {}).get(name) for name in ("train_error", "test_error", "seconds")}


def table(groups: dict[Cell, list[Run]], halves: str, cuts: dict[str, int]) -> page.Table:
    """Test errors on B: a line a kind, a column a cut."""
    headline = common_headline(run for own in groups.values() for run in own)

    def text(kind: str, cut: str) -> str:
        own = groups.get(Cell(halves, kind, cut), [])
        return format_mean(spread([number((run.result or {}).get("test_error")) for run in own]), headline)

    rows = [(BASE, text(BASE, ""), *("" for _ in cuts))]
    rows += [(kind, "", *(text(kind, cut) for cut in cuts)) for kind in KINDS if has(groups, halves, kind)]
    header = ("test error on B %", "0", *(f"{count} {cut}" for cut, count in cuts.items()))
    return page.Table(f"{halves.capitalize()} halves", header, rows, NOTE)


def has(groups: dict[Cell, list[Run]], halves: str, kind: str) -> bool:
    return any((cell.halves, cell.kind) == (halves, kind) for cell in groups)


def judge(groups: dict[Cell, list[Run]], cuts: dict[str, int]) -> list[dict[str, Any]]:
    """The paper's findings, at cuts that are chosen before anything is measured: the first, the one in the middle (of
    an odd number, as of its seven layers the fourth), and the last.

    Networks are compared that share their seed, which is that of the layers drawn anew and of the batches; those that
    gain by transfer are compared with B's own network and, as the longer training may gain alone, with its BnB+.
    """
    if not cuts:
        return []
    names = list(cuts)
    first, middle, last = names[0], names[len(names) // 2], names[-1]
    claim = partial(_compare, groups)
    n, m = cuts[middle], cuts[last]
    found = [
        claim(
            "co_adaptation",
            f"{n} layers of B's own network, kept, with new ones above: test error is higher than of B's network whole",
            *(("BnB", middle), (BASE, ""), "higher"),
        ),
        claim(
            "fine_tuning_recovers",
            f"fine-tuned with the new ones above, {n} layers of B's own network have no higher test error than it",
            *(("BnB+", middle), (BASE, ""), "no_higher"),
        ),
        claim(
            "transfer_falls_with_depth",
            f"{m} layers of A, kept, have higher test error on B than {cuts[first]}",
            *(("AnB", last), ("AnB", first), "higher"),
        ),
        claim(
            "specificity",
            f"{m} layers of A, kept, have higher test error on B than as many of B's own network",
            *(("AnB", last), ("BnB", last), "higher"),
        ),
        claim(
            "transfer_generalizes_better_than_base",
            f"with {m} layers of A, fine-tuned, test error on B is lower than of B's own network",
            *((BASE, ""), ("AnB+", last), "higher"),
        ),
        claim(
            "transfer_generalizes_better_than_its_control",
            f"with {m} layers of A, fine-tuned, test error on B is lower than with as many of B's own network",
            *(("BnB+", last), ("AnB+", last), "higher"),
        ),
        claim(
            "random_layers_are_worse",
            f"{n} layers as they were drawn, kept, have higher test error on B than as many of A",
            *(("random", middle), ("AnB", middle), "higher"),
        ),
    ]
    return claims.judge([*found, *_distance(groups, last, m)])


def _compare(
    groups: dict[Cell, list[Run]], name: str, text: str, a: tuple[str, str], b: tuple[str, str], kind: Kind
) -> Comparison:
    """The test errors of two cells of similar halves, of the only ones there are otherwise, seed by seed."""
    halves = "similar" if has(groups, "similar", BASE) else "dissimilar"
    sides = [Group(Cell("", *side).name, groups.get(Cell(halves, *side), [])) for side in (a, b)]
    return compare(name, text, "test_error", *sides, kind, axes=AXES, paired=True)


def _distance(groups: dict[Cell, list[Run]], cut: str, count: int) -> list[Comparison]:
    """What keeping A's layers costs on dissimilar halves beside similar ones, each against B's own network."""
    if not (has(groups, "similar", "AnB") and has(groups, "dissimilar", "AnB")):
        return []
    text = (
        f"{count} layers of A, kept, cost more test error on B where A and B are dissimilar than where they are similar"
    )
    sides = [Group(f"{halves} AnB", groups.get(Cell(halves, "AnB", cut), [])) for halves in ("dissimilar", "similar")]
    metric = error_above_base(groups)
    return [compare("dissimilar_is_worse", text, metric, *sides, "higher", axes=AXES)]
