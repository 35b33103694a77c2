"""The page of diagnostics.json: its figures, rebuilt from that file alone."""

from pathlib import Path

from cnn_jax.report import plots
from cnn_jax.report.depth_figures import FIGURES
from cnn_jax.report.depth_nets import having, nets
from cnn_jax.train import record


def write(file: Path) -> str:
    """Draws the figures of diagnostics.json (PNG, SVG) beside it; returns their paths for a terminal."""
    parts = record.read_json(file)
    lines = []
    for name, (part, what, draw, _) in FIGURES.items():
        if having(found := nets(parts[part]), what):
            plots.save(draw(found), file.parent / name)
            lines.append(f"{file.parent / name}.png")
    return "\n".join(lines)
