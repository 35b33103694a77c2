"""The page of diagnostics.json: figures, a table and verdicts, rebuilt from that file alone."""

import csv
import io
from pathlib import Path

from cnn_jax.report import claims, depth_claims, plots
from cnn_jax.report.depth_figures import FIGURES
from cnn_jax.report.depth_nets import HEADER, having, nets, table
from cnn_jax.train import record


def write(file: Path) -> str:
    """Writes the figures (PNG, SVG), networks.csv and claims.json beside diagnostics.json.

    Returns the table and the verdicts as text for a terminal.
    """
    parts = {name: nets(part) for name, part in (record.read_json(file) or {}).items()}
    for name, (part, what, draw, _) in FIGURES.items():
        if having(parts[part], what):
            plots.save(draw(parts[part]), file.parent / name)
    rows, text = [list(HEADER), *table(parts["networks"])], io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    record.write_atomically(file.parent / "networks.csv", text.getvalue())
    verdicts = depth_claims.judge(parts["initial"], parts["networks"])
    claims.write(verdicts, file.parent / "claims.json")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    told = [f"{verdict['verdict']}: {verdict['claim']}\n    {verdict['sentence']}" for verdict in verdicts]
    return "\n".join([*(lines if parts["networks"] else []), "", *told, "", str(file.parent)])
