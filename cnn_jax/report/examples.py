"""A data set for the eye: what its fields are, and a sheet of examples with all that is known of them."""

import colorsys
import io
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cnn_jax.data.dataset import VOID, Dataset, Field
from cnn_jax.report.plots import GREY, STYLE
from cnn_jax.train.record import write_atomically

RIGHT = "#009E73"
"""The frame of what is right."""
SHOWN = 20  # class names, of however many
LETTERS = 72  # of a caption, in a line


def summarize(dataset: Dataset) -> str:
    """Splits with their sizes; a line for each field of it: its kind, its shape, its classes."""
    sizes = ", ".join(f"{split} {dataset.count(split):,}" for split in dataset.splits)
    lines = [f"{dataset.name}: {sizes}; fingerprint {dataset.fingerprint}"]
    first = next(iter(dataset.splits.values()))
    for name, field in dataset.fields.items():
        shape = "streamed" if dataset.streamed else f"{first[name].dtype} {first[name].shape[1:]}"
        classes = f"{len(field.names)} classes: {abbreviate(field.names)}" if field.names else ""
        lines.append(f"  {name:<12} {field.kind:<10} {shape:<20} {classes}".rstrip())
    for name, field in dataset.fields.items():
        if field.kind == "label" and not dataset.streamed:
            for split, arrays in dataset.splits.items():
                counts = np.bincount(arrays[name], minlength=len(field.names))
                each = abbreviate([f"{one} {count}" for one, count in zip(field.names, counts, strict=True)])
                lines.append(f"  {name} in {split}: {each}")
    if dataset.damaged:
        lines.append(
            f"  {len(dataset.damaged)} images cannot be decoded and are left out: {abbreviate(dataset.damaged)}"
        )
    return "\n".join([*lines, *(f"  {note}" for note in dataset.notes)])


def abbreviate(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def colour(number: int) -> tuple[float, float, float]:
    """That of a class: neighbours far apart on the colour wheel, by the golden ratio."""
    return colorsys.hsv_to_rgb(number * 0.618034 % 1, 0.75, 0.95)


def draw(examples: Mapping[str, np.ndarray], fields: Mapping[str, Field], title: str, columns: int = 4) -> Figure:
    """Each example with its labels above, its boxes and their classes in it, its label map beside, its captions below.

    Args:
      examples: field name -> (N, ...), see `Field`.
      fields: what each of them is.
      title: of the sheet.
      columns: of examples.
    """
    names = {field.kind: name for name, field in fields.items()}
    parts = 2 if "label_map" in names else 1
    lines = 7 if "captions" in names else 0
    count = len(examples[names["image"]])
    rows, width, height = -(-count // columns), 1.3 * parts + 0.1, 1.5 + 0.085 * lines
    with matplotlib.rc_context(STYLE):
        page = Figure(figsize=(columns * width + 0.1, rows * height + 0.3))
        across, down = page.get_size_inches()
        for index in range(count):
            left, bottom = index % columns * width + 0.1, (rows - 1 - index // columns) * height + 0.085 * lines
            cells = [
                page.add_axes(((left + 1.3 * part) / across, bottom / down, 1.25 / across, 1.25 / down))
                for part in range(parts)
            ]
            example = {name: examples[name][index] for name in fields}
            show_image(cells[0], example, fields, names)
            if "label_map" in names:
                show_label_map(cells[1], example[names["label_map"]])
            if "captions" in names:
                said = [textwrap.fill(one, LETTERS) for one in example[names["captions"]] if one]
                below = {"transform": cells[0].transAxes, "va": "top", "linespacing": 1.15, "fontsize": 4.6}
                cells[0].text(0, -0.03, "\n".join(said), below)
        page.suptitle(title, fontsize=8, y=1 - 0.06 / down, va="top")
    return page


def draw_sheet(
    images: Sequence[np.ndarray],
    captions: Sequence[tuple[str, str]],
    title: str,
    columns: int = 6,
    frames: Sequence[str | None] = (),
) -> Figure:
    """Each image, uint8 (H, W, C) of any size, with a line above it and one below, at times none at all.

    `frames` are the colours of a frame around each, None of no frame; without any there are none.
    """
    rows = -(-len(images) // columns)
    with matplotlib.rc_context(STYLE):
        page = Figure(figsize=(1.4 * columns + 0.1, 1.65 * rows + 0.3))
        across, down = page.get_size_inches()
        for index, (image, (above, below)) in enumerate(zip(images, captions, strict=True)):
            left, bottom = 1.4 * (index % columns) + 0.1, 1.65 * (rows - 1 - index // columns) + 0.2
            axes = page.add_axes((left / across, bottom / down, 1.25 / across, 1.25 / down))
            show_pixels(axes, image)
            if frames and frames[index]:
                frame = Rectangle(
                    (0, 0), 1, 1, fill=False, linewidth=3, edgecolor=frames[index], transform=axes.transAxes
                )
                axes.add_patch(frame)
            axes.set_title(above, fontsize=6, pad=2, loc="left")
            axes.text(0, -0.03, below, transform=axes.transAxes, va="top", fontsize=6, color="#B03A00")
        page.suptitle(title, fontsize=8, y=1 - 0.06 / down, va="top")
    return page


def show_pixels(axes: Axes, image: np.ndarray) -> None:
    """uint8 (H, W, C): colour of three channels, else the first in grey."""
    axes.axis("off")
    axes.imshow(image if image.shape[-1] == 3 else image[..., 0], cmap="gray", vmin=0, vmax=255)


def show_image(axes: Axes, example: Mapping[str, Any], fields: Mapping[str, Field], names: Mapping[str, str]) -> None:
    image = example[names["image"]]
    show_pixels(axes, image)
    labels = [field.names[example[name]] for name, field in fields.items() if field.kind == "label"]
    axes.set_title(textwrap.shorten(", ".join(labels), 30, placeholder="..."), fontsize=6, pad=2, loc="left")
    if "boxes" not in names:
        return
    boxes = example[names["boxes"]]
    mask = example[names["box_mask"]] if "box_mask" in names else boxes[:, 2] > boxes[:, 0]
    for index in np.flatnonzero(mask):
        x0, y0, x1, y1 = boxes[index] - 0.5  # a pixel's centre is where its number is
        label = int(example[names["box_label"]][index]) if "box_label" in names else 0
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, linewidth=0.7, edgecolor=colour(label)))
        if "box_label" in names:
            text = fields[names["box_label"]].names[label]
            axes.text(x0, y0 - 0.5, text, fontsize=4.6, color=colour(label), va="bottom", clip_on=True)


def show_label_map(axes: Axes, label_map: np.ndarray) -> None:
    """Class 0 black, as the background often is, others coloured as their boxes are where those have no background."""
    colours = np.array([(0, 0, 0), *(colour(number) for number in range(VOID))])
    colours[VOID] = matplotlib.colors.to_rgb(GREY)
    axes.axis("off")
    axes.imshow(colours[label_map], interpolation="nearest")


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Writes a PNG atomically, byte for byte the same for the same figure."""
    content = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(content, format="png", dpi=160, metadata={})
    write_atomically(Path(path), content.getvalue())
