"""What a network sees: its first filters, its maps of an image, and the patches that excite a unit most.

Images are uint8 (N, H, W, C); `preprocess` makes of them what the network is shown, float32 (N, H', W', C).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from flax import linen as nn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnn_jax.config import ConfigError
from cnn_jax.data.batches import evaluation_indices
from cnn_jax.report.plots import STYLE

FIRST_CONVOLUTIONS = ("conv1", "conv1_1", "C1")
"""What the papers call their first convolution."""

Preprocess = Callable[[Any], jax.Array]


class Patch(NamedTuple):
    """Where a unit was excited: the image, by how much, and its pixels, as shown, [top, bottom) by [left, right)."""

    image: int
    activation: float
    top: int
    bottom: int
    left: int
    right: int


def first_filters(params: Mapping[str, Any]) -> np.ndarray:
    """The kernel of the first convolution, (f, f, C, D)."""
    (name,) = set(FIRST_CONVOLUTIONS) & set(params)
    (kernel,) = (
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(params[name])
        if jax.tree_util.keystr(path, simple=True, separator="/").endswith("kernel")
    )
    return np.asarray(kernel)


def compute_maps(model: nn.Module, variables: Any, preprocess: Preprocess, image: np.ndarray) -> dict[str, np.ndarray]:
    """Every endpoint for one image, in the network's order: name -> (H', W', C') or (C',)."""
    order: list[str] = []

    @jax.jit
    def endpoints(image: jax.Array) -> Any:
        ends = model.apply(variables, preprocess(image), train=False)[1]
        order[:] = ends  # jit gives a dict back in the order of its keys; the trace has the network's
        return ends

    ends = endpoints(image[None])
    return {name: np.asarray(ends[name][0]) for name in order}


def parse_units(texts: Sequence[str]) -> list[tuple[str, int]]:
    """`[("conv5", 3)]` of `["conv5:3"]`; raises ConfigError."""
    pairs = [text.rpartition(":") for text in texts]
    for endpoint, _, channel in pairs:
        if not endpoint or not channel.isdecimal():
            raise ConfigError(f"units {','.join(texts)}: write endpoint:channel, for instance conv5:0,conv5:3")
    return [(endpoint, int(channel)) for endpoint, _, channel in pairs]


def default_units(maps: Mapping[str, np.ndarray], count: int = 8) -> list[tuple[str, int]]:
    """The first `count` of the last endpoint that is a map."""
    last = [name for name, endpoint in maps.items() if endpoint.ndim == 3 and endpoint.shape[0] > 1][-1]
    return [(last, channel) for channel in range(min(count, maps[last].shape[-1]))]


def find_patches(
    model: nn.Module,
    variables: Any,
    preprocess: Preprocess,
    images: np.ndarray,
    units: Sequence[tuple[str, int]],
    count: int = 9,
    batch_size: int = 100,
) -> dict[tuple[str, int], list[Patch]]:
    """For each unit (endpoint, channel), the `count` images that excite it most, the strongest first.

    Of each image its strongest place counts, and the patch is the pixels that this place depends on there. A unit that
    no image excites has no patch. Zeiler & Fergus 2014, Fig. 2 (https://arxiv.org/abs/1311.2901) shows such patches.

    Raises ConfigError on an unknown endpoint or channel.
    """
    shapes = jax.eval_shape(lambda: model.apply(variables, preprocess(jnp.asarray(images[:1])))[1])
    for endpoint, channel in units:
        if endpoint not in shapes:
            raise ConfigError(f"no endpoint {endpoint!r}; choose from {', '.join(shapes)}")
        if not 0 <= channel < shapes[endpoint].shape[-1]:
            raise ConfigError(f"{endpoint} has the units 0 to {shapes[endpoint].shape[-1] - 1}, not {channel}")

    @jax.jit
    def strongest(batch: jax.Array) -> jax.Array:
        endpoints = model.apply(variables, preprocess(batch), train=False)[1]
        return jnp.stack([endpoints[name][..., channel].reshape(len(batch), -1).max(1) for name, channel in units], 1)

    @jax.jit
    def dependence(image: jax.Array, unit: jax.Array) -> jax.Array:
        def activation(seen: jax.Array) -> jax.Array:
            endpoints = model.apply(variables, seen, train=False)[1]
            return jnp.stack([endpoints[name][..., channel].max() for name, channel in units])[unit]

        return jnp.abs(jax.grad(activation)(preprocess(image[None]))[0]).max(axis=-1) > 0  # (H, W)

    batches = [(strongest(images[indices]), mask) for indices, mask in evaluation_indices(len(images), batch_size)]
    activations = np.concatenate([np.asarray(values)[mask] for values, mask in batches])  # (N, units)
    patches: dict[tuple[str, int], list[Patch]] = {}
    for number, unit in enumerate(units):
        patches[unit] = []
        for index in np.argsort(-activations[:, number], kind="stable")[:count].tolist():
            if activations[index, number] <= 0:
                break
            seen = np.asarray(dependence(images[index], number))
            rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
            box = (int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)
            patches[unit].append(Patch(index, float(activations[index, number]), *box))
    return patches


def draw_filters(kernel: np.ndarray, title: str) -> Figure:
    """Each filter as a small picture, scaled to its own range, as Fig. 3 of Krizhevsky et al. 2012."""
    filters = kernel.transpose(3, 0, 1, 2)
    columns = min(16, len(filters))
    rows = -(-len(filters) // columns)
    with matplotlib.rc_context(STYLE):
        page = Figure(figsize=(0.45 * columns, 0.45 * rows + 0.3), layout="constrained")
        for axes, one in zip(_make_grid(page, rows, columns), filters, strict=False):
            draw_image(axes, to_unit_range(one))
        page.suptitle(title, fontsize=8)
    return page


def to_unit_range(image: np.ndarray) -> np.ndarray:
    """What a network is shown, (H, W, C), scaled to [0, 1] for the eye."""
    return (image - image.min()) / max(float(np.ptp(image)), 1e-12)


def draw_maps(endpoints: Mapping[str, np.ndarray], image: np.ndarray, count: int, title: str) -> Figure:
    """The image, then a row an endpoint: its first `count` maps, each scaled to its own range, or its units as bars.

    `image` is (H, W, C) in [0, 1], as `to_unit_range` makes it.
    """
    with matplotlib.rc_context(STYLE):
        page = Figure(figsize=(0.8 * count, 0.8 * (len(endpoints) + 1)), layout="constrained")
        grid = page.add_gridspec(len(endpoints) + 1, count)
        draw_image(page.add_subplot(grid[0, 0]), image)
        for row, (name, endpoint) in enumerate(endpoints.items(), start=1):
            if endpoint.ndim == 1:
                first = page.add_subplot(grid[row, :])
                first.bar(np.arange(len(endpoint)), endpoint, width=1.0, color="#444444")
                first.set(xticks=[], yticks=[])
            else:
                cells = [page.add_subplot(grid[row, column]) for column in range(min(count, endpoint.shape[-1]))]
                for axes, one in zip(cells, endpoint.transpose(2, 0, 1), strict=False):
                    draw_image(axes, to_unit_range(one[..., None]))
                first = cells[0]
            first.set_title(f"{name} {'x'.join(map(str, endpoint.shape))}", loc="left", fontsize=6)
        page.suptitle(title, fontsize=8)
    return page


def draw_patches(
    patches: Mapping[tuple[str, int], Sequence[Patch]], images: Mapping[int, np.ndarray], title: str
) -> Figure:
    """A row a unit: its patches, the strongest first, with its activation; `images` by number, from `to_unit_range`."""
    columns = max([len(unit_patches) for unit_patches in patches.values()] + [1])
    with matplotlib.rc_context(STYLE):
        page = Figure(figsize=(0.8 * columns + 0.6, 0.95 * len(patches) + 0.3), layout="constrained")
        cells = _make_grid(page, len(patches), columns)
        for row, ((endpoint, channel), unit_patches) in enumerate(patches.items()):
            note = "" if unit_patches else ": no image excites it"
            cells[row * columns].set_title(f"{endpoint}:{channel}{note}", loc="left", fontsize=6)
            for axes, patch in zip(cells[row * columns :], unit_patches, strict=False):
                draw_image(axes, images[patch.image][patch.top : patch.bottom, patch.left : patch.right])
                axes.text(
                    0.5, -0.02, f"{patch.activation:.3g}", transform=axes.transAxes, ha="center", va="top", size=5
                )
        page.suptitle(title, fontsize=8)
    return page


def draw_image(axes: Axes, picture: np.ndarray) -> None:
    """(H, W, C) in [0, 1]: colour of three channels, else the first in grey."""
    axes.axis("off")
    axes.imshow(picture if picture.shape[-1] == 3 else picture[..., 0], cmap="gray", vmin=0, vmax=1)


def _make_grid(page: Figure, rows: int, columns: int) -> list[Axes]:
    cells = page.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes in cells:
        axes.axis("off")
    return cells
