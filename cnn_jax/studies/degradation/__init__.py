"""The degradation study: deeper plain networks train worse, deeper residual ones do not (He et al. 2016)."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from cnn_jax.report import claims, page, tables
from cnn_jax.report.cells import cell, common_headline, dataset, group, label
from cnn_jax.report.claims import Comparison, Group, compare_headline
from cnn_jax.report.significance import Kind
from cnn_jax.studies.degradation import figures
from cnn_jax.train.record import Run, read_runs
from cnn_jax.train.task import ERROR, Headline


class Side(NamedTuple):
    """A cell of a study: the nets of `kind` at the shallowest or deepest depth that the study has of `depth_of`."""

    kind: str
    depth_of: str
    which: str  # "shallowest" or "deepest"


class Claim(NamedTuple):
    """That the headline of `a` is worse than that of `b`, or no worse; see `claims.compare_headline`."""

    name: str
    text: str
    split: str
    a: Side
    b: Side
    kind: Kind


DEGRADATION = (
    Claim(
        "plain_degrades",
        "the deepest plain net has {worse} training {headline} than the shallowest",
        "train",
        Side("plain", "plain", "deepest"),
        Side("plain", "plain", "shallowest"),
        "higher",
    ),
    Claim(
        "residual_does_not",
        "the deepest residual net has no {worse} training {headline} than the shallowest",
        "train",
        Side("residual", "residual", "deepest"),
        Side("residual", "residual", "shallowest"),
        "no_higher",
    ),
    Claim(
        "residual_beats_its_twin",
        "the deepest residual net beats its plain twin on test",
        "test",
        Side("plain", "residual", "deepest"),
        Side("residual", "residual", "deepest"),
        "higher",
    ),
)

FIG6 = (
    "Error against iterations, after Fig. 6 of He et al. 2016: test error solid, training error dashed, mean over "
    "seeds with a band from the lowest to the highest seed. Training error is here the running one, over the "
    "augmented batches since the point before. Vertical lines: changes of the learning rate."
)
ERROR_AGAINST_DEPTH = (
    "Final error against depth: mean over seeds, bars of one sample standard deviation, a dot for every seed. "
    "Training error is here exact, over the whole training split without augmentation."
)
SOURCE = "After He, Zhang, Ren and Sun, “Deep Residual Learning for Image Recognition”, CVPR 2016."
NOTE = (
    "Mean ± sample standard deviation over seeds. The paper's numbers are those of its Table 6 for CIFAR-10; "
    "110 layers: the best of five runs (6.61 ± 0.16)."
)


def write(workdir: str | os.PathLike, overlay: str | os.PathLike | None = None) -> str:
    """Rebuilds the page of the study, see `page.write`, from the run folders in `workdir` alone.

    `overlay` names a CSV file of published curves (`curves.read_overlay`). Raises RecordError, one line, where the
    folder holds no run or the overlay cannot be used; nothing is written then.
    """
    return page.write(study(read_runs(workdir), overlay), workdir)


def study(runs: Sequence[Run], overlay: str | os.PathLike | None = None) -> page.Study:
    """Fig. 6, the error against depth, the table of Table 6 and the verdicts on DEGRADATION."""
    headline = common_headline(runs)
    header = ("net", "seeds", "parameters", *tables.headers(headline), "paper, test %")
    return page.Study(
        title="Degradation study",
        source=SOURCE,
        cells={label(*key): members for key, members in group(runs).items()},
        columns=tables.columns(headline),
        results=tables.results(runs),
        tables=[page.Table("Summary", header, _summary(runs, headline), NOTE)],
        figures={
            "fig6": (figures.fig6(runs, overlay), FIG6),
            "error_against_depth": (figures.error_against_depth(runs), ERROR_AGAINST_DEPTH),
        },
        verdicts=judge(runs),
    )


def _summary(runs: Sequence[Run], headline: Headline) -> list[list[str]]:
    """The rows of the summary, with the paper's number beside those measured on the paper's dataset alone."""
    datasets = {dataset(run) for run in runs}
    name = next(iter(datasets)) if len(datasets) == 1 else ""
    out = []
    for row in tables.summary(tables.results(runs), tables.metrics(headline)):
        paper = tables.paper_test_error(name, row["kind"], row["depth"]) if headline == ERROR else None
        sizes = " / ".join(f"{size:,}" for size in row["parameters"])
        errors = [tables.format_mean(row[name], headline) for name in tables.metrics(headline)]
        fields = [label(row["kind"], row["depth"]), str(row["n"]), sizes, *errors]
        out.append([*fields, "–" if paper is None else f"{100 * paper:.2f}"])
    return out


def judge(runs: Sequence[Run], claimed: Sequence[Claim] = DEGRADATION) -> list[dict[str, Any]]:
    """One dict a claim, as of `claims.judge`, but with {"kind", "depth", "n", "mean", "sd"} as `a` and `b`.

    The deepest and the shallowest are looked for among all runs, so that a depth whose runs all failed is not passed
    over.
    """
    sides = [[(side.kind, _depth(runs, side)) for side in (claim.a, claim.b)] for claim in claimed]
    verdicts = claims.judge([_compare(runs, claim, *cells) for claim, cells in zip(claimed, sides, strict=True)])
    swapped = common_headline(runs).higher_is_better
    for verdict, cells in zip(verdicts, sides, strict=True):
        cells = cells[::-1] if swapped else cells
        for side, (kind, depth) in zip(("a", "b"), cells, strict=True):
            verdict[side] = {"kind": kind, "depth": depth} | {key: verdict[side][key] for key in ("n", "mean", "sd")}
    return verdicts


def _compare(
    runs: Sequence[Run], claim: Claim, first: tuple[str, int | None], second: tuple[str, int | None]
) -> Comparison:
    a, b = (_group(runs, *key, claim.a.depth_of) for key in (first, second))
    kind, depth = first
    alone = first == second and depth is not None
    obstacle = f"The study has one depth of {kind} nets only ({depth})." if alone else ""
    return compare_headline(claim.name, claim.text, claim.split, a, b, claim.kind, obstacle=obstacle)


def _group(runs: Sequence[Run], kind: str, depth: int | None, depth_of: str) -> Group:
    if depth is None:
        return Group(f"{depth_of} net", [])
    return Group(label(kind, depth), [run for run in runs if cell(run) == (kind, depth)])


def _depth(runs: Sequence[Run], side: Side) -> int | None:
    depths = [depth for kind, depth in map(cell, runs) if kind == side.depth_of and depth is not None]
    if not depths:
        return None
    return max(depths) if side.which == "deepest" else min(depths)
