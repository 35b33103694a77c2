"""How cost grows with depth: step time, compile time and memory of measured models, each with its straight line."""

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from cnn_jax.benchmark.measure import Measurement
from cnn_jax.report.plots import KIND_COLOURS, STYLE, save
from cnn_jax.train.record import write_atomically


class Fit(NamedTuple):
    """`cost = start + slope * x`, by least squares; r2 is the share of the variance it explains."""

    start: float
    slope: float
    r2: float


def fit(x: Sequence[float], cost: Sequence[float]) -> Fit:
    """Through at least three points of different x."""
    slope, start = np.polyfit(x, cost, 1)
    rest = np.array(cost) - (start + slope * np.array(x))
    total = np.square(np.array(cost) - np.mean(cost)).sum()
    return Fit(float(start), float(slope), float(1 - np.square(rest).sum() / total) if total else 1.0)


def depth(m: Measurement) -> int:
    match = re.search(r"\d+", m.model)
    return int(match[0]) if match else 0


PANELS: tuple[tuple[str, str, Callable[[Measurement], float], Callable[[Measurement], float]], ...] = (
    ("step", "MACs of an image, millions", lambda m: m.macs / 1e6, lambda m: m.step_seconds),
    ("compilation, nothing cached", "depth", depth, lambda m: m.compile_seconds),
    ("peak memory", "depth", depth, lambda m: m.peak_bytes / 1e9),
)
UNITS = {"step": "s", "compilation, nothing cached": "s", "peak memory": "GB"}


def group_by_kind(measurements: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    """Plain and residual nets, each in order of depth."""
    kinds = {"plain": "plain", "residual": "resnet"}
    return {
        kind: sorted((m for m in measurements if re.fullmatch(rf"{letters}\d+", m.model)), key=depth)
        for kind, letters in kinds.items()
    }


def describe_fits(measurements: Sequence[Measurement]) -> list[str]:
    """A line for each cost and kind of three depths or more: the straight line, and how well it fits."""
    lines = []
    for title, axis, x, cost in PANELS:
        for kind, members in group_by_kind(measurements).items():
            if len({depth(m) for m in members}) >= 3:
                line = fit([x(m) for m in members], [cost(m) for m in members])
                of = "million MACs" if "MACs" in axis else "layer"
                lines.append(
                    f"{kind} {title}: {line.start:.3g} {UNITS[title]} + {line.slope:.3g} {UNITS[title]} a {of}, "
                    f"R2 {line.r2:.4f}"
                )
    return lines


def draw_figure(measurements: Sequence[Measurement], title: str) -> Figure:
    """A panel a cost, a colour a kind: the measured points and the straight line through them."""
    with matplotlib.rc_context(STYLE):
        page = Figure(figsize=(9, 3), layout="constrained")
        axes = page.subplots(1, len(PANELS))
        for ax, (name, axis, x, cost) in zip(axes, PANELS, strict=True):
            for kind, members in group_by_kind(measurements).items():
                xs, costs = [x(m) for m in members], [cost(m) for m in members]
                if not members:
                    continue
                ax.plot(xs, costs, "o" if kind == "plain" else "s", color=KIND_COLOURS[kind], markersize=4, label=kind)
                if len(set(xs)) >= 3:
                    line = fit(xs, costs)
                    ends = np.array([min(xs), max(xs)])
                    ax.plot(ends, line.start + line.slope * ends, color=KIND_COLOURS[kind], linewidth=0.8)
            ax.set(title=name, xlabel=axis, ylabel=UNITS[name], ylim=(0, None))
            ax.legend(frameon=False)
        page.suptitle(title, fontsize=9)
    return page


def format_csv(measurements: Sequence[Measurement]) -> str:
    """A line a model: the numbers of `Measurement`, the peer's where there is one."""
    stream = io.StringIO()
    heads = ["model", "depth", "parameters", "macs", "images_per_second", "step_seconds", "compile_seconds"]
    heads += ["first_step_cold_seconds", "first_step_warm_seconds", "peak_bytes", "import_bytes", "peak_share"]
    heads += ["ratio_to_peer", "peer_images_per_second", "peer_peak_bytes", "peer_import_bytes"]
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(heads)
    for m in measurements:
        numbers = [m.images_per_second, m.step_seconds, m.compile_seconds, m.first_step_cold, m.first_step_warm]
        cells = [*(f"{number:.4g}" for number in numbers), m.peak_bytes, m.import_bytes, f"{m.peak_share:.3f}"]
        cells += format_peer(m.peer) if m.peer else [""] * 4
        writer.writerow([m.model, depth(m), m.parameters, m.macs, *cells])
    return stream.getvalue()


def format_peer(peer: dict[str, Any]) -> list[Any]:
    """The last cells of a line."""
    return [f"{peer['ratio']:.3f}", f"{peer['images_per_second']:.4g}", peer["peak_bytes"], peer["import_bytes"]]


def write(measurements: Sequence[Measurement], folder: Path, title: str) -> list[str]:
    """Writes benchmark.csv, benchmark.jsonl and, of three depths or more, cost_against_depth; returns the fits."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "benchmark.csv", format_csv(measurements))
    lines = "".join(json.dumps(m._asdict()) + "\n" for m in measurements)
    write_atomically(folder / "benchmark.jsonl", lines)
    fits = describe_fits(measurements)
    if fits:
        save(draw_figure(measurements, title), folder / "cost_against_depth")
    return fits
