"""The page of a study: tables, figures, verdicts and one self-contained report.html, rebuilt from the run folders."""

import base64
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from cnn_jax.report import claims, plots, tables, wording
from cnn_jax.report.cells import AXES, common_headline, compare, dataset, number, reason, seed, state, unplanned_fields
from cnn_jax.train.record import Run, write_atomically
from cnn_jax.train.task import Headline

# As an image each figure keeps its element ids to itself; inlined, the two would share some.
DATA_URI = "data:image/svg+xml;base64,"


class Table(NamedTuple):
    """A table of a study as text, a line a row; `note` stands below it."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


class Study(NamedTuple):
    """What a page shows of a study, all of it made from the run folders alone."""

    title: str
    source: str
    """A sentence on where the question is from."""
    cells: Mapping[str, Sequence[Run]]
    """The runs by the name of their cell, both in the order in which they are listed."""
    columns: Sequence[str]
    results: Sequence[Mapping[str, Any]]
    """The rows of results.csv, with the columns as keys; errors as fractions."""
    tables: Sequence[Table]
    figures: Mapping[str, tuple[Figure, str]]
    """Figures and captions by the name of their file."""
    verdicts: Sequence[dict[str, Any]]
    axes: Sequence[str] = AXES
    """The dotted fields that the study varies on purpose, beside the seed."""


def write(study: Study, workdir: str | os.PathLike) -> str:
    """Writes results.csv, the figures (PNG, SVG), claims.json and report.html of the study into `workdir`.

    The same study gives the same bytes. Returns the tables and the verdicts as text for a terminal, and the path of the
    page.
    """
    workdir = Path(workdir)
    tables.write_csv(study.results, study.columns, workdir / "results.csv")
    for name, (figure, _) in study.figures.items():
        plots.save(figure, workdir / name)
    if study.verdicts:
        claims.write(study.verdicts, workdir / "claims.json")
    images = {name: (workdir / f"{name}.svg").read_bytes() for name in study.figures}
    write_atomically(workdir / "report.html", render(study, images))
    return f"{format_text(study)}\n{workdir / 'report.html'}"


def format_text(study: Study) -> str:
    """The tables and the verdicts as plain text."""
    blocks = [tables.format_table(table.header, table.rows) or "no finished run" for table in study.tables]
    if study.verdicts:
        blocks.append("\n".join(f"{v['verdict']}: {v['claim']}\n    {v['sentence']}" for v in study.verdicts))
    return "\n\n".join(blocks) + "\n"


def render(study: Study, images: Mapping[str, bytes]) -> str:
    """The text of report.html; `images` maps the names of the study's figures to SVG bytes, which become data URIs."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.lstrip_blocks = True
    runs = [run for members in study.cells.values() for run in members]
    common, varying = compare(runs)
    headline = common_headline(runs)
    return environment.get_template("report.html.j2").render(
        study=study,
        title=plots.title(study.cells.values()),
        warnings=_warnings(runs, study.axes),
        rules=list(dict.fromkeys(verdict["rule"] for verdict in study.verdicts)),
        verdicts=[_verdict(verdict) for verdict in study.verdicts],
        figures=[
            (name, f"{DATA_URI}{base64.b64encode(images[name]).decode()}", caption)
            for name, (_, caption) in study.figures.items()
        ],
        runs=[_run(name, run, headline) for name, members in study.cells.items() for run in members],
        headline=headline,
        headers=tables.headers(headline),
        unfinished=[(run.folder.name, state(run), reason(run)) for run in runs if state(run) != "finished"],
        common=common,
        varying=varying,
        provenance=_provenance(runs),
    )


def _warnings(runs: Sequence[Run], axes: Sequence[str]) -> list[str]:
    out = []
    tasks = sorted({str(run.config.get("task", "classification")) for run in runs})
    if len(tasks) > 1:
        out.append(f"The runs are of several tasks ({', '.join(tasks)}); their numbers are not comparable.")
    datasets = sorted({dataset(run) for run in runs})
    if len(datasets) > 1:
        out.append(f"The runs are from several datasets ({', '.join(datasets)}); their numbers are not comparable.")
    differing = [name for name in unplanned_fields(runs, axes) if name != "data.name"]
    if differing:
        out.append(f"The runs also differ in {', '.join(differing)}; a difference may come from there.")
    return out


def _verdict(verdict: dict[str, Any]) -> dict[str, Any]:
    """The verdict with what the page adds: the colour of its badge and its numbers as text."""
    named = (("difference", "difference"), ("SE", "standard_error"), ("margin", "margin"))
    numbers = [(name, wording.format_amount(verdict[key], verdict["unit"])) for name, key in named]
    badge = {"PASS": "pass", "FAIL": "fail"}.get(verdict["verdict"], "open")
    tests = [(name, verdict[f"p_{name}"]) for name in ("superior", "noninferior") if verdict[f"p_{name}"] is not None]
    unit = " percentage points" if verdict["unit"] == "%" else ""
    return verdict | {"badge": badge, "numbers": numbers, "unit": unit, "tests": tests}


def _run(cell: str, run: Run, headline: Headline) -> dict[str, Any]:
    result = run.result or {}
    values = [number(result.get(name)) for name in tables.metrics(headline)]
    seconds = number(result.get("seconds"))
    reached = run.metrics[-1].get("step", 0) if run.metrics else 0
    return {
        "name": run.folder.name,
        "cell": cell,
        "seed": seed(run),
        "state": state(run),
        "steps": result.get("steps", reached),
        "numbers": ["–" if value != value else f"{headline.scale * value:.2f}" for value in values],
        "minutes": "–" if seconds != seconds else f"{seconds / 60:.1f}",
    }


def _provenance(runs: Sequence[Run]) -> list[tuple[str, list[tuple[str, str]]]]:
    """For every part of the manifests the distinct values, each with the runs it belongs to ("every run" for all)."""
    out = []
    for part in ("command", "machine", "devices", "versions", "dataset", "classes"):
        values: dict[str, list[str]] = {}
        for run in runs:
            if part in run.manifest:
                values.setdefault(_text(run.manifest[part]), []).append(run.folder.name)
        if values:
            whose = {
                text: "every run" if len(names) == len(runs) else ", ".join(names) for text, names in values.items()
            }
            out.append((part, list(whose.items())))
    return out


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(part)}" for name, part in sorted(value.items()))
    if isinstance(value, list):
        counts = Counter(map(_text, value))
        return " ".join(text if count == 1 else f"{count} x {text}" for text, count in counts.items())
    return value if isinstance(value, str) else json.dumps(value)
