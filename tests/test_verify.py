"""A run repeats itself, and `verify` notices where it does not; it touches nothing in the run's folder."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.test_resume import FLAGS, STEPS


def page(name, *flags):
    command = [sys.executable, "-m", f"experiments.{name}", "--noprogress", *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def run(digits_dir, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("verified")
    flags = [flag for flag in FLAGS if flag != "--noprogress"]
    done = page(
        "train", *flags, f"--data_dir={digits_dir}", f"--workdir={workdir}", "--checkpoint_seconds=0", "--devices=1"
    )
    assert done.returncode == 0, done.stderr
    return workdir / "run"


def test_a_run_repeats_itself_bit_for_bit(run):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    done = page("verify", f"--run={run}", "--steps=20")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["steps 1 to 20: 20 of 20 losses are equal bit for bit", "EQUAL"]
    done = page("verify", f"--run={run}", f"--from={STEPS - 1}")
    assert done.stdout.splitlines() == [
        f"steps {STEPS} to {STEPS}: 1 of 1 losses are equal bit for bit",
        f"checkpoint {STEPS}: equal bit for bit",
        "EQUAL",
    ]
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*")}


def test_on_other_devices_it_is_equal_to_rounding(run):
    done = page("verify", f"--run={run}", "--steps=8", "--devices=2", "--parallel=jit")
    assert done.returncode == 0, done.stderr
    assert "differs from the run: devices: ['cpu'] there, ['cpu', 'cpu'] here" in done.stdout
    assert done.stdout.splitlines()[-1] in ("EQUAL TO ROUNDING", "EQUAL")


def test_what_is_not_what_was_recorded_is_found(run, tmp_path):
    changed = tmp_path / "run"
    shutil.copytree(run, changed)
    losses = np.fromfile(changed / "losses.float32", "<f4")
    losses[4] = np.nextafter(losses[4], 9)
    losses.tofile(changed / "losses.float32")
    done = page("verify", f"--run={changed}", "--steps=8")
    assert done.returncode == 1
    assert "7 of 8 losses are equal" in done.stdout and "the first that differs is step 5's" in done.stdout
    assert done.stdout.endswith("DIFFERENT\n")


def test_the_manifest_says_what_ran_it(run, digits_dir):
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["data_dir"] == str(digits_dir) and manifest["command"].startswith("./launch.sh train --noprogress")
    assert (manifest["processes"], manifest["accumulate"], manifest["deterministic"]) == (1, 1, False)
    assert manifest["environment"]["JAX_NUM_CPU_DEVICES"] == "2"
    assert manifest["git"] is None or len(manifest["git"]["commit"]) == 40
    assert 0 < manifest["sessions"][0]["first_step_seconds"] < manifest["sessions"][0]["seconds"]


def test_deterministic_is_recorded(digits_dir, tmp_path):
    flags = [*FLAGS, f"--data_dir={digits_dir}", f"--workdir={tmp_path}", "--set=steps=2", "--set=evaluations=1"]
    done = page("train", *flags, "--deterministic")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["deterministic"] is True
    assert "--xla_gpu_deterministic_ops=true" in manifest["environment"]["XLA_FLAGS"]


def test_what_cannot_be_verified_is_said(run, tmp_path):
    for flags, said in (
        ([f"--run={run}", "--from=3"], f"keeps no checkpoint of step 3; it keeps {STEPS - 1}, {STEPS}"),
        ([f"--run={run}", f"--from={STEPS}"], f"recorded no loss after step {STEPS}"),
        ([f"--run={tmp_path}"], "is not a run folder"),
    ):
        done = page("verify", *flags)
        assert done.returncode == 1 and said in done.stderr and done.stderr.count("\n") == 1
