"""The embedded data set with every kind of field: what it says of its scenes is true, and the same everywhere."""

import re

import jax
import numpy as np
import pytest

from cnn_jax import data
from cnn_jax.data import DataError
from cnn_jax.data.sources import digits
from cnn_jax.data.sources.digit_scenes import FIELDS, INK, SHARED, VISIBLE, enlarge, render, scene
from cnn_jax.data.sources.sentences import DIGITS
from tests import started

SPLITS = ("train", "test")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return data.load("digit_scenes", tmp_path_factory.mktemp("empty"), fields=tuple(FIELDS))


def objects(arrays, index):
    """`[(label, box), ...]` of a scene, from the back to the front."""
    count = arrays["box_mask"][index].sum()
    return list(zip(arrays["box_label"][index][:count], arrays["boxes"][index][:count].astype(int), strict=True))


def test_the_bytes_are_the_same_on_every_machine(scenes):
    assert scenes.fingerprint == "7a7ddc142270de25"
    assert [scenes.count(split) for split in SPLITS] == [2000, 500] and scenes.num_classes == 10
    shapes = {name: array.shape[1:] for name, array in scenes.splits["test"].items()}
    assert shapes == {
        "image": (64, 64, 1),
        "label": (),
        "label_map": (64, 64),
        "boxes": (4, 4),
        "box_label": (4,),
        "box_mask": (4,),
        "captions": (5,),
    }
    assert "captions" not in scenes.shapes() and scenes.class_names("label_map")[:2] == ("background", "zero")


def test_default_fields_are_an_image_and_its_class(scenes):
    plain = data.load("digit_scenes", validation=100)
    assert plain.fields == {name: FIELDS[name] for name in ("image", "label")}
    assert [plain.count(split) for split in ("train", "validation", "test")] == [1900, 100, 500]
    np.testing.assert_array_equal(plain.splits["test"]["image"], scenes.splits["test"]["image"])
    assert plain.fingerprint != scenes.fingerprint


def test_few_scenes_are_drawn_with_all_their_fields(scenes):
    few = data.draw(scenes, 50, 0).splits["train"]
    assert {name: len(array) for name, array in few.items()} == dict.fromkeys(FIELDS, 50)
    assert (few["label"][:, None] == few["box_label"]).any(axis=1).all()
    assert np.abs(np.bincount(few["label"]) - np.bincount(scenes.splits["train"]["label"]) / 40).max() <= 1


@pytest.mark.parametrize("split", SPLITS)
def test_boxes_labels_and_masks_agree(scenes, split):
    arrays = scenes.splits[split]
    count, mask, boxes = scenes.count(split), arrays["box_mask"], arrays["boxes"]
    np.testing.assert_array_equal(np.bincount(mask.sum(axis=1))[:2], [0, 0])
    assert not boxes[~mask].any() and (boxes[mask] >= 0).all() and (boxes <= 64).all()
    assert (boxes[mask][:, 2:] - boxes[mask][:, :2] >= 3).all()
    heights = boxes[..., 3] - boxes[..., 1]
    np.testing.assert_array_equal(arrays["label"], arrays["box_label"][np.arange(count), heights.argmax(axis=1)])
    ordered = np.sort(heights, axis=1)
    assert (ordered[:, -1] - ordered[:, -2] >= 4).all()
    for index in range(count):
        found = objects(arrays, index)
        inside = np.zeros((64, 64), bool)
        for place, (label, (x0, y0, x1, y1)) in enumerate(found):
            inside[y0:y1, x0:x1] = True
            assert (arrays["label_map"][index, y0:y1, x0:x1] == 1 + label).any()
            for _, (a0, b0, a1, b1) in found[:place]:
                both = max(0, min(x1, a1) - max(x0, a0)) * max(0, min(y1, b1) - max(y0, b0))
                assert both <= SHARED * min((x1 - x0) * (y1 - y0), (a1 - a0) * (b1 - b0))
        assert not arrays["label_map"][index][~inside].any()


def sources(labels, images, arrays, index, place):
    """Which of the digits can have been drawn there: they fill what is seen of it, and the rest is hidden in front."""
    found = objects(arrays, index)
    label, (x0, y0, x1, y1) = found[place]
    patch, hidden = arrays["label_map"][index, y0:y1, x0:x1], np.zeros((64, 64), bool)
    for _, (a0, b0, a1, b1) in found[:place] + found[place + 1 :]:
        hidden[b0:b1, a0:a1] = True
    hidden = hidden[y0:y1, x0:x1]
    for which in np.flatnonzero(labels == label):
        ink = render(images[which].tobytes(), y1 - y0) >= INK
        if ink.shape == patch.shape and ((patch == 1 + label) == ink)[~hidden].all() and patch[ink].all():
            yield which, (patch == 1 + label)[ink].mean(), hidden.any()


@pytest.mark.parametrize(("split", "other"), [SPLITS, SPLITS[::-1]])
def test_each_digit_is_one_of_its_split_and_of_no_other_and_is_seen(scenes, split, other):
    arrays, of_other = scenes.splits[split], 0
    (own, own_labels), (theirs, their_labels) = (digits.split(test=name == "test")[1:] for name in (split, other))
    for index in range(40):
        for place in range(arrays["box_mask"][index].sum()):
            found = list(sources(own_labels, own, arrays, index, place))
            assert found and max(share for _, share, _ in found) >= VISIBLE
            if not found[0][2]:
                of_other += len(list(sources(their_labels, theirs, arrays, index, place)))
    assert of_other == 0
    assert not set(digits.split(test=True)[0]) & set(digits.split(test=False)[0])


def test_digits_are_enlarged_as_others_do_it():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8))
    for size in (8, 13, 32, 64):
        with jax.enable_x64():
            theirs = np.asarray(jax.image.resize(pixels.astype(np.float64), (size, size), "bilinear"))
        assert np.abs(enlarge(pixels, size) - theirs).max() <= 0.5 + 1e-9
    np.testing.assert_array_equal(enlarge(pixels, 8), pixels)


def holds(relation, one, other):
    across, down = ((one[axis] + one[axis + 2]) - (other[axis] + other[axis + 2]) for axis in (0, 1))
    sideways = abs(across) >= abs(down)
    return {
        "left of": sideways and across < 0,
        "right of": sideways and across >= 0,
        "above": not sideways and down < 0,
        "below": not sideways and down > 0,
    }[relation]


def is_true(sentence, found):
    """A second reading of the grammar: whether there are digits of which the sentence says what is so."""
    named = [(DIGITS[label], box) for label, box in found]
    if counted := re.fullmatch(r"(\w+) digits, from left to right (.*)", sentence):
        listed = re.findall(r"an? (\w+)", counted[2])
        in_line = [name for name, _ in sorted(named, key=lambda one: one[1][0] + one[1][2])]
        return DIGITS[len(found)] == counted[1] and listed == in_line
    if tallest := re.fullmatch(r"the tallest digit is an? (\w+)", sentence):
        return max(named, key=lambda one: one[1][3] - one[1][1])[0] == tallest[1]
    subject, rest = re.fullmatch(r"an? (\w+) (.*)", sentence).groups()
    places = [re.fullmatch(r"(left of|right of|above|below) an? (\w+)", place).groups() for place in rest.split(", ")]
    return any(
        name == subject
        and all(
            any(
                other == what and index != at and holds(relation, box, there) for at, (other, there) in enumerate(named)
            )
            for relation, what in places
        )
        for index, (name, box) in enumerate(named)
    )


@pytest.mark.parametrize("split", SPLITS)
def test_captions_are_true(scenes, split):
    arrays, said = scenes.splits[split], set()
    for index, captions in enumerate(arrays["captions"]):
        sentences = [sentence for sentence in captions if sentence]
        assert len(sentences) == (4 if arrays["box_mask"][index].sum() == 2 else 5) and captions[0]
        assert all(is_true(sentence, objects(arrays, index)) for sentence in sentences), captions
        said.update(sentences)
        assert "a eight" not in " ".join(sentences) and not re.search(r"\ban (?!eight)", " ".join(sentences))
    assert len(said) > 500
    wrong = [is_true(arrays["captions"][index + 1][2], objects(arrays, index)) for index in range(100)]
    assert np.mean(wrong) < 0.2  # the reading can say no


@pytest.mark.parametrize(("size", "most"), [(96, 5), (128, 6)])
def test_larger_scenes_have_more_and_larger_digits(size, most):
    _, images, labels = digits.split(test=True)
    found = [scene(images, labels, size, (1, index)) for index in range(30)]
    assert max(one["box_mask"].sum() for one in found) == most and found[0]["image"].shape == (size, size, 1)
    heights = np.stack([one["boxes"][:, 3] - one["boxes"][:, 1] for one in found])
    assert size * 24 // 64 <= heights.max(axis=1).min() and heights.max() <= size // 2


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("digit_scenes/100", {}, "choose from digit_scenes, digit_scenes/64, digit_scenes/96, digit_scenes/128"),
        ("digit_scenes", {"streamed": True}, "made in memory and cannot be streamed: leave data.crop out"),
        (
            "digit_scenes",
            {"fields": ("image", "masks")},
            "has no field 'masks'; its fields are image, label, label_map",
        ),
    ],
)
def test_what_it_has_not_is_one_line(name, more, message):
    with pytest.raises(DataError, match=message):
        data.load(name, **more)


def test_it_is_trained_on_as_any_other(tmp_path):
    flags = ["--dataset=digit_scenes", "--model=resnet8", "--width=4", "--set=batch_size=32", "--set=steps=4"]
    flags += ["--set=data.average_pool=4", "--set=data.train_examples=100"]
    done = started.run_page("train", *flags, "--set=evaluations=1", "--noprogress", f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "test error" in done.stdout
