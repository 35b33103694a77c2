"""Image folders as people have them: classes, splits, what is left out and what is refused."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax import data, presets, runner, tasks
from cnn_jax.config import ConfigError, override
from cnn_jax.data import DataError
from cnn_jax.data.dataset import hold_out_by_class
from cnn_jax.tasks import images
from cnn_jax.train import processes

SPLITS = ("train/ant/1.jpg", "train/ant/2.jpg", "train/bee/3.jpg", "test/ant/4.jpg", "test/bee/5.jpg")


def fill(root, *paths):
    """A folder `set` with such files, each with its own path as content."""
    for path in paths:
        place = root / "set" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if not path.endswith("/"):
            place.write_bytes(path.encode())
        else:
            place.mkdir(exist_ok=True)
    return root / "set"


def load(folder, **options):
    return data.load(folder.name, folder.parent, **{"streamed": True} | options)


def files(dataset, split):
    """`[(path below the split's folder, class), ...]`"""
    examples, names = dataset.splits[split], dataset.class_names()
    found = zip(examples.paths, examples.labels, strict=True)
    return [(os.fsdecode(path), names[label]) for path, label in found]


def refusal(folder, **options):
    with pytest.raises(DataError) as caught:
        load(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_is_numbered_and_known_as_by_older_versions(tmp_path):
    """The digits are those that version 0.1.0 gave these files."""
    paths = ["ant/1.jpg", "ant/2.PNG", "bee/10.jpg", "bee/9.jpeg"]
    folder = fill(tmp_path, *(f"train/{path}" for path in paths), "val/ant/3.jpg", "val/bee/4.jpg")
    dataset = load(folder, validation=1)
    assert dataset.fingerprint == "bb8a3d807bad6d5d" and dataset.notes == ()
    assert load(folder).splits["train"].labels.tolist() == [0, 0, 1, 1]
    assert files(dataset, "test") == [("ant/3.jpg", "ant"), ("bee/4.jpg", "bee")]


def test_images_are_of_the_classes_that_torchvision_says(tmp_path):
    """What ImageFolder 0.28.0 lists of the same tree, in its order."""
    tree = ["ant/1.PNG", "ant/batch2/7.jpg", "ant/batch10/3.jpg", "ant/a.jpg", "ant/notes.txt", "ant/_z/b.tif"]
    folder = fill(tmp_path, *(f"train/{one}" for one in tree), "train/bee/2.webp", "train/Cow/4.ppm", "test/ant/1.jpg")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "9.jpg").touch()
    (folder / "train" / "bee" / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "train" / "bee" / "one.jpg").symlink_to(folder / "train" / "ant" / "a.jpg")
    dataset = load(folder)
    assert dataset.class_names() == ("Cow", "ant", "bee")
    assert files(dataset, "train") == [
        *(("Cow/4.ppm", "Cow"), ("ant/1.PNG", "ant"), ("ant/a.jpg", "ant"), ("ant/_z/b.tif", "ant")),
        *(("ant/batch10/3.jpg", "ant"), ("ant/batch2/7.jpg", "ant"), ("bee/2.webp", "bee"), ("bee/one.jpg", "bee")),
        ("bee/linked/9.jpg", "bee"),
    ]
    assert dataset.splits["train"].read(8)["image"] == b""
    assert dataset.notes == (
        "test has no images of 2 of 3 classes (Cow, bee)",
        "left out, no images by their endings: 1 (train/ant/notes.txt)",
    )


def test_what_is_hidden_is_no_class_and_no_image_and_is_counted(tmp_path, capsys):
    hidden = ["train/.ipynb_checkpoints/1.jpg", "train/ant/._1.jpg", "train/.DS_Store", "train/bee/.x/1.jpg"]
    others = ["train/list.csv", "train/ant/Thumbs.db", "test/bee/.DS_Store", "extra/1.jpg", "__MACOSX/train/._ant"]
    folder = fill(tmp_path, *SPLITS, *hidden, *others)
    plain = load(fill(tmp_path / "plain", *SPLITS))
    dataset = load(folder)
    assert dataset.fingerprint == plain.fingerprint and dataset.class_names() == ("ant", "bee")
    assert [files(dataset, split) == files(plain, split) for split in ("train", "test")] == [True, True]
    notes = (
        "left out, hidden: 6 (__MACOSX, train/.DS_Store, train/.ipynb_checkpoints, ...)",
        "left out, of no split: 1 (extra)",
        "left out, beside the class folders: 1 (train/list.csv)",
        "left out, no images by their endings: 1 (train/ant/Thumbs.db)",
    )
    assert dataset.notes == notes
    processes.print_once.cache_clear()
    for _ in range(2):
        runner.load_dataset.cache_clear()
        runner.load_dataset("set", 0, str(tmp_path), False, True)
    assert capsys.readouterr().out.splitlines() == [f"set: {note}" for note in notes]


def test_links_that_lead_nowhere_or_round_in_circles(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = fill(tmp_path, *SPLITS)
    (folder / "train" / "ant" / "again").symlink_to(folder / "train")
    (folder / "train" / "ant" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    for path in folder.rglob("*.jpg"):
        if path.exists():
            Image.new("RGB", (4, 4)).save(path)
    dataset = load(folder)
    assert files(dataset, "train") == [(f"ant/{one}.jpg", "ant") for one in (1, 2, "gone")] + [("bee/3.jpg", "bee")]
    assert dataset.notes == ("left out, links back to a folder they lie in: 1 (train/ant/again)",)
    with pytest.raises(DataError, match=r"ant/gone.jpg cannot be read \(No such file .*or add --skip_damaged"):
        dataset.splits["train"].read(2)
    skipped = load(folder, skip_damaged=True)
    assert skipped.count("train") == 3 and skipped.damaged == (str(folder / "train" / "ant" / "gone.jpg"),)


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        ({"train": 2, "val": 1}, {"train": "train", "test": "val"}),
        ({"train": 2, "valid": 1}, {"train": "train", "test": "valid"}),
        ({"Training": 2, "Testing": 1}, {"train": "Training", "test": "Testing"}),
        ({"TRAIN": 2, "TEST": 1, "Valid": 1}, {"train": "TRAIN", "test": "TEST", "validation": "Valid"}),
        ({"train": 2, "test": 1, "val": 1}, {"train": "train", "test": "test", "validation": "val"}),
        ({"train": 2, "test": 1, "validation": 1}, {"train": "train", "test": "test", "validation": "validation"}),
    ],
)
def test_splits_are_told_by_the_names_people_give_them(tmp_path, folders, expected):
    paths = [f"{one}/{label}/{i}.jpg" for one, count in folders.items() for label in "ab" for i in range(count)]
    dataset = load(fill(tmp_path, *paths))
    assert {split: Path(part.folder).name for split, part in dataset.splits.items()} == expected
    assert not dataset.notes


def test_validation_images_of_the_sets_own_give_way_to_those_asked_for(tmp_path):
    folder = fill(tmp_path, *SPLITS, "valid/ant/6.jpg", "valid/bee/7.jpg")
    assert files(load(folder), "validation") == [("ant/6.jpg", "ant"), ("bee/7.jpg", "bee")]
    held = load(folder, validation=1)
    assert Path(held.splits["validation"].folder).name == "train" and held.count("train") == 2
    assert held.notes == ("its own validation images are left out: 1 training images are validated on",)


def test_test_images_in_no_class(tmp_path):
    folder = fill(tmp_path, *SPLITS[:3], "test/6.jpg", "test/7.jpg")
    assert "set/test are in no class folder, and cannot tell an error: put them in" in refusal(folder)
    assert "--test_share=0.2" in refusal(folder)
    fill(tmp_path, "valid/ant/1.jpg", "valid/bee/2.jpg")
    dataset = load(folder)
    assert Path(dataset.splits["test"].folder).name == "valid" and "validation" not in dataset.splits
    assert dataset.notes[0].endswith("set/test are in no class folder, and left out")


def test_of_class_folders_alone_a_share_is_held_out(tmp_path):
    folder = fill(tmp_path, *(f"{one}/{i:02}.jpg" for one, count in (("ant", 10), ("bee", 4)) for i in range(count)))
    assert "has class folders alone" in refusal(folder) and refusal(folder).endswith("as --test_share=0.2")
    dataset = load(folder, test_share=0.2)
    order = [np.random.RandomState(0).permutation(count) for count in (10, 4)]
    expected = [f"ant/{i:02}.jpg" for i in sorted(order[0][:2])] + [f"bee/{i:02}.jpg" for i in sorted(order[1][:1])]
    assert [name for name, _ in files(dataset, "test")] == expected
    whole = sorted([*files(dataset, "train"), *files(dataset, "test")])
    assert [name for name, _ in whole] == [f"ant/{i:02}.jpg" for i in range(10)] + [f"bee/{i:02}.jpg" for i in range(4)]
    assert dataset.splits["test"].read(0)["image"] == expected[0].encode()
    assert dataset.fingerprint != load(folder, test_share=0.5).fingerprint
    assert load(folder, test_share=0.2, validation=3).count("train") == 8


def test_of_train_without_test_a_share_is_held_out_too(tmp_path):
    dataset = load(fill(tmp_path, *SPLITS[:3], "train/bee/4.jpg"), test_share=0.5)
    assert dataset.count("train") == dataset.count("test") == 2
    for split in ("train", "test"):
        for index in range(2):
            assert dataset.splits[split].read(index)["image"].startswith(b"train/")


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    folder, scandir = fill(tmp_path, *SPLITS), os.scandir

    def refuse(path):
        if Path(path).name == "bee":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert (
        refusal(folder) == f"{folder}/train/bee cannot be read (Permission denied); make it readable, or take it away"
    )


def test_a_share_of_each_class_is_whole_examples_and_leaves_some():
    labels = np.repeat([0, 1, 2, 3], [1, 2, 60, 9])
    for share in (0.01, 0.2, 0.99):
        kept, held = hold_out_by_class(labels, share)
        assert sorted([*kept, *held]) == list(range(72)) and (np.diff(held) > 0).all()
        counts = np.bincount(labels[held], minlength=4)
        assert counts.tolist() == [0, 1, min(max(1, round(60 * share)), 59), min(max(1, round(9 * share)), 8)]


@pytest.mark.parametrize(
    ("paths", "options", "message"),
    [
        (["train/ant/1.jpg", "test/ant/1.jpg"], {}, "set/train has one class alone, ant, and nothing to tell it from"),
        (["ant/1.jpg", "ant/2.jpg"], {"test_share": 0.5}, "set has one class alone, ant"),
        ([*SPLITS, "test/cow/1.jpg"], {}, "set/test/cow: .*/set/train has no such class; rename the one"),
        ([*SPLITS, "test/Bee/1.jpg"], {}, "set/test/Bee: .*/set/train has no such class, it has bee; rename"),
        ([*SPLITS, "train/cow/"], {}, "set/train/cow has no images; put some there, or take it away"),
        ([*SPLITS, "train/cow/.hidden.jpg"], {}, "set/train/cow has no images"),
        ([*SPLITS[:3], "test/ant/"], {}, r"set/test has no images: .jpg, .*expected in test/<class>/"),
        (SPLITS[:3], {}, "set has no images to test on: make .*/set/test/<class>/, as train/ is, or hold out a share"),
        (
            SPLITS,
            {"test_share": 0.2},
            "data.test_share=0.2: .*/set has images to test on, in .*/set/test; leave it out",
        ),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path, paths, options, message):
    folder = fill(tmp_path, *paths)
    with pytest.raises(DataError, match=message) as caught:
        load(folder, **options)
    assert "\n" not in str(caught.value)


def test_classes_that_differ_by_case_alone_are_two_and_told_of(tmp_path):
    folder = fill(tmp_path, *SPLITS, "train/Ant/6.jpg")
    dataset = load(folder)
    assert dataset.class_names() == ("Ant", "ant", "bee")
    assert dataset.notes[0] == "classes Ant and ant differ by case alone, and are two"


def test_a_data_set_can_be_given_as_a_path(tmp_path, digits_dir, monkeypatch):
    folder = fill(tmp_path, *SPLITS)
    expected = load(folder).fingerprint
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (str(folder), f"{folder}/", "./set", "set/", "~/set", "../" + tmp_path.name + "/set"):
        dataset = data.load(path, streamed=True)
        assert (dataset.name, dataset.fingerprint) == ("set", expected)
        assert data.locate(path, None) == ("set", str(tmp_path))
    assert data.locate("set/", str(tmp_path)) == ("set", str(tmp_path))
    assert data.locate("cifar10/gray", None) == ("cifar10/gray", None)
    (tmp_path / "set.zip").touch()
    for path, options, message in (
        ("./set.zip", {}, "'./set.zip' is a file: unpack it"),
        ("~/sets", {}, f"'~/sets': there is no folder {tmp_path}/sets"),
        (
            str(folder),
            {"data_dir": str(tmp_path)},
            f"is a path, which says where it is: leave --data_dir={tmp_path} out",
        ),
        ("set", {}, "of the folder here it is --dataset=./set"),
        (
            "digits",
            {"test_share": 0.2, "data_dir": digits_dir},
            "data.test_share=0.2 is of image folders, and 'digits' is none",
        ),
    ):
        with pytest.raises(DataError, match=message):
            data.load(path, streamed=True, **options)


def test_a_crop_that_fits_images_and_network_is_taken_where_none_is_given(insects_dir, capsys):
    sides = []
    for file in (insects_dir / "insects" / "train").glob("*/*"):
        with Image.open(file) as image:
            sides.append(min(image.size))
    typical = int(np.median(sides))
    crops = {}
    for model in ("squeezenet1_1", "resnet20", "lenet5"):
        processes.print_once.cache_clear()
        config = presets.get("auto", "insects", model)
        dataset = runner.load_config_dataset(config, str(insects_dir), False)
        taken = tasks.complete(config, dataset).data
        crops[model] = taken.crop
        assert taken.short_side == (taken.resolved_test_short_side,) == (round(taken.crop * 256 / 224),)
        assert taken.exif_orientation is True
        assert taken.mean == (0.485, 0.456, 0.406)
        assert taken.std == ((0.25,) if model == "lenet5" else (0.229, 0.224, 0.225))
        assert f"it is shown crops of {taken.crop}; --set=data.crop" in capsys.readouterr().out
    assert crops == {"squeezenet1_1": round(typical * 7 / 8), "resnet20": 32, "lenet5": 32}
    sideways = override(config, ["data.exif_orientation=false"])
    assert tasks.complete(sideways, dataset).data.exif_orientation is False
    given = override(config, ["data.crop=24", "data.short_side=40", "data.mean=0.5"])
    assert tasks.complete(given, dataset).data == given.data
    few = override(config, ["data.train_examples=5"])
    with pytest.raises(ConfigError, match="data.train_examples is of images in memory"):
        override(tasks.complete(few, runner.load_config_dataset(few, str(insects_dir), False)), [])


def test_images_in_memory_are_shown_whole(digits):
    config = presets.get("auto", "digits", "resnet8")
    assert images.complete_crop(config, digits) == images.complete_mean(config.data) == config.data
