"""The same run on one device, four, and two processes of two: the same to rounding, and resumed on each other."""

import json

import pytest

from cnn_jax.config import ConfigError
from cnn_jax.train import devices, variables
from tests import layouts, linear
from tests.layouts import ALL_PAIRS, BATCH_NORM, LAYOUTS, LINEAR, SOME_PAIRS, STEPS, largest_difference, parameters

ROUNDING = 5e-6  # of parameters around 1, after twelve steps of float32; 1e-6 was seen


@pytest.fixture(scope="module")
def runs(digits_dir, tmp_path_factory):
    """The folder in which each layout's runs lie, and some of those begun on one and resumed on another."""
    folder = tmp_path_factory.mktemp("layouts")
    layouts.run_all(folder, digits_dir, "SOME")
    return folder


@pytest.mark.parametrize("batch_norm", BATCH_NORM)
def test_every_layout_gives_the_same_numbers(runs, batch_norm):
    reference = runs / "1 device" / batch_norm
    for name in LAYOUTS:
        if layouts.possible(name, batch_norm):
            difference = largest_difference(reference, runs / name / batch_norm)
            print(f"batch norm {batch_norm:<7} {name:<24} {difference:.1e}")
            assert difference < ROUNDING, name
            here, there = (
                json.loads((runs / other / batch_norm / "result.json").read_text()) for other in ("1 device", name)
            )
            assert {key for key in here if key.endswith("error") and here[key] != there[key]} == set(), name


@pytest.mark.parametrize("setting", linear.SETTINGS)
def test_every_way_to_train_gives_the_same_numbers_and_resumes_to_the_bit(runs, setting):
    reference = runs / "1 device" / setting / "whole"
    for name in LINEAR:
        whole, half = (runs / name / setting / kind for kind in ("whole", "half"))
        sessions = json.loads((half / "manifest.json").read_text())["sessions"]
        assert [0, STEPS] == [sessions[0]["from_step"], sessions[1]["to_step"]] and 0 < sessions[1]["from_step"] < STEPS
        for file in ("losses.float32", "metrics.jsonl"):
            assert (half / file).read_bytes() == (whole / file).read_bytes()
        first, again = (variables.load(folder) for folder in (whole, half))
        assert first[1]["digest"] == again[1]["digest"]
        difference = largest_difference(reference, whole)
        print(f"{setting:<12} {name:<24} {difference:.1e}")
        assert difference < ROUNDING, name


def resumed(runs, pairs):
    """Asserts that each was begun, stopped and resumed, and ended as the undisturbed run on one device."""
    for begun, name in pairs:
        folder = runs / begun / f"half, then {name}"
        sessions = json.loads((folder / "manifest.json").read_text())["sessions"]
        assert [session["from_step"] for session in sessions][0] == 0
        assert 0 < sessions[1]["from_step"] < STEPS == sessions[1]["to_step"]
        difference = largest_difference(runs / "1 device" / BATCH_NORM[0], folder)
        print(f"begun on {begun:<24} resumed on {name:<24} {difference:.1e}")
        assert difference < ROUNDING, name
        if begun == name:
            assert (parameters(folder) == parameters(runs / name / BATCH_NORM[0])).all()


def test_what_is_begun_on_one_goes_on_on_another(runs):
    resumed(runs, SOME_PAIRS)
    for both in zip(*SOME_PAIRS, strict=True):
        assert set(both) == set(LAYOUTS)


@pytest.mark.slow
def test_what_is_begun_on_one_goes_on_on_every_other(digits_dir, tmp_path):
    layouts.run_all(tmp_path, digits_dir, "ALL")
    resumed(tmp_path, ALL_PAIRS)


def test_parts_want_batch_norm_that_fits_in_them():
    layout = devices.make_layout("jit", 1, accumulate=2)
    for group, wrong in (("global", "batch norm of the global batch would change"), (32, "choose a divisor of 16")):
        with pytest.raises(ConfigError, match=wrong):
            devices.check_batch(layouts.config(group), layout)
    devices.check_batch(layouts.config(16), layout)
