"""A study of one factor: the same network with each value of one field, everything else alike."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cnn_jax.report import claims, page, plots
from cnn_jax.report.cells import common_headline, flatten, model_name, number, seed
from cnn_jax.report.claims import Group, compare_headline
from cnn_jax.report.significance import Kind
from cnn_jax.report.tables import format_mean, headers, metrics, spread
from cnn_jax.studies.factors import figures as factor_figures
from cnn_jax.train.record import Run, read_runs
from cnn_jax.train.task import Headline


class Claim(NamedTuple):
    """That the headline of value `a` is worse than that of `b`, or no worse; see `claims.compare_headline`."""

    name: str
    text: str
    split: str
    a: str
    b: str
    kind: Kind


class Factor(NamedTuple):
    """What is varied, where the question is from, what is claimed, and what the values of `field` are called."""

    field: str
    source: str
    claims: Sequence[Claim]
    names: Mapping[str, str]


NORMALIZATION = Factor(
    "model.normalization",
    "After Krizhevsky et al. 2012 (3.3), Simonyan and Zisserman 2015 (4.1), and Ioffe and Szegedy 2015.",
    (
        Claim(
            "lrn_contributes_little",
            "without normalisation test {headline} is no {worse} than with LRN, whose contribution is minimal",
            *("test", "none", "lrn", "no_higher"),
        ),
        Claim(
            "batch_norm_trains_better",
            "without normalisation the final training {headline} is {worse} than with batch norm",
            *("train", "none", "bn", "higher"),
        ),
    ),
    {"none": "no normalisation", "lrn": "LRN", "bn": "batch norm"},
)

POOLING = Factor(
    "model.pooling",
    "After Krizhevsky et al. 2012 (3.4), Springenberg et al. 2015, and Scherer et al. 2010.",
    (
        Claim(
            "overlapping_no_worse",
            "overlapping max pooling has no {worse} test {headline} than max pooling that does not overlap",
            *("test", "overlapping", "max", "no_higher"),
        ),
        Claim(
            "strided_no_worse",
            "a strided convolution in the place of each max pooling has no {worse} test {headline}",
            *("test", "strided", "max", "no_higher"),
        ),
        Claim(
            "max_no_worse_than_mean",
            "max pooling has no {worse} test {headline} than mean pooling",
            *("test", "max", "mean", "no_higher"),
        ),
    ),
    {
        "max": "max pooling",
        "mean": "mean pooling",
        "overlapping": "overlapping pooling",
        "strided": "strided convolution",
        "trainable": "trainable pooling",
    },
)

ACTIVATION = Factor(
    "model.activation",
    "After Krizhevsky et al. 2012 (3.1), LeCun et al. 1998 (Appendix A), and Glorot and Bengio 2010.",
    (
        Claim(
            "relu_trains_better_than_sigmoid",
            "after as many steps training {headline} is {worse} with the sigmoid than with ReLU",
            *("train", "sigmoid", "relu", "higher"),
        ),
        Claim(
            "relu_trains_better_than_tanh",
            "after as many steps training {headline} is {worse} with tanh than with ReLU",
            *("train", "tanh", "relu", "higher"),
        ),
    ),
    {"sigmoid": "sigmoid", "tanh": "tanh", "scaled_tanh": "scaled tanh", "relu": "ReLU"},
)

PADDING = Factor(
    "model.padding_mode",
    "Zeros, mirrored edges, the other side, or nothing beyond the edge of an image.",
    (
        Claim(
            "valid_is_worse",
            "without padding test {headline} is {worse} than with zero padding",
            *("test", "valid", "zero", "higher"),
        ),
        Claim(
            "symmetric_no_worse",
            "symmetric padding has no {worse} test {headline} than zero padding",
            *("test", "symmetric", "zero", "no_higher"),
        ),
        Claim(
            "circular_no_worse",
            "circular padding has no {worse} test {headline} than zero padding",
            *("test", "circular", "zero", "no_higher"),
        ),
    ),
    {
        "zero": "zero padding",
        "symmetric": "symmetric padding",
        "circular": "circular padding",
        "valid": "no padding",
    },
)

FACTORS = {"normalization": NORMALIZATION, "pooling": POOLING, "activation": ACTIVATION, "padding": PADDING}
NOTE = "Mean ± sample standard deviation over seeds; the gap is test less training; seconds are of one run."


def write(workdir: str | os.PathLike, factor: Factor) -> str:
    """Rebuilds the page of the study, see `page.write`, from the run folders in `workdir` alone.

    Raises RecordError where the folder holds no run.
    """
    return page.write(study(read_runs(workdir), factor), workdir)


def study(runs: Sequence[Run], factor: Factor) -> page.Study:
    """Curves, final errors, a table and the factor's verdicts; where there are several networks, for each of them."""
    groups = group_runs(runs, factor)
    models = list(dict.fromkeys(model for model, _ in groups))
    several = len(models) > 1
    named = {
        (f"{model}, " if several else "") + value_name(value, factor): own for (model, value), own in groups.items()
    }
    headline = common_headline(runs)
    numbers = ("parameters", *metrics(headline), "seconds")
    header = ("seeds", "parameters", *headers(headline)[:2], "gap", "seconds")
    part = factor.field.rpartition(".")[2]
    words = part.replace("_", " ")
    heading = ", ".join([*models, plots.title(named.values())])
    return page.Study(
        title=f"{words.capitalize()} in {', '.join(models)}",
        source=factor.source,
        cells=named,
        columns=("model", part, "seed", *numbers),
        results=[
            {"model": model, part: value, "seed": seed(run)} | {column: run.result.get(column) for column in numbers}
            for (model, value), own in groups.items()
            for run in own
            if run.result is not None
        ],
        tables=[page.Table("Summary", (words, *header), summary(named, headline), NOTE)],
        figures={
            "curves": (factor_figures.curves(named, heading), factor_figures.CURVES),
            "final_errors": (factor_figures.final_errors(named, heading), factor_figures.FINAL_ERRORS),
        },
        verdicts=judge(groups, factor),
        axes=("model.name", factor.field),
    )


def group_runs(runs: Sequence[Run], factor: Factor) -> dict[tuple[str, str], list[Run]]:
    """The runs of each (model, value): models by name, values as the factor lists them, runs by seed."""
    keys = {run.folder: (model_name(run), flatten(run.config).get(factor.field, "null").strip('"')) for run in runs}
    order = [*factor.names]

    def rank(key: tuple[str, str]) -> tuple[str, int, str]:
        model, value = key
        return model, order.index(value) if value in order else len(order), value

    ordered = sorted(runs, key=lambda run: (rank(keys[run.folder]), seed(run), run.folder.name))
    out: dict[tuple[str, str], list[Run]] = {}
    for run in ordered:
        out.setdefault(keys[run.folder], []).append(run)
    return out


def value_name(value: str, factor: Factor) -> str:
    """What the value is called in tables and sentences."""
    return factor.names.get(value, value)


def summary(named: Mapping[str, Sequence[Run]], headline: Headline) -> list[list[str]]:
    """A line a cell that has a finished run: its numbers as text, see `study`."""
    out = []
    for cell, members in named.items():
        results = [run.result for run in members if run.result is not None]
        if results:
            sizes = sorted({number(result.get("parameters")) for result in results})
            seconds = math.fsum(number(result.get("seconds")) for result in results) / len(results)
            train, test = ([number(result.get(metric)) for result in results] for metric in metrics(headline)[:2])
            gap = [tested - trained for trained, tested in zip(train, test, strict=True)]
            means = [format_mean(spread(values), headline) for values in (train, test, gap)]
            out.append([cell, str(len(results)), " / ".join(f"{n:,.0f}" for n in sizes), *means, f"{seconds:.0f}"])
    return out


def judge(groups: Mapping[tuple[str, str], Sequence[Run]], factor: Factor) -> list[dict[str, Any]]:
    """The verdicts on the factor's claims, as of `claims.judge`; of several networks on each."""
    models = list(dict.fromkeys(model for model, _ in groups))
    out = []
    for model in models:
        for claim in factor.claims:
            a, b = (Group(value_name(value, factor), groups.get((model, value), [])) for value in (claim.a, claim.b))
            several = len(models) > 1
            label = f"{claim.name}_{model}" if several else claim.name
            text = f"{model}: {claim.text}" if several else claim.text
            out.append(compare_headline(label, text, claim.split, a, b, claim.kind, axes=(factor.field,)))
    return claims.judge(out)
