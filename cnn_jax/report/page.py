"""The page of a study: tables, figures, verdicts and one self-contained report.html, rebuilt from the run folders."""

import base64
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cnn_jax.report import claims, degradation, plots, tables
from cnn_jax.report.cells import cell, cell_order, compare, dataset, label, number, reason, seed, state, unplanned
from cnn_jax.train.record import Run, read_runs, write_atomically

FIGURES = {
    "fig6": (
        "Error against iterations, after Fig. 6 of He et al. 2016: test error solid, training error dashed, mean over "
        "seeds with a band from the lowest to the highest seed. Training error is here the running one, over the "
        "augmented batches since the point before. Vertical lines: changes of the learning rate."
    ),
    "error_against_depth": (
        "Final error against depth: mean over seeds, bars of one sample standard deviation, a dot for every seed. "
        "Training error is here exact, over the whole training split without augmentation."
    ),
}


def write(workdir: str | os.PathLike, overlay: str | os.PathLike | None = None) -> str:
    """Rebuilds results.csv, the figures (PNG, SVG), claims.json and report.html in `workdir`.

    Everything comes from the run folders in `workdir` alone, and the same folders give the same bytes. `overlay` names
    a CSV file of published curves (`curves.read_overlay`). Raises RecordError, one line, where the folder holds no run
    or the overlay cannot be used; nothing is written then.

    Returns the summary and the verdicts as text for a terminal, errors in percent, and the path of the page.
    """
    workdir = Path(workdir)
    runs = read_runs(workdir)
    figures = {"fig6": plots.fig6(runs, overlay), "error_against_depth": plots.error_against_depth(runs)}
    rows = tables.results(runs)
    verdicts = degradation.judge(runs)
    tables.write_csv(rows, workdir / "results.csv")
    for name, figure in figures.items():
        plots.save(figure, workdir / name)
    claims.write(verdicts, workdir / "claims.json")
    images = {name: (workdir / f"{name}.svg").read_bytes() for name in figures}
    write_atomically(workdir / "report.html", render(runs, verdicts, images))
    return f"{tables.text_summary(tables.summary(rows), verdicts)}\n{workdir / 'report.html'}"


def render(runs: Sequence[Run], verdicts: Sequence[dict[str, Any]], images: dict[str, bytes]) -> str:
    """The text of report.html; `images` maps the names of FIGURES to SVG bytes, which become data URIs."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.lstrip_blocks = True
    common, varying = compare(runs)
    return environment.get_template("report.html.j2").render(
        title=plots.title(runs),
        warnings=_warnings(runs),
        rule=claims.RULE,
        verdicts=[_verdict(verdict) for verdict in verdicts],
        figures=[(name, _data_uri(images[name]), caption) for name, caption in FIGURES.items()],
        summary=_summary(runs),
        runs=[_run(run) for run in sorted(runs, key=lambda run: (cell_order(cell(run)), seed(run), run.folder.name))],
        unfinished=[(run.folder.name, state(run), reason(run)) for run in runs if state(run) != "finished"],
        common=common,
        varying=varying,
        provenance=_provenance(runs),
    )


def _data_uri(svg: bytes) -> str:
    # As an image each figure keeps its element ids to itself; inlined, the two would share some.
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def _warnings(runs: Sequence[Run]) -> list[str]:
    out = []
    datasets = sorted({dataset(run) for run in runs})
    if len(datasets) > 1:
        out.append(f"The runs are from several datasets ({', '.join(datasets)}); their errors are not comparable.")
    differing = [name for name in unplanned(runs) if name != "data.name"]
    if differing:
        out.append(f"The runs also differ in {', '.join(differing)}; a difference in error may come from there.")
    return out


def _verdict(verdict: dict[str, Any]) -> dict[str, Any]:
    """The verdict with what the page adds: the colour of its badge and its numbers as text."""
    numbers = [
        (name, "–" if verdict[key] is None else f"{100 * verdict[key]:.2f}")
        for name, key in (("difference", "difference"), ("SE", "standard_error"), ("threshold", "threshold"))
    ]
    badge = {"PASS": "pass", "FAIL": "fail"}.get(verdict["verdict"], "open")
    return verdict | {"badge": badge, "numbers": numbers}


def _summary(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The rows of the summary as text, with the paper's number beside those measured on the paper's dataset alone."""
    datasets = {dataset(run) for run in runs}
    name = next(iter(datasets)) if len(datasets) == 1 else ""
    out = []
    for row in tables.summary(tables.results(runs)):
        paper = tables.paper_test_error(name, row["kind"], row["depth"])
        out.append(
            {
                "net": label(row["kind"], row["depth"]),
                "seeds": row["n"],
                "parameters": " / ".join(f"{size:,}" for size in row["parameters"]),
                "errors": [tables.percent(row[error]) for error in tables.ERRORS],
                "paper": "–" if paper is None else f"{100 * paper:.2f}",
            }
        )
    return out


def _run(run: Run) -> dict[str, Any]:
    result = run.result or {}
    errors = [number(result.get(name)) for name in tables.ERRORS]
    seconds = number(result.get("seconds"))
    reached = run.metrics[-1].get("step", 0) if run.metrics else 0
    return {
        "name": run.folder.name,
        "net": label(*cell(run)),
        "seed": seed(run),
        "state": state(run),
        "steps": result.get("steps", reached),
        "errors": ["–" if error != error else f"{100 * error:.2f}" for error in errors],
        "minutes": "–" if seconds != seconds else f"{seconds / 60:.1f}",
    }


def _provenance(runs: Sequence[Run]) -> list[tuple[str, list[tuple[str, str]]]]:
    """For every part of the manifests the distinct values, each with the runs it belongs to ("every run" for all)."""
    out = []
    for part in ("command", "machine", "devices", "versions", "dataset"):
        values: dict[str, list[str]] = {}
        for run in runs:
            if part in run.manifest:
                values.setdefault(_text(run.manifest[part]), []).append(run.folder.name)
        if values:
            out.append((part, [(text, _names(names, len(runs))) for text, names in values.items()]))
    return out


def _names(names: Sequence[str], of: int) -> str:
    return "every run" if len(names) == of else ", ".join(names)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(part)}" for name, part in sorted(value.items()))
    if isinstance(value, list):
        return _joined(value)
    return value if isinstance(value, str) else json.dumps(value)


def _joined(values: Iterable[Any]) -> str:
    counts: dict[str, int] = {}
    for value in map(_text, values):
        counts[value] = counts.get(value, 0) + 1
    return " ".join(text if count == 1 else f"{count} x {text}" for text, count in counts.items())
