"""Streamed runs that are stopped or killed in mid-epoch and go on, decoded by other processes, to the same bits."""

import json
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from absl import flags

from cnn_jax import data, presets, tasks
from cnn_jax.config import override
from cnn_jax.train import devices, loop
from cnn_jax.train.checkpoint import digest
from cnn_jax.train.record import read_losses
from cnn_jax.train.signals import Stopped


def test_a_streamed_run_stopped_in_mid_epoch_ends_with_the_same_bits(insects_dir, tmp_path):
    flags.FLAGS.mark_as_parsed()  # grain's worker processes are given them
    insects = data.load("insects", insects_dir, streamed=True)
    settings = ["model.name=resnet8", "model.width=4", "model.bn_group=4", "batch_size=8", "data.crop=24", "steps=10"]
    settings += ["data.short_side=28,40", "data.mean=0.5", "data.pca=0.1", "evaluations=2"]
    config = tasks.complete(override(presets.get("resnet_digits"), settings), insects)
    layout = devices.make_layout("pmap", 2)
    task = tasks.make(config, insects, layout.axis_name)

    def fit(name, **more):
        return loop.fit(task, config, insects, tmp_path / name, loop.Options(layout, progress=False, **more))

    undisturbed = fit("undisturbed")
    asked = iter(range(3))
    stop = type("Third", (list,), {"__bool__": lambda self: next(asked, None) is None})([signal.SIGTERM])
    with pytest.raises(Stopped):
        fit("stopped", signals=stop)
    resumed = fit("stopped", decode_workers=1)
    assert {**resumed, "seconds": 0} == {**undisturbed, "seconds": 0}
    folders = [tmp_path / name for name in ("undisturbed", "stopped")]
    np.testing.assert_array_equal(*map(read_losses, folders))
    sessions = json.loads((folders[1] / "manifest.json").read_text())["sessions"]
    assert 0 < sessions[1]["from_step"] < 10 and sessions[1]["from_step"] * 8 % 33
    saved = [json.loads((f / "checkpoints" / "10" / "meta" / "metadata").read_text())["digest"] for f in folders]
    assert saved[0] == saved[1] != digest({})


FLOWERS = ["--model=resnet18", "--dataset=flowers17", "--epochs=1", "--width=16", "--noprogress", "--run=run"]
FLOWERS += ["--set=batch_size=32", "--set=data.crop=96", "--set=data.short_side=104,128", "--set=data.pca=0.1"]
FLOWERS += ["--set=model.bn_group=global", "--set=data.mean=0.485,0.456,0.406", "--set=data.std=0.229,0.224,0.225"]


@pytest.mark.slow
def test_an_epoch_of_real_flowers_killed_in_the_middle_ends_with_the_same_bits(real_data, tmp_path):
    zipfile.ZipFile(real_data / "flowers17.zip").extractall(tmp_path)

    def start(name, *more):
        folders = [f"--data_dir={tmp_path}", f"--workdir={tmp_path / name}"]
        return subprocess.Popen([sys.executable, "-m", "experiments.train", *FLOWERS, *folders, *more])

    assert start("whole").wait(timeout=300) == 0
    process, checkpoints = start("cut", "--checkpoint_seconds=0"), tmp_path / "cut" / "run" / "checkpoints"
    while process.poll() is None and not any((checkpoints / str(step)).exists() for step in range(10, 32)):
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert start("cut", "--decode_workers=2").wait(timeout=300) == 0
    whole, cut = (tmp_path / name / "run" for name in ("whole", "cut"))
    for name in ("losses.float32", "metrics.jsonl", "config.json"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes()
    saved = [json.loads((f / "checkpoints" / "32" / "meta" / "metadata").read_text())["digest"] for f in (whole, cut)]
    assert saved[0] == saved[1]
    sessions = json.loads((cut / "manifest.json").read_text())["sessions"]
    assert 10 <= sessions[1]["from_step"] < sessions[1]["to_step"] == 32
