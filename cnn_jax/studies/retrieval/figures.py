"""mAP against endpoint, and a sheet of queries with what was found."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from cnn_jax.report.plots import COLOURS, GREY, STYLE
from cnn_jax.retrieval.baselines import BASELINES
from cnn_jax.retrieval.descriptors import NONE, POOLINGS


def draw_endpoints(measured: Sequence[Mapping[str, Any]], parts: Sequence[str], title: str) -> Figure:
    """mAP (%) of each endpoint in the network's order, a line a pooling; what is a vector already has one point.

    Args:
      measured: of each network what `measure` gives; their means are drawn.
      parts: endpoints with their poolings, as they are written.
      title: of the figure.
    """
    endpoints = list(dict.fromkeys(part.partition(":")[0] for part in parts))
    with matplotlib.rc_context(STYLE | {"axes.spines.top": False}):
        page = Figure(figsize=(max(4.2, 0.5 * len(endpoints) + 1.6), 3.4), layout="constrained")
        axes = page.subplots()
        for pooling, colour, marker in zip((*POOLINGS, NONE), COLOURS, "osv^D", strict=False):
            found = [
                (place, 100 * overall(measured, name))
                for place, endpoint in enumerate(endpoints)
                if (name := endpoint if pooling == NONE else f"{endpoint}:{pooling}") in parts
            ]
            if found:
                label = "a vector already" if pooling == NONE else pooling
                lines = "none" if pooling == NONE else "-"
                axes.plot(
                    *zip(*found, strict=True), marker=marker, color=colour, markersize=4, linestyle=lines, label=label
                )
        for name, dashes in zip(BASELINES, (":", "--"), strict=True):
            axes.axhline(100 * overall(measured, name), color=GREY, linestyle=dashes, linewidth=1, label=name)
        axes.set_xticks(range(len(endpoints)), endpoints, rotation=45, ha="right")
        axes.set_ylabel("mAP (%)")
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color="#e4e4e4", linewidth=0.5)
        axes.legend(frameon=False, fontsize=6.5, ncols=2)
        page.suptitle(title, fontsize=8)
    return page


def overall(measured: Sequence[Mapping[str, Any]], name: str) -> float:
    """The mAP of a variant, over the networks."""
    return fmean(fmean(one["variants"][name]["average_precision"]) for one in measured)
