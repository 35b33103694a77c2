"""The page dataset: what it says of data sets in memory and streamed, and the sheets that it draws."""

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data.dataset import Field
from cnn_jax.report import examples
from tests import started
from tests.started import read_refusal


def show(tmp_path, *flags):
    """`(what is printed, the sheet uint8 (H, W, 3))`."""
    done = started.run_page("dataset", f"--workdir={tmp_path}", *flags)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "examples.png")
    return done.stdout, np.asarray(Image.open(tmp_path / "examples.png").convert("RGB"))


def test_every_field_of_the_scenes_is_told_and_drawn(tmp_path):
    text, sheet = show(tmp_path, "--examples=4")
    assert text.startswith("digit_scenes: train 2,000, test 500; fingerprint 7a7ddc142270de25\n")
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines()[1:8]}
    assert list(lines) == ["image", "label", "label_map", "boxes", "box_label", "box_mask", "captions"]
    assert lines["boxes"][:3] == ["boxes", "float32", "(4,"] and "background," in lines["label_map"]
    assert "label in test: zero 57, one 42" in text
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 200  # colours of boxes and maps among the greys
    first = (tmp_path / "examples.png").read_bytes()
    show(tmp_path, "--examples=4")
    assert (tmp_path / "examples.png").read_bytes() == first
    assert not np.array_equal(show(tmp_path, "--examples=4", "--seed=1")[1], sheet)


def test_fewer_fields_and_another_split(tmp_path, digits_dir):
    text, _ = show(tmp_path, "--dataset=digits", f"--data_dir={digits_dir}", "--split=test", "--fields=label")
    assert text.startswith("digits: train 1,437, test 360; fingerprint 05914a152e8d94a7\n")


def test_an_image_folder_is_streamed(tmp_path, insects_dir):
    text, sheet = show(tmp_path, f"--dataset={insects_dir}/insects/", "--examples=3", "--size=32")
    assert "insects: train 33, test 9" in text and "3 classes: ant, bee, cow" in text and "streamed" in text
    assert sheet.std() > 10


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--split=valid"], "--split=valid: digit_scenes has train, test"),
        (["--fields=mask"], "dataset 'digit_scenes' has no field 'mask'; its fields are image, label"),
    ],
)
def test_what_there_is_not_is_one_line(flags, message, tmp_path):
    assert message in read_refusal("dataset", f"--workdir={tmp_path}", *flags)


def test_boxes_are_drawn_around_their_pixels():
    """A white square on black: the frame is the only colour, and lies around the square."""
    image = np.zeros((1, 20, 20, 1), np.uint8)
    image[0, 5:10, 8:16] = 255
    arrays = {"image": image, "boxes": np.array([[[8, 5, 16, 10], [0, 0, 0, 0]]], np.float32)}
    figure = examples.draw(arrays, {"image": Field("image"), "boxes": Field("boxes")}, "")
    (axes,) = figure.axes
    (frame,) = axes.patches
    assert frame.get_bbox().extents.tolist() == [7.5, 4.5, 15.5, 9.5]
