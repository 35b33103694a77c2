"""What an evaluation prints: a table to read, and a last line of JSON."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.evaluation.answers import NONE
from cnn_jax.evaluation.predict import Predictions, likeliest
from cnn_jax.evaluation.protocol import Protocol
from cnn_jax.report import tables
from cnn_jax.train.record import replace_nonfinite

ROWS = 5
"""Of the first files, in a table."""
CLASSES = 20
"""In the count of images by class."""


def print_errors(about: dict[str, Any], protocol: Protocol, split: str, result: dict[str, Any]) -> None:
    """Prints a table of it all, then one line of JSON, errors as fractions."""
    named = {f"{split}_{name}" if name in ("loss", "error") else name: value for name, value in result.items()}
    errors = {name: f"{100 * value:.2f} %" for name, value in named.items() if name.endswith("error")}
    rest = {name: f"{value:,.6g}" for name, value in named.items() if name not in errors}
    table = about | {"parameters": f"{about['parameters']:,}", "protocol": str(protocol)} | errors | rest
    print("\n".join(f"{name.replace('_', ' '):<30} {value}" for name, value in table.items()))
    how = {"crops": protocol.crops, "crop": protocol.size, "scales": protocol.scales, "dense": protocol.dense}
    print(json.dumps(about | {"protocol": how} | replace_nonfinite(named), allow_nan=False))


def print_predictions(predictions: Predictions, path: Path) -> None:
    """Prints where the predictions are and what they say, then one line of JSON."""
    count = len(predictions.files)
    print(f"{path}: {count:,} image{'s' if count > 1 else ''}\n")
    if count == 1:
        print_likeliest(predictions)
        return
    print(describe(predictions))
    print(json.dumps({"output": str(path), "images": len(predictions.files), "damaged": len(predictions.damaged)}))


def print_likeliest(predictions: Predictions) -> None:
    """Prints the likeliest classes of one file, then the same in one line of JSON."""
    likely = likeliest(predictions, 0)
    numbers = predictions.answers.classes[0].tolist()
    five = [
        {"class": number, "name": name, "probability": chance}
        for number, (name, chance) in zip(numbers, likely, strict=False)
    ]
    print("\n".join(f"class {one['class']:>5} {100 * one['probability']:8.3f} %  {one['name']}" for one in five))
    print(json.dumps({"image": printable(predictions.files[0]), "top5": five}))


def describe(predictions: Predictions) -> str:
    """The first files with their classes, how many are said to be of each, and how many folders agree."""
    files, answers = predictions.files, predictions.answers
    first = [[printable(file), *first_likeliest(predictions, index)] for index, file in enumerate(files[:ROWS])]
    text = tables.format_table(("file", "class", "probability %"), first)
    text += f"\nand {len(files) - ROWS:,} more\n" if len(files) > ROWS else "\n"
    counts = np.bincount(answers.said[answers.said != NONE], minlength=len(predictions.class_names))
    order = [number for number in np.argsort(-counts, kind="stable")[:CLASSES] if counts[number]]
    names = [(predictions.class_names[number], f"{counts[number]:,}") for number in order]
    text += "\n" + tables.format_table(("class", "images"), names)
    rest = np.count_nonzero(counts) - len(order)
    text += f"\nand {int(counts.sum() - counts[order].sum()):,} images of {rest} other classes" * bool(rest)
    return "\n".join([text, "", *remarks(predictions)]).rstrip()


def remarks(predictions: Predictions) -> list[str]:
    """Sentences on what is special: folders that are named after classes, images without an answer or left out."""
    answers, lines = predictions.answers, []
    if known := int((answers.labels >= 0).sum()):
        right = int((answers.said == answers.labels)[answers.labels >= 0].sum())
        lines.append(
            f"{known:,} of {len(answers.said):,} images are in a folder named after a class: "
            f"{100 * right / known:.2f} % of them, {right:,}, are said to be of it"
        )
    if none := int((answers.said == NONE).sum()):
        lines.append(f"{none:,} images have no answer: the network's numbers are not finite")
    if predictions.damaged:
        lines.append(f"left out, for they cannot be decoded, {len(predictions.damaged):,}:")
        lines += [f"  {printable(file)}" for file in predictions.damaged]
    return lines


def first_likeliest(predictions: Predictions, index: int) -> tuple[str, str]:
    """The class and its probability, as a table has them."""
    return next(((name, f"{100 * chance:.2f}") for name, chance in likeliest(predictions, index)), ("–", "–"))


def printable(file: str) -> str:
    """The path, with a question mark for what of its name is no text."""
    return os.fsencode(file).decode(errors="replace")
