"""Retrieval by endpoint and pooling: the page, rebuilt from retrieval.json alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from cnn_jax.report import page
from cnn_jax.report.tables import mean_and_deviation
from cnn_jax.retrieval.baselines import BASELINES
from cnn_jax.studies.retrieval.claims import judge
from cnn_jax.studies.retrieval.figures import draw_endpoints
from cnn_jax.train import record

FILE = "retrieval.json"
SOURCE = (
    "After Krizhevsky, Sutskever and Hinton 2012, Section 6.1; Babenko et al. 2014; Tolias et al. 2016; and Radenovic "
    "et al. 2018."
)
HEADER = ("descriptor", "precision@1 %", "precision@10 %", "recall@10 %", "mAP %", "mAP on training images %")
COLUMNS = (
    *("descriptor", "network", "queries", "without", "duplicates", "precision_1", "precision_10", "recall_10", "map"),
    "validation_map",
)
NUMBERS = ("precision_1", "precision_10", "recall_10", "map", "validation_map")
NOTE = (
    "A query is a test image, the database the training images; a query is never its own answer. Precision@k is the "
    "share of the first k that are of the query's class, recall@10 that of the queries with at least one among the "
    "first 10. mAP is rectangular, as scikit-learn's, over all of the database. Equal cosines are ranked by index. On "
    "training images: each quarter of them asked of the other three, by which everything is chosen. Query expansion "
    "looks at the database, and stands beside."
)


def write(workdir: Path) -> str:
    """Rebuilds the page, see `page.write`, of the workdir's retrieval.json. Raises RecordError where there is none."""
    content = record.read_json(workdir / FILE)
    if content is None:
        raise record.RecordError(f"{workdir} holds no {FILE}: ./launch.sh retrieval writes it")
    return page.write(study(content), workdir)


def study(content: Mapping[str, Any]) -> page.Study:
    """What the networks of the file retrieve."""
    measured, last = list(content["networks"].values()), content["last"]
    names = ordered(measured, content["parts"])
    rows = [
        row(name, network, one)
        for name in names
        for network, one in content["networks"].items()
        if name in one["variants"]
    ]
    about = ", ".join(content["networks"])
    return page.Study(
        title=f"Retrieval: {content['title']}",
        source=SOURCE,
        cells={},
        columns=COLUMNS,
        results=rows,
        tables=[
            page.Table(content["title"], HEADER, [line(name, measured) for name in names], NOTE + described(measured))
        ],
        figures={
            "map_by_endpoint": (
                draw_endpoints(measured, content["parts"], content["title"]),
                f"mAP of the test queries by endpoint and pooling, over {about}; dashed what needs no network.",
            )
        },
        verdicts=judge(measured, last),
    )


def ordered(measured: Sequence[Mapping[str, Any]], parts: Sequence[str]) -> list[str]:
    """The names of the variants: baselines, endpoints in the network's order, then what was made of them."""
    others = [name for one in measured for name in one["variants"] if name not in parts and name not in BASELINES]
    return list(dict.fromkeys([*BASELINES, *parts, *others]))


def mean(one: Mapping[str, Any], name: str, what: str) -> float | None:
    """A number of a variant, over its queries; None where it has none."""
    if what == "validation_map":
        return one["validation"].get(name)
    values = one["variants"][name]["average_precision" if what == "map" else what]
    return fmean(values) if values else None


def row(name: str, network: str, one: Mapping[str, Any]) -> dict[str, Any]:
    """A row of results.csv, fractions."""
    variant = one["variants"][name]
    counts = {"queries": len(variant["queries"]), "without": variant["without"], "duplicates": variant["duplicates"]}
    return {"descriptor": name, "network": network} | counts | {what: mean(one, name, what) for what in NUMBERS}


def line(name: str, measured: Sequence[Mapping[str, Any]]) -> list[str]:
    """The row of a variant as text, mean and deviation over the networks that have it."""
    own = [one for one in measured if name in one["variants"]]
    cells = []
    for what in NUMBERS:
        middle, deviation = mean_and_deviation([v for one in own if (v := mean(one, name, what)) is not None])
        spread = "" if deviation is None else f" ± {100 * deviation:.2f}"
        cells.append("–" if middle is None else f"{100 * middle:.2f}{spread}")
    networks = f" ({len(own)} of {len(measured)} networks)" if len(own) < len(measured) else ""
    return [name + networks, *cells]


def described(measured: Sequence[Mapping[str, Any]]) -> str:
    """How many queries and images there are, what has nothing to be found, and what is there twice."""
    first = measured[0]
    variant = first["variants"][first["chosen"]["single"]]
    text = f" {first['queries']:,} queries in {first['database']:,} images."
    if variant["without"]:
        text += f" {variant['without']:,} queries are left out: nothing in the database is of their class."
    if variant["duplicates"]:
        text += f" {variant['duplicates']:,} queries have an image above a cosine of 0.99, perhaps the same picture."
    return text
