"""Sentences that are true of a scene of digits, made from their boxes by a small grammar.

    sentence  = count "digits, from left to right" digit ... "and" digit | "the tallest digit is" digit
              | digit place | digit place "," place
    place     = ("left of" | "right of" | "above" | "below") digit
    digit     = ("a" | "an") ("zero" | ... | "nine")

Left to right is by the centres of the boxes; one digit is left of, right of, above or below another by the axis along
which their centres are farther apart, the horizontal one if they are equally far.
"""

import numpy as np

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SENTENCES = 5  # of a scene, at most
LONGEST = 120  # letters


def describe(boxes: np.ndarray, labels: np.ndarray) -> list[str]:
    """True sentences of a scene, padded to SENTENCES with "".

    Args:
      boxes: (n, 4), x0, y0, x1, y1, two or more, no two of the tallest height.
      labels: int (n,).
    """
    names = [f"{'an' if DIGITS[label] == 'eight' else 'a'} {DIGITS[label]}" for label in labels]
    heights, centres = boxes[:, 3] - boxes[:, 1], boxes[:, :2] + boxes[:, 2:]
    in_line = [names[index] for index in np.argsort(centres[:, 0], kind="stable")]
    sentences = [
        f"{DIGITS[len(names)]} digits, from left to right {', '.join(in_line[:-1])} and {in_line[-1]}",
        f"the tallest digit is {names[int(heights.argmax())]}",
    ]
    for subject in np.argsort(-heights, kind="stable")[: SENTENCES - len(sentences)]:
        others = [index for index in range(len(names)) if index != subject]
        distance = {index: np.abs(centres[index] - centres[subject]).max() for index in others}
        nearest = sorted(others, key=lambda index: (distance[index], index))[:2]
        places = [f"{relation(centres[subject], centres[index])} {names[index]}" for index in nearest]
        sentences.append(f"{names[subject]} {', '.join(places)}")
    return sentences + [""] * (SENTENCES - len(sentences))


def relation(one: np.ndarray, other: np.ndarray) -> str:
    """Where one centre (x, y) is, seen from another."""
    across, down = one - other
    if abs(across) >= abs(down):
        return "left of" if across < 0 else "right of"
    return "above" if down < 0 else "below"
