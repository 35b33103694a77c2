"""What an evaluation leaves behind: of each class its accuracy, which is taken for which, the worst mistakes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.data import stream
from cnn_jax.data.dataset import select
from cnn_jax.data.stream.squares import squares
from cnn_jax.evaluation.answers import NONE, Answers, accuracies, confident_mistakes, confusion, most_confused
from cnn_jax.report import tables

MISTAKES = 24
"""Images of the sheet."""
PAIRS = 30
"""Bars of the figure that many classes have in place of a matrix."""
SHOWN = 20
"""Classes up to which the printed table has them all; of more it has half as many, the worst."""
SIDE = 160
"""Pixels of the streamed images of the sheet."""


def class_rows(confused: np.ndarray, answers: Answers, names: Sequence[str]) -> list[dict[str, Any]]:
    """A row of classes.csv a class: what `accuracies` says of it, and what is said most often of it that is wrong."""
    rows = []
    wrong = confused - np.diag(np.diag(confused))
    for number, one in enumerate(accuracies(answers.labels, answers.said, len(names))):
        other = int(wrong[number].argmax())
        often = int(wrong[number, other])
        taken = {"mistaken_for": names[other] if often else None, "mistaken": often}
        rows.append({"number": number, "class": names[number], **one, **taken})
    return rows


def write(
    folder: Path, answers: Answers, names: Sequence[str], examples: Mapping[str, Any] | stream.Encoded, about: str
) -> str:
    """Writes what the answers say of the classes into the folder, and returns what is to be printed of it.

    classes.csv       a row a class, see `class_rows`
    confusion.csv     images of each class, a row, by the class they were said to be of, a column
    confusion.png     the same (and .svg); of many classes the pairs that are confused most
    mistakes.png      the images of which the network was surest, and wrong

    Args:
      folder: there already.
      answers: with labels.
      names: of the classes.
      examples: what was answered, for the images of the sheet.
      about: what the figures' titles call it.
    """
    from cnn_jax.report import confusion as figures  # matplotlib takes a second to import
    from cnn_jax.report import examples as sheets
    from cnn_jax.report.plots import save

    confused = confusion(answers.labels, answers.said, len(names))
    rows = class_rows(confused, answers, names)
    tables.write_csv(rows, list(rows[0]), folder / "classes.csv")
    header = ["true class", *(f"{number} {name}" for number, name in enumerate(names))]
    cells = [
        dict(zip(header, [one, *row], strict=True)) for one, row in zip(header[1:], confused.tolist(), strict=True)
    ]
    tables.write_csv(cells, header, folder / "confusion.csv")
    if len(names) <= figures.READABLE:
        figure = figures.draw_matrix(confused, names, about)
    else:
        pairs = [
            (names[true], names[said], count, rows[true]["examples"])
            for true, said, count in most_confused(confused, PAIRS)
        ]
        figure = figures.draw_pairs(pairs, f"{about}: the classes confused most")
    save(figure, folder / "confusion")
    worst = confident_mistakes(answers, MISTAKES)
    captions = [caption(answers, int(index), names) for index in worst]
    wrong = int((answers.said != answers.labels).sum())
    title = f"{about}: {len(worst)} of {wrong:,} mistakes, the surest first"
    sheets.save(sheets.draw_sheet(pictures(examples, worst), captions, title), folder / "mistakes.png")
    return (
        describe(rows, confused, answers, names)
        + f"\n{folder}: classes.csv, confusion.csv, confusion.png, mistakes.png"
    )


def pictures(examples: Mapping[str, Any] | stream.Encoded, indices: np.ndarray) -> list[np.ndarray]:
    """These images as they are, of a streamed split their middles."""
    if not len(indices):
        return []
    chosen = select(examples, indices)
    return list((chosen if isinstance(chosen, Mapping) else squares(chosen, SIDE, None))["image"])


def caption(answers: Answers, index: int, names: Sequence[str]) -> tuple[str, str]:
    """What stands above an image of the sheet and below: its class, and what was said with which probability."""
    from cnn_jax.report.confusion import shorten

    chance = 100 * answers.probabilities[index, 0]
    return shorten(names[answers.labels[index]]), f"said {shorten(names[answers.said[index]])}, {chance:.1f} %"


def describe(rows: Sequence[Mapping[str, Any]], confused: np.ndarray, answers: Answers, names: Sequence[str]) -> str:
    """The table of the classes, of many the worst of them, and a line where images have no answer."""
    there = [row for row in rows if row["examples"]]
    if len(there) > SHOWN:
        there = sorted(there, key=lambda row: row["accuracy"])[: SHOWN // 2]
    lines = [
        (row["class"], f"{row['examples']:,}", f"{100 * row['accuracy']:.2f}", row["mistaken_for"] or "–")
        for row in there
    ]
    text = tables.format_table(("class", "images", "accuracy %", "mistaken for"), lines)
    if len(there) < len(rows):
        text += f"\nthe worst of {len(rows)} classes"
    none = int((answers.said == NONE).sum())
    return text + f"\n{none} images have no answer: the network's numbers are not finite" * bool(none)
