"""The figures of diagnostics.json: gradients, layer responses, lesions and constructions of plain and residual nets."""

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, PercentFormatter

from cnn_jax.report.cells import label
from cnn_jax.report.plots import COLOURS, GREY, KIND_COLOURS, STYLE, style_depth_axis
from cnn_jax.studies.depth.nets import Net, filter_measured, group_nets

KINDS = {
    "sigmoid": "sigmoid, plain",
    "tanh": "tanh, plain",
    "relu": "ReLU, plain",
    "relu_bn": "ReLU + BN, plain",
    "residual": "ReLU + BN, residual",
    "plain": "plain nets",
}


def make_panels(networks: Sequence[Net]) -> tuple[Figure, dict[str, Axes]]:
    """A figure with a panel for each kind, side by side, in the order of KINDS."""
    known = [*KINDS, *(net.kind for net in networks)]
    kinds = sorted({net.kind for net in networks}, key=known.index)
    if set(kinds) == {"plain", "residual"}:
        kinds = ["plain", "residual"]
    figure = Figure(figsize=(2.2 * len(kinds) + 0.8, 3.6) if len(kinds) > 2 else (3.75 * max(1.2, len(kinds)), 2.8))
    figure.set_layout_engine("constrained")
    axes_of_kinds = figure.subplots(1, max(1, len(kinds)), sharey=True, squeeze=False)[0]
    for axes, kind in zip(axes_of_kinds, kinds, strict=True):
        name = "residual nets" if kind == "residual" and len(kinds) <= 2 else KINDS.get(kind, kind)
        axes.set_title(name)
        axes.grid(axis="y", color="#e4e4e4", linewidth=0.5)
        axes.set_axisbelow(True)
    return figure, dict(zip(kinds, axes_of_kinds, strict=True))


def depth_colours(networks: Iterable[Net]) -> dict[int | None, str]:
    depths = sorted({net.depth for net in networks}, key=lambda depth: depth or 0)
    return {depth: COLOURS[i % len(COLOURS)] for i, depth in enumerate(depths)}


def plot_band(
    axes: Axes,
    lines: Sequence[Sequence[float]],
    mean: Callable[[Sequence[float]], float],
    x: Sequence[float],
    **style: Any,
) -> None:
    """The mean of lines of one length, and a band from the lowest to the highest of them."""
    points = list(zip(*lines, strict=True))
    axes.plot(x, [mean(point) for point in points], **style)
    if len(lines) > 1:
        low, high = [min(point) for point in points], [max(point) for point in points]
        axes.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)


def geometric_mean(values: Sequence[float]) -> float:
    """Their geometric mean, 0 where one of them is."""
    return math.exp(fmean(map(math.log, values))) if all(value > 0 for value in values) else 0.0


def decade_limits(values: Iterable[float | None]) -> tuple[float, float]:
    """Whole powers of ten around those above 0, the first and last far enough apart to be told."""
    logarithms = [math.log10(value) for value in values if value] or [0.0]
    low, high = math.floor(min(logarithms)), math.ceil(max(logarithms))
    return 10.0**low, 10.0 ** max(high, low + 1)


def gradients(networks: Sequence[Net]) -> Figure:
    """Norm of the loss's gradient by each kernel, log scale, from the first layer to the last: a panel a kind."""
    networks = filter_measured(networks, "gradient_norms")
    with matplotlib.rc_context(STYLE | {"axes.spines.top": False}):
        figure, axes = make_panels(networks)
        colour = depth_colours(networks)
        for (kind, depth), members in group_nets(networks).items():
            lines = [[norm or math.nan for norm in net.results["gradient_norms"].values()] for net in members]
            style: dict[str, Any] = {"color": colour[depth], "linewidth": 1.2, "label": depth}
            plot_band(axes[kind], lines, geometric_mean, range(1, len(lines[0]) + 1), **style)
        for panel in axes.values():
            panel.set_yscale("log")
            panel.set_ylim(
                *decade_limits(value for net in networks for value in net.results["gradient_norms"].values())
            )
            panel.yaxis.set_minor_formatter(NullFormatter())
            panel.set_xlabel("layer")
            panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        first, *_ = axes.values()
        first.set_ylabel("gradient norm")
        first.legend(title="depth", frameon=False)
    return figure


def responses(networks: Sequence[Net]) -> Figure:
    """Standard deviation of each layer's responses (He et al. 2016, Fig. 7): in layer order, and by magnitude."""
    networks = filter_measured(networks, "deviations")
    with matplotlib.rc_context(STYLE | {"axes.spines.top": False}):
        figure = Figure(figsize=(5.6, 5.2), layout="constrained")
        top, bottom = figure.subplots(2, 1)
        colour = depth_colours(networks)
        for (kind, depth), members in group_nets(networks).items():
            lines = [list(net.results["deviations"].values()) for net in members]
            x = range(1, len(lines[0]) + 1)
            dashes = (0, (3, 1.5)) if kind == "plain" else "-"
            style: dict[str, Any] = {"color": colour[depth], "linewidth": 1.3, "linestyle": dashes}
            plot_band(top, lines, fmean, x, label=label(kind, depth), **style)
            plot_band(bottom, [sorted(line, reverse=True) for line in lines], fmean, x, **style)
        for axes, order in ((top, "layer, in order"), (bottom, "layer, sorted by magnitude")):
            axes.set_xlabel(order)
            axes.set_ylabel("sd of responses")
            axes.set_ylim(bottom=0)
            axes.grid(axis="y", color="#e4e4e4", linewidth=0.5)
        top.legend(frameon=False, ncols=2)
    return figure


def lesions(networks: Sequence[Net]) -> Figure:
    """Test error without each block in turn (Veit et al. 2016, Fig. 3): a panel a kind; dotted: the whole network."""
    networks = filter_measured(networks, "lesions")
    with matplotlib.rc_context(STYLE | {"axes.spines.top": False}):
        figure, axes = make_panels(networks)
        colour = depth_colours(networks)
        for (kind, depth), members in group_nets(networks).items():
            lines = [net.results["lesions"]["error"] for net in members]
            x = range(1, len(lines[0]) + 1)
            style: dict[str, Any] = {"color": colour[depth], "linewidth": 1.2}
            plot_band(axes[kind], lines, fmean, x, marker="o", markersize=3, label=depth, **style)
            intact = fmean(net.results["lesions"]["intact"] for net in members)
            axes[kind].axhline(intact, color=colour[depth], linewidth=0.8, linestyle=":")
        _style_error_panels(axes, networks, "block removed")
    return figure


def multiple_lesions(networks: Sequence[Net]) -> Figure:
    """Test error without several blocks (Veit et al. 2016, Fig. 5 (a)): the median draw, and all draws as a band."""
    networks = filter_measured(networks, "lesions")
    with matplotlib.rc_context(STYLE | {"axes.spines.top": False}):
        figure, axes = make_panels(networks)
        colour = depth_colours(networks)
        for (kind, depth), members in group_nets(networks).items():
            measured = [net.results["lesions"] for net in members]
            draws = {0: [one["intact"] for one in measured], 1: [error for one in measured for error in one["error"]]}
            for one in measured:
                for entry in one["several"]:
                    draws.setdefault(entry["removed"], []).extend(entry["error"])
            means = [fmean(draws[removed]) for removed in sorted(draws)]
            axes[kind].plot(sorted(draws), means, "o-", color=colour[depth], markersize=3, linewidth=1.2, label=depth)
            low, high = ([of(draws[removed]) for removed in sorted(draws)] for of in (min, max))
            axes[kind].fill_between(sorted(draws), low, high, color=colour[depth], alpha=0.12, linewidth=0)
        _style_error_panels(axes, networks, "blocks removed at random")
    return figure


def _style_error_panels(axes: dict[str, Axes], networks: Sequence[Net], below: str) -> None:
    for panel in axes.values():
        for chance in {net.results["lesions"]["chance"] for net in networks}:
            panel.axhline(chance, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        panel.set_xlabel(below)
        panel.set_ylim(-0.02, 1)
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        panel.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
        panel.legend(title="depth", frameon=False, loc="best")
    next(iter(axes.values())).set_ylabel("test error (%)")


def construction(networks: Sequence[Net]) -> Figure:
    """Training error of plain nets against depth: what SGD found, and the shallowest nets with identities added."""
    plain = [net for net in networks if net.kind == "plain" and net.results.get("train_error") is not None]
    with matplotlib.rc_context(STYLE | {"axes.spines.top": False}):
        figure = Figure(figsize=(4.2, 3.2), layout="constrained")
        axes = figure.subplots()
        trained = [(net.depth, 100 * net.results["train_error"]) for net in plain]
        shallowest = min((net.depth for net in plain if net.depth), default=0)
        constructed = [point for net in plain if net.depth == shallowest for point in _construction_points(net)]
        lines = (
            (trained, KIND_COLOURS["plain"], "s-", "trained from scratch"),
            (constructed, COLOURS[2], "D--", f"plain-{shallowest} and identities"),
        )
        for points, colour, style, name in lines:
            if points:
                depths = sorted({depth for depth, _ in points if depth is not None})
                means = [fmean(error for there, error in points if there == depth) for depth in depths]
                axes.plot(*zip(*points, strict=True), ".", color=colour, alpha=0.5, markersize=4)
                axes.plot(depths, means, style, color=colour, markersize=4, linewidth=1.4, label=name)
        style_depth_axis(axes, sorted({net.depth for net in plain if net.depth}))
        axes.set_ylabel("training error (%)")
        axes.legend(frameon=False)
    return figure


def _construction_points(net: Net) -> list[tuple[int | None, float]]:
    deeper = [(one["depth"], 100 * one["train_error"]) for one in net.results["constructions"]]
    return [(net.depth, 100 * net.results["train_error"]), *deeper]


FIGURES: dict[str, tuple[str, str, Callable[[Sequence[Net]], Figure], str]] = {
    "gradients_at_start": (
        "initial",
        "gradient_norms",
        gradients,
        "L2 norm of the loss's gradient by each layer's kernel, before training, on one batch: geometric mean over "
        "seeds, band from the lowest to the highest. Sigmoid and tanh begin by Glorot & Bengio's rule, ReLU by He's.",
    ),
    "gradients_trained": (
        "networks",
        "gradient_norms",
        gradients,
        "The same of the trained networks, of their last checkpoints, in training mode.",
    ),
    "responses": (
        "networks",
        "deviations",
        responses,
        "After Fig. 7 of He et al. 2016: standard deviation of each layer's responses on test images, after batch "
        "normalisation and before the nonlinearity or addition; above in the order of the layers, below sorted by "
        "magnitude. Dashed: plain. Mean over seeds, band from the lowest to the highest.",
    ),
    "lesions": (
        "networks",
        "lesions",
        lesions,
        "Test error with one block removed, after Veit et al. 2016: mean over seeds, band from the lowest to the "
        "highest. Of a residual block the shortcut stays; a plain block becomes the identity, or where its shape "
        "changes every second pixel and channels of zeros. Dotted: the whole network. Dashed: guessing.",
    ),
    "several_lesions": (
        "networks",
        "lesions",
        multiple_lesions,
        "Test error with several blocks removed at random: mean over draws and seeds, band from the lowest to the "
        "highest.",
    ),
    "construction": (
        "networks",
        "constructions",
        construction,
        "Exact training error of plain nets. The constructed nets are the shallowest trained ones with added blocks "
        "that are identities (He et al. 2016, Section 1). A dot for every seed.",
    ),
}
