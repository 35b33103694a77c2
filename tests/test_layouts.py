"""The same run on one device, four, and two processes of two: the same to rounding, and resumed on each other."""

import itertools
import json

import pytest

from cnn_jax.config import ConfigError
from cnn_jax.train import devices, variables
from tests import layouts, linear
from tests.layouts import LAYOUTS, SOME_LINEAR, SOME_PAIRS, SOME_RUNS, STEPS, largest_difference, parameters

ROUNDING = 5e-6  # of parameters around 1, after twelve steps of float32; 1e-6 was seen


@pytest.fixture(scope="module")
def runs(digits_dir, tmp_path_factory):
    """The folder in which each layout's runs lie, and some of those begun on one and resumed on another."""
    folder = tmp_path_factory.mktemp("layouts")
    layouts.run_all(folder, digits_dir, "SOME")
    return folder


def equal(folder, runs):
    """Asserts that each (layout, batch norm) ended as the run on one device."""
    for name, batch_norm in runs:
        both = [folder / layout / batch_norm for layout in ("1 device", name)]
        difference = largest_difference(*both)
        print(f"batch norm {batch_norm:<7} {name:<24} {difference:.1e}")
        assert difference < ROUNDING, name
        here, there = (json.loads((one / "result.json").read_text()) for one in both)
        assert {key for key in here if key.endswith("error") and here[key] != there[key]} == set(), name


def test_every_layout_gives_the_same_numbers(runs):
    equal(runs, SOME_RUNS)


def test_any_two_of_their_ways_are_met_together():
    ways = {(LAYOUTS[name][0], name in layouts.TWO_PROCESSES, norm) for name, norm in SOME_RUNS if LAYOUTS[name][1] > 1}
    assert len({(i, j, way[i], way[j]) for way in ways for i, j in itertools.combinations(range(3), 2)}) == 3 * 2 * 2
    assert {name for name, _ in SOME_RUNS} == set(LAYOUTS)
    for layout in (1, 2):
        assert {pair[layout] for pair in SOME_PAIRS if pair[1] != pair[2]} == set(LAYOUTS)


def equal_to_the_bit(runs, small):
    """Asserts that each (layout, setting of `linear`) ends stopped or not to the bit, and as on one device."""
    for name, setting in small:
        whole, half = (runs / name / setting / kind for kind in ("whole", "half"))
        sessions = json.loads((half / "manifest.json").read_text())["sessions"]
        assert [0, STEPS] == [sessions[0]["from_step"], sessions[1]["to_step"]] and 0 < sessions[1]["from_step"] < STEPS
        for file in ("losses.float32", "metrics.jsonl"):
            assert (half / file).read_bytes() == (whole / file).read_bytes()
        first, again = (variables.load(folder) for folder in (whole, half))
        assert first[1]["digest"] == again[1]["digest"]
        difference = largest_difference(runs / "1 device" / setting / "whole", whole)
        print(f"{setting:<12} {name:<24} {difference:.1e}")
        assert difference < ROUNDING, name


def test_every_way_to_train_gives_the_same_numbers_and_resumes_to_the_bit(runs):
    equal_to_the_bit(runs, SOME_LINEAR)
    assert {setting for _, setting in SOME_LINEAR} == set(linear.SETTINGS)


def resumed(runs, pairs):
    """Asserts that each was begun, stopped and resumed, and ended as the undisturbed run on one device."""
    for batch_norm, begun, name in pairs:
        folder = layouts.resumed(runs, batch_norm, begun, name)
        sessions = json.loads((folder / "manifest.json").read_text())["sessions"]
        assert [session["from_step"] for session in sessions][0] == 0
        assert 0 < sessions[1]["from_step"] < STEPS == sessions[1]["to_step"]
        difference = largest_difference(runs / "1 device" / batch_norm, folder)
        print(f"begun on {begun:<24} resumed on {name:<24} {difference:.1e}")
        assert difference < ROUNDING, name
        if begun == name:
            assert (parameters(folder) == parameters(runs / name / batch_norm)).all()


def test_what_is_begun_on_one_goes_on_on_another(runs):
    resumed(runs, SOME_PAIRS)


@pytest.mark.slow
def test_every_layout_has_both_batch_norms_and_goes_on_on_every_other(digits_dir, tmp_path):
    layouts.run_all(tmp_path, digits_dir, "ALL")
    equal(tmp_path, layouts.ALL_RUNS)
    resumed(tmp_path, layouts.ALL_PAIRS)
    equal_to_the_bit(tmp_path, layouts.ALL_LINEAR)


def test_parts_want_batch_norm_that_fits_in_them():
    layout = devices.make_layout("jit", 1, accumulate=2)
    for group, wrong in (("global", "batch norm of the global batch would change"), (32, "choose a divisor of 16")):
        with pytest.raises(ConfigError, match=wrong):
            devices.check_batch(layouts.config(group), layout)
    devices.check_batch(layouts.config(16), layout)
