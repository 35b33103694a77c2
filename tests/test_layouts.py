"""The same run on one device, four, and two processes of two: the same to rounding, and resumed on each other."""

import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile

import jax
import numpy as np
import pytest

from cnn_jax.config import ConfigError, from_dict
from cnn_jax.train import devices
from cnn_jax.train.checkpoint import Checkpoints
from cnn_jax.train.record import read_losses
from tests import layouts
from tests.layouts import BATCH_NORM, LAYOUTS, STEPS

ROUNDING = 5e-6  # of parameters around 1, after twelve steps of float32; 1e-6 was seen


def call(folder, data_dir, devices, *more):
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)}
    command = [sys.executable, "-m", "tests.layouts", str(folder), str(data_dir), *map(str, more)]
    said = tempfile.TemporaryFile("w+")
    return subprocess.Popen(command, env=environment, stdout=said, stderr=said), said


@pytest.fixture(scope="module")
def runs(digits_dir, tmp_path_factory):
    """The folder in which each layout's runs lie, and those begun on it and resumed on each of the others."""
    folder = tmp_path_factory.mktemp("layouts")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    called = [call(folder, digits_dir, 4), *(call(folder, digits_dir, 2, address, index) for index in range(2))]
    try:
        for process, said in called:
            status = process.wait(timeout=400)
            said.seek(0)
            assert status == 0, said.read()
    finally:
        for process, said in called:
            process.kill()
            process.wait()
            said.close()
    return folder


def parameters(folder):
    config = from_dict(json.loads((folder / "config.json").read_text()))
    with Checkpoints(folder, config) as checkpoints:
        state = checkpoints.manager.restore(STEPS)["state"]
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state["params"])])


def largest_difference(one, other):
    """Of the parameters, and of the losses relative to themselves."""
    losses = read_losses(one), read_losses(other)
    assert len(losses[0]) == len(losses[1]) == STEPS
    return max(np.abs(parameters(one) - parameters(other)).max(), np.abs(losses[0] / losses[1] - 1).max())


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


@pytest.mark.parametrize("begun", LAYOUTS)
def test_what_is_begun_on_one_goes_on_on_every_other(runs, begun):
    reference = runs / "1 device" / BATCH_NORM[0]
    for name in LAYOUTS:
        folder = runs / begun / f"half, then {name}"
        sessions = json.loads((folder / "manifest.json").read_text())["sessions"]
        assert [session["from_step"] for session in sessions][0] == 0
        assert 0 < sessions[1]["from_step"] < STEPS == sessions[1]["to_step"]
        difference = largest_difference(reference, folder)
        print(f"begun on {begun:<24} resumed on {name:<24} {difference:.1e}")
        assert difference < ROUNDING, name
        if begun == name:
            assert (parameters(folder) == parameters(runs / name / BATCH_NORM[0])).all()


def test_parts_want_batch_norm_that_fits_in_them():
    layout = devices.choose("jit", 1, accumulate=2)
    for group, wrong in (("global", "batch norm of the global batch would change"), (32, "choose a divisor of 16")):
        with pytest.raises(ConfigError, match=wrong):
            devices.check(layouts.config(group), layout)
    devices.check(layouts.config(16), layout)


def test_the_layouts_are_all_pairs(runs):
    left = {f"{begun}/half, then {name}" for begun, name in itertools.product(LAYOUTS, LAYOUTS)}
    assert left == {str(path.relative_to(runs)) for path in runs.glob("*/half, then *")}
