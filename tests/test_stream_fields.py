"""All that lies in a streamed image is cropped, resized and mirrored with it, in training and in evaluation."""

import io

import numpy as np
import pytest
from absl import flags
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnn_jax.data import stream
from cnn_jax.data.dataset import AS_STORED, Dataset, Field
from cnn_jax.data.stream import squares
from cnn_jax.data.stream.pictures import Augmentation, augment_example
from cnn_jax.data.stream.views import Middle, show

KINDS = {name: name for name in ("image", "label_map", "boxes", "box_mask", "captions")}


def example(width, height, boxes):
    """Red tells the column and green the row, in steps that interpolation leaves; the label map tells both."""
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([columns, rows, 0 * rows], axis=-1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    boxes = np.concatenate([np.array(boxes, np.float32).reshape(-1, 4), np.zeros((1, 4), np.float32)])
    return {
        "image": file.getvalue(),
        "label_map": (columns // 16 + 16 * (rows // 16)).astype(np.uint8),
        "boxes": boxes,
        "box_mask": np.arange(len(boxes)) < len(boxes) - 1,
        "captions": np.array(["a ramp", ""]),
    }


def assert_together(before, after):
    """Where the image says (row, column), the label says the same; a box encloses the pixels it enclosed."""
    column, row = after["image"][..., 0].astype(int), after["image"][..., 1].astype(int)
    told = after["label_map"].astype(int)
    assert np.abs(told % 16 * 16 + 7.5 - column).max() <= 9 and np.abs(told // 16 * 16 + 7.5 - row).max() <= 9
    size = len(row)
    for (x0, y0, x1, y1), new, mask in zip(before["boxes"], after["boxes"], after["box_mask"], strict=True):
        inside = (column >= x0 + 1) & (column < x1 - 1) & (row >= y0 + 1) & (row < y1 - 1)
        around = (column >= x0 - 2) & (column < x1 + 2) & (row >= y0 - 2) & (row < y1 + 2) & (x1 > x0)
        if not mask:
            assert not inside.any() and not new.any()
            continue
        centres = np.arange(size) + 0.5
        new_inside = ((centres > new[0]) & (centres < new[2])) & ((centres > new[1]) & (centres < new[3]))[:, None]
        assert (new_inside | ~inside).all() and (around | ~new_inside).all()
        assert (new >= 0).all() and (new <= size).all() and new[2] > new[0] and new[3] > new[1]


sizes = st.integers(40, 120)


@st.composite
def examples(draw):
    width, height = draw(sizes), draw(sizes)
    x0, y0 = draw(st.integers(0, width - 12)), draw(st.integers(0, height - 12))
    box = (x0, y0, draw(st.integers(x0 + 8, width)), draw(st.integers(y0 + 8, height)))
    return example(width, height, [box, (0, 0, width, height)])


@given(examples(), st.booleans(), st.booleans(), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_in_training(before, by_area, flip, seed):
    augmentation = Augmentation(24, (28, 40), area=(0.2, 1.0) if by_area else (), flip=flip)
    after = augment_example(before, KINDS, "", augmentation, np.random.default_rng(seed))
    assert_together(before, after)
    slope = after["image"][12, -1, 0] > after["image"][12, 0, 0]
    assert slope or flip


class Split:
    """A `stream.Encoded` of such examples."""

    kinds = KINDS
    decoding = AS_STORED

    def __init__(self, examples):
        self.examples = examples

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, indices):
        return Split([self.examples[index] for index in indices])

    def read(self, index):
        return self.examples[index]

    def name(self, index):
        return f"ramp {index}"


RAMPS = Split([example(50 + index, 60, [(10, 10, 40, 40)]) for index in range(6)])


@given(examples(), st.sampled_from([(24, 28), (24, 24), (40, 44)]))
@settings(max_examples=100, deadline=None)
def test_in_evaluation(before, sides):
    assert_together(before, show(Middle(*sides), Split([before]), 0))


def test_batches_have_all_that_devices_hold():
    flags.FLAGS.mark_as_parsed()
    dataset = Dataset("ramps", {"train": RAMPS}, {name: Field(kind) for name, kind in KINDS.items()}, "0")
    trained = stream.training(
        RAMPS, batch_size=4, seed=0, first_step=0, steps=2, share=(0, 1), augmentation=Augmentation(24, (28,))
    )
    tested = stream.evaluation(RAMPS, batch_size=4, share=(0, 1), shown=Middle(24, 28))
    for batch in (*trained, *tested):
        fields = {name: array for name, array in batch.items() if name != "mask"}
        assert {name: (array.shape[1:], array.dtype) for name, array in fields.items()} == dataset.shapes(24)


@pytest.mark.parametrize("count", [2, 6])
def test_in_memory_all_fields_are_those_of_the_middle(count):
    fields = squares.squares(RAMPS, 32, count)
    assert fields.keys() == KINDS.keys() and fields["captions"].tolist() == [["a ramp", ""]] * count
    for index in range(count):
        assert_together(RAMPS.read(index), {name: array[index] for name, array in fields.items()})
