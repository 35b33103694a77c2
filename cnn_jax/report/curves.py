"""Error curves of a study as numbers, ready to be drawn: means over seeds, published curves, learning-rate changes."""

import codecs
import csv
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from cnn_jax.report.cells import common_headline, group, number, reason, state
from cnn_jax.train.record import RecordError, Run
from cnn_jax.train.task import ERROR

SPLITS = ("train", "test")
NUMBERS = ("epoch", "train_error", "test_error")
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Curve(NamedTuple):
    """One curve of a cell: steps ascending, fractions, `low` and `high` the extremes over `seeds` runs."""

    kind: str
    depth: int | None
    metric: str
    state: str  # finished (a mean over seeds), failed, unfinished (single runs) or published
    note: str
    seeds: int
    steps: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


class PublishedPoint(NamedTuple):
    """One line of an overlay file; errors as fractions."""

    kind: str
    depth: int
    epoch: float
    train_error: float
    test_error: float


def study_curves(runs: Iterable[Run]) -> list[Curve]:
    """For each cell, training and test, the mean curve of its finished runs, and one for every other run."""
    runs, out = list(runs), []
    headline = common_headline(runs)
    for (kind, depth), members in group(runs).items():
        finished = [run for run in members if state(run) == "finished"]
        batches = [(finished, "finished", "")] if finished else []
        batches += [([run], state(run), reason(run)) for run in members if state(run) != "finished"]
        for batch, how, note in batches:
            for metric in map(headline.name, SPLITS):
                points = aggregate_seeds(batch, metric)
                columns = [list(column) for column in zip(*points, strict=True)] or [[], [], [], []]
                out.append(Curve(kind, depth, metric, how, note, len(batch), *columns))
    return [curve for curve in out if curve.steps]


def aggregate_seeds(runs: Sequence[Run], metric: str) -> list[tuple[float, float, float, float]]:
    """(step, mean, lowest, highest) for every step that a run has measured; a seed without that step is left out."""
    values: dict[float, list[float]] = {}
    for run in runs:
        for line in run.metrics:
            error = number(line.get(metric))
            if math.isfinite(error):
                values.setdefault(number(line.get("step")), []).append(error)
    return [(step, math.fsum(v) / len(v), min(v), max(v)) for step, v in sorted(values.items())]


def steps_per_epoch(runs: Iterable[Run]) -> float | None:
    """Steps an epoch by the first run that tells, None where no run has measured anything yet."""
    for run in runs:
        for line in reversed(run.metrics):
            step, epoch = number(line.get("step")), number(line.get("epoch"))
            if step > 0 and epoch > 0:
                return step / epoch
    return None


def rate_changes(runs: Sequence[Run]) -> list[float]:
    """Steps where the learning rate drops, by the configuration of the runs; none where they differ in them."""
    changes = set()
    for run in runs:
        optim, steps = run.config.get("optim") or {}, number(run.config.get("steps"))
        changes.add(tuple(fraction * steps for fraction in optim.get("boundaries", ())))
    return list(changes.pop()) if len(changes) == 1 else []


def read_overlay(path: str | os.PathLike) -> list[PublishedPoint]:
    """Published curves from a CSV file with the columns of PublishedPoint, others ignored; errors are fractions.

    As spreadsheets save it: with a byte-order mark or none, in UTF-8 or UTF-16, with commas, semicolons (and then
    perhaps decimal commas) or tabs between columns, any line ends, spaces around names and values, and empty lines.

    Raises RecordError, one line, for a file that is missing, lacks a column or holds something else than numbers.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        lines = content.decode("utf-16" if content.startswith(UTF_16) else "utf-8-sig").splitlines()
        header = lines[0] if lines else ""
        delimiter = max(",;\t", key=header.count)
        names, *rows = ([cell.strip() for cell in row] for row in csv.reader(lines or [""], delimiter=delimiter))
        missing = [name for name in PublishedPoint._fields if name not in names]
        if missing:
            there = f"; its columns are {', '.join(names)}" if any(names) else ": it is empty"
            raise RecordError(f"overlay {path} lacks the columns {', '.join(missing)}{there}")
        return [read_point(dict(zip(names, row, strict=False)), delimiter) for row in rows if any(row)]
    except OSError as error:
        raise RecordError(f"cannot read overlay {path}: {error.strerror}") from error
    except (KeyError, ValueError, csv.Error) as error:
        if isinstance(error, RecordError):
            raise
        reason = f"a line without {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise RecordError(f"cannot read overlay {path}: {reason}") from error


def read_point(line: dict[str, str], delimiter: str) -> PublishedPoint:
    """Raises KeyError or ValueError."""
    epoch, train, test = (float(line[name].replace(",", ".") if delimiter != "," else line[name]) for name in NUMBERS)
    return PublishedPoint(line["kind"], int(line["depth"]), epoch, train, test)


def published_curves(points: Iterable[PublishedPoint], per_epoch: float, last: float) -> list[Curve]:
    """The published curves on the study's axis, `per_epoch` steps an epoch, up to step `last`."""
    cells: dict[tuple[str, int], list[PublishedPoint]] = {}
    for point in points:
        if point.epoch * per_epoch <= last:
            cells.setdefault((point.kind, point.depth), []).append(point)
    out = []
    for (kind, depth), members in cells.items():
        members = sorted(members, key=lambda point: point.epoch)
        steps = [point.epoch * per_epoch for point in members]
        for metric in map(ERROR.name, SPLITS):
            errors = [getattr(point, metric) for point in members]
            out.append(Curve(kind, depth, metric, "published", "", 1, steps, errors, errors, errors))
    return out
