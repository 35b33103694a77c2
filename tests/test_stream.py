"""Streamed images: the same batches however they are decoded, and pixels that a second implementation agrees with."""

import io
import os
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnn_jax import data, evaluation, presets, tasks
from cnn_jax.config import override
from cnn_jax.data import DataError, stream
from cnn_jax.data.batches import epoch_order, training_indices
from cnn_jax.data.dataset import AS_STORED, Decoding
from cnn_jax.data.stream import pictures
from cnn_jax.data.stream.pictures import Augmentation, augment_example, random_box
from cnn_jax.data.stream.views import show
from cnn_jax.evaluation import networks
from cnn_jax.train import devices, loop

SHOWN = Augmentation(24, (28, 40), pca=0.1)
EVERYTHING = dict(batch_size=8, seed=3, augmentation=SHOWN)


@pytest.fixture(scope="module", autouse=True)
def parsed_flags():
    flags.FLAGS.mark_as_parsed()  # grain's worker processes are given them


@pytest.fixture(scope="module")
def insects(insects_dir):
    return data.load("insects", insects_dir, streamed=True)


def batches(dataset, first_step=0, steps=12, share=(0, 1), workers=0):
    split = dataset.splits["train"]
    return list(stream.training(split, first_step=first_step, steps=steps, share=share, workers=workers, **EVERYTHING))


def assert_equal(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def test_a_folder_is_read_in_the_order_of_names(insects, insects_dir):
    assert insects.streamed and insects.num_classes == 3 and insects.count("train") == 33 and insects.count("test") == 9
    train = insects.splits["train"]
    assert train.labels.tolist() == [0] * 11 + [1] * 11 + [2] * 11
    assert train.name(12) == str(insects_dir / "insects" / "train" / "bee" / "01.JPEG")
    held = data.load("insects", insects_dir, streamed=True, validation=5)
    assert (held.count("train"), held.count("validation")) == (28, 5)
    names = [held.splits[split].name(i) for split in ("train", "validation") for i in range(held.count(split))]
    assert sorted(names) == [train.name(i) for i in range(33)]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(insects, workers):
    assert_equal(batches(insects, workers=workers), batches(insects))


def test_processes_that_decode_end_with_the_one_that_was_killed(insects_dir):
    script = f"""if True:
        import time
        from absl import flags
        from cnn_jax import data
        from cnn_jax.data import stream
        from tests.test_stream import EVERYTHING
        flags.FLAGS.mark_as_parsed()
        train = data.load("insects", {str(insects_dir)!r}, streamed=True).splits["train"]
        endless = stream.training(train, first_step=0, steps=10**6, share=(0, 1), workers=2, **EVERYTHING)
        next(endless)
        print("decoding", flush=True)
        time.sleep(600)
    """
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "decoding\n"
    process.kill()
    process.communicate(timeout=60)  # until the last of them has closed it


def test_shares_together_are_the_whole_batch(insects):
    whole, shares = batches(insects), [batches(insects, share=(index, 2)) for index in range(2)]
    for step, batch in enumerate(whole):
        for name, array in batch.items():
            np.testing.assert_array_equal(array, np.concatenate([share[step][name] for share in shares]))


def test_any_step_can_be_the_first(insects):
    assert_equal(batches(insects, first_step=7, steps=5), batches(insects)[7:])


def test_labels_are_those_of_the_examples_in_memory_order(insects):
    for step, batch in enumerate(batches(insects)):
        indices = training_indices(33, 8, 3, step)
        np.testing.assert_array_equal(batch["label"], insects.splits["train"].labels[indices])


def test_an_example_is_another_in_another_epoch(insects):
    """33 examples in batches of 8: the first example of epoch 0 is somewhere in epoch 1 too, cropped otherwise."""
    wanted = epoch_order(33, 3, 0)[0]
    place = 33 + int(np.flatnonzero(epoch_order(33, 3, 1) == wanted)[0])
    shown = batches(insects)
    first, again = shown[0]["image"][0], shown[place // 8]["image"][place % 8]
    assert not np.array_equal(first, again)


def test_evaluation_shows_every_example_once(insects):
    split = insects.splits["test"]
    for share in ((0, 1), (1, 2)):
        shown = list(stream.evaluation(split, batch_size=4, share=share, shown=stream.Middle(24, 28)))
        assert len(shown) == 3 and all(len(batch["mask"]) == 4 // share[1] for batch in shown)
    whole = list(stream.evaluation(split, batch_size=4, share=(0, 1), shown=stream.Middle(24, 28)))
    mask, label, image = (np.concatenate([batch[name] for batch in whole]) for name in ("mask", "label", "image"))
    assert mask.tolist() == [True] * 9 + [False] * 3
    np.testing.assert_array_equal(label[mask], split.labels)
    np.testing.assert_array_equal(image[4], stream.Middle(24, 28)(split.read(4)["image"], ""))


@given(st.integers(20, 400), st.integers(20, 400), st.booleans(), st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_crops_stay_inside(width, height, by_area, seed):
    shown = SHOWN._replace(area=(0.08, 1.0) if by_area else ())
    left, top, wide, high = random_box(width, height, shown, np.random.default_rng(seed))
    assert left >= 0 and top >= 0 and left + wide <= width + 1e-9 and top + high <= height + 1e-9
    if by_area and (wide, high) != (width, height):
        assert 3 / 4 * 0.9 <= wide / high <= 4 / 3 * 1.1  # of rounding to whole pixels
    if not by_area:
        assert wide == high and 24 / 40 - 1e-9 <= wide / min(width, height) <= 24 / 28 + 1e-9


def test_half_are_mirrored_and_colours_shift_along_the_components():
    file = io.BytesIO()
    Image.fromarray(np.tile(np.arange(24, dtype=np.uint8)[:, None], (24, 1, 3))).save(file, "png")
    shown = Augmentation(24, (24,), pca=0.1)
    example, kinds = {"image": file.getvalue()}, {"image": "image"}
    examples = [
        augment_example(example, kinds, "", shown, np.random.default_rng([0, 0, index])) for index in range(2000)
    ]
    drawn = [(one["image"], one["color"]) for one in examples]
    mirrored = np.mean([image[0, 0, 0] > image[0, -1, 0] for image, _ in drawn])
    assert abs(mirrored - 0.5) < 0.05
    assert {image[0].tobytes() for image, _ in drawn} == {drawn[0][0][0].tobytes(), drawn[0][0][0, ::-1].tobytes()}
    covariance = np.cov(np.stack([color for _, color in drawn]).T)
    expected = 0.01 * (pictures.COMPONENTS * pictures.DEVIATIONS**2) @ pictures.COMPONENTS.T
    np.testing.assert_allclose(covariance, expected, atol=0.15 * expected.max())


@pytest.fixture
def broken(insects_dir, tmp_path, monkeypatch):
    """A copy of the folder in which one image is cut and one is no image."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "insects"
    for path in (insects_dir / "insects").rglob("*.*"):
        copy = root / path.relative_to(insects_dir / "insects")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    cut = root / "train" / "bee" / "01.JPEG"
    cut.write_bytes(cut.read_bytes()[:-200])
    (root / "val" / "cow" / "02.png").write_bytes(b"not an image")
    return tmp_path


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_an_error_that_names_it(broken, workers):
    dataset = data.load("insects", broken, streamed=True)
    with pytest.raises(DataError, match=r"train/bee/01.JPEG cannot be decoded .*; replace it, or add --skip_damaged"):
        batches(dataset, workers=workers)


@pytest.mark.parametrize(("crops", "workers"), [pytest.param(10, 0, marks=pytest.mark.slow), (144, 1)])
def test_streamed_images_are_tested_as_those_in_memory(insects, tmp_path, crops, workers):
    """What is cropped on the host and shown in batches, and on the device image by image: the same losses."""
    settings = ["model.name=plain8", "model.width=4", "model.bn_group=4", "batch_size=8", "data.crop=24", "steps=2"]
    config = override(
        presets.get("resnet_digits"), [*settings, "data.short_side=28,40", "data.mean=0.5", "evaluations=1"]
    )
    config, layout = tasks.complete(config, insects), devices.make_layout("pmap", 2)
    task = tasks.make(config, insects, layout.axis_name)
    result = loop.fit(task, config, insects, tmp_path, loop.Options(layout, progress=False))
    network, test = networks.load(tmp_path), insects.splits["test"]
    predicted = network.predict([test.name(index) for index in range(len(test))], batch_size=4)
    likelihoods = predicted[np.arange(len(test)), test.labels]
    assert result["test_loss"] == pytest.approx(-np.log(likelihoods).mean(), rel=1e-4)
    protocol = evaluation.choose_protocol(network, crops)
    streamed = evaluation.evaluate(network, insects.first("test", 5), protocol, layout, workers=workers)
    each = []
    for index in range(5):
        encoded, label = (test.read(index)[field] for field in ("image", "label"))
        pixels = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
        logarithms = evaluation.log_probabilities(network, network.variables, jnp.asarray(pixels[None]), protocol)
        each.append(-float(logarithms[0, label]))
    assert streamed["examples"] == 5 and streamed["loss"] == pytest.approx(np.mean(each), abs=2e-3)


def test_damaged_images_are_left_out_where_asked(broken, monkeypatch):
    dataset = data.load("insects", broken, streamed=True, skip_damaged=True)
    assert [os.path.relpath(name, broken) for name in dataset.damaged] == [
        "insects/train/bee/01.JPEG",
        "insects/val/cow/02.png",
    ]
    assert (dataset.count("train"), dataset.count("test")) == (32, 8)
    assert dataset.fingerprint != data.load("insects", broken, streamed=True).fingerprint
    assert len(batches(dataset)) == 12
    monkeypatch.setattr("cnn_jax.data.stream.damaged.decode", None)  # the second time nothing is tried
    assert data.load("insects", broken, streamed=True, skip_damaged=True).damaged == dataset.damaged


def test_what_cannot_be_decoded_depends_on_how_it_is(broken):
    """Whole numbers of 32 bits have a range once it is said; what was found before is not held against them."""
    whole = Image.fromarray(np.full((30, 30), 2048, np.int32))
    whole.save(broken / "insects" / "train" / "ant" / "x.tif")
    left_out = [
        len(data.load("insects", broken, streamed=True, skip_damaged=True, decoding=decoding).damaged)
        for decoding in (AS_STORED, Decoding(bits=12), AS_STORED)
    ]
    assert left_out == [3, 2, 3]
    split = data.load("insects", broken, streamed=True, decoding=Decoding(bits=12)).splits["train"]
    assert set(show(stream.Middle(24, 28), split, 11)["image"].flat) == {round(2048 / 4095 * 255)}


def test_what_is_wrong_with_a_folder_is_said(insects_dir, tmp_path):
    def load(**more):
        data.load("set", tmp_path, **{"streamed": True} | more)

    (tmp_path / "set" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match="has no images to test on: make .*/set/test"):
        load()
    (tmp_path / "set" / "test" / "dog").mkdir(parents=True)
    with pytest.raises(DataError, match="has no classes"):
        load()
    (tmp_path / "set" / "train" / "cat").mkdir()
    with pytest.raises(DataError, match=r"test/dog: .*train has no such class"):
        load()
    (tmp_path / "set" / "train" / "dog").mkdir()
    with pytest.raises(DataError, match=r"train has no images"):
        load()
    (tmp_path / "set" / "train" / "cat" / "a.png").write_bytes(b"")
    (tmp_path / "set" / "test" / "dog" / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"train/dog has no images"):
        load()
    with pytest.raises(DataError, match="images of any size, and this wants them in memory, of one: train, evaluate"):
        load(streamed=False)


def test_prepared_sets_are_streamed_record_by_record(digits_dir, digits):
    streamed = data.load("digits", digits_dir, streamed=True)
    assert (streamed.count("train"), streamed.count("test"), streamed.num_classes) == (1437, 360, 10)
    for split in ("train", "test"):
        for index in (0, 7, 359):
            encoded, label = (streamed.splits[split].read(index)[field] for field in ("image", "label"))
            pixels = np.asarray(Image.open(io.BytesIO(encoded)))
            np.testing.assert_array_equal(pixels, digits.splits[split]["image"][index, ..., 0])
            assert label == digits.splits[split]["label"][index]
    assert "record 7 of " in streamed.splits["train"].name(7)
    shown = list(stream.training(streamed.splits["train"], first_step=0, steps=2, share=(0, 1), **EVERYTHING))
    assert shown[1]["image"].shape == (8, 24, 24, 3)
