"""A run that is killed and started again ends with the same bits as one that was not: real processes, real signals."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cnn_jax.train.checkpoint import MAX_TO_KEEP
from cnn_jax.train.record import InUseError
from tests import started
from tests.killed import STEPS, arguments, interrupt, reached, read_outcome, run, saving, sweep_command


def test_the_undisturbed_run_recorded_what_it_should(undisturbed):
    metrics, _, result = undisturbed
    lines = [json.loads(line) for line in metrics.splitlines()]
    assert [line["step"] for line in lines] == [7, 14, 20, 27, 34, 40]
    assert [line["learning_rate"] for line in lines] == [0.1, 0.1, 0.1, 0.01, 0.001, 0.001]
    assert all({"train_error", "validation_error", "test_error", "train_loss"} <= line.keys() for line in lines)
    assert result["test_error"] == lines[-1]["test_error"]
    assert result["best_test_error"] == min(line["test_error"] for line in lines)
    best = min(lines, key=lambda line: line["validation_error"])
    assert result["test_error_at_best_validation"] == best["test_error"]
    assert (result["test_error"] * 360) % 1 < 1e-6 and (result["train_error"] * 1400) % 1 < 1e-6


def test_terminated_it_saves_and_goes_on(digits_dir, tmp_path, undisturbed):
    status, stderr = interrupt(digits_dir, tmp_path, signal.SIGTERM, reached(10))
    assert status == 128 + signal.SIGTERM
    assert "saved at step" in stderr and "the same command continues" in stderr
    newest = max(int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert 10 <= newest < STEPS
    run(digits_dir, tmp_path)
    assert read_outcome(tmp_path) == undisturbed
    sessions = json.loads((tmp_path / "run" / "manifest.json").read_text())["sessions"]
    assert [(session["from_step"], session["to_step"]) for session in sessions] == [(0, newest), (newest, STEPS)]


def test_killed_again_and_again_it_goes_on(digits_dir, tmp_path, undisturbed):
    for moment in (reached(1), saving, reached(20)):
        status, _ = interrupt(digits_dir, tmp_path, signal.SIGKILL, moment)
        assert status == -signal.SIGKILL
    run(digits_dir, tmp_path)
    assert read_outcome(tmp_path) == undisturbed
    assert not list((tmp_path / "run" / "checkpoints").glob("*tmp*"))


def test_a_finished_run_is_not_run_again(digits_dir, undisturbed_dir):
    before = {path: path.stat().st_mtime_ns for path in undisturbed_dir.rglob("*") if path.is_file()}
    run(digits_dir, undisturbed_dir)
    assert before == {path: path.stat().st_mtime_ns for path in undisturbed_dir.rglob("*") if path.is_file()}


@pytest.mark.parametrize("damage", ["truncated", pytest.param("emptied", marks=pytest.mark.slow), "flipped"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(digits_dir, stopped, undisturbed, damage):
    checkpoints = stopped / "run" / "checkpoints"
    steps = sorted(int(path.name) for path in checkpoints.iterdir())
    assert len(steps) == MAX_TO_KEEP
    # All of its files: of one alone, the part that is hit may hold what was written over later.
    for path in (checkpoints / str(steps[-1])).rglob("d/*"):
        content = path.read_bytes()
        middle, inverted = len(content) // 2, bytes(byte ^ 0xFF for byte in content)
        changed = {
            "truncated": content[:middle],
            "emptied": b"",
            "flipped": content[:middle] + inverted[middle : middle + 64] + content[middle + 64 :],
        }
        path.write_bytes(changed[damage])
    said = run(digits_dir, stopped)
    assert f"checkpoint {steps[-1]} is damaged" in said and "going back to the one before" in said
    assert (stopped / "run" / "checkpoints_damaged" / str(steps[-1])).exists()
    assert read_outcome(stopped) == undisturbed


def test_another_config_is_refused_and_nothing_is_lost(digits_dir, stopped):
    files = {path: path.read_bytes() for path in Path(stopped).rglob("*") if path.is_file()}
    other = arguments(digits_dir, stopped, "--set=optim.learning_rate=0.05")
    done = started.run_page("train", *other)
    assert done.returncode == 1
    assert "belongs to another config: optim.learning_rate: 0.1 there, 0.05 here" in done.stderr
    # The same refusal where config.json was exchanged, from the checkpoint's own copy.
    config = stopped / "run" / "config.json"
    config.write_text(config.read_text().replace('"learning_rate": 0.1', '"learning_rate": 0.05'))
    done = started.run_page("train", *other)
    assert done.returncode == 1
    assert "optim.learning_rate: 0.1 there, 0.05 here" in done.stderr
    unchanged = {path for path in files if path.exists() and path.read_bytes() == files[path]}
    assert files.keys() - unchanged <= {config, stopped / "run" / "manifest.json"}


def test_a_run_in_use_is_refused(digits_dir, tmp_path, go_on):
    process = started.Started("experiments.train", *arguments(digits_dir, tmp_path, "--set=steps=100000"))
    try:
        while not (tmp_path / "run" / "losses.float32").exists():
            assert process.poll() is None
            time.sleep(0.05)
        with pytest.raises(InUseError, match="another process is running"):
            go_on(tmp_path)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def sweep_ends(command, workdir, devices):
    """Runs the sweep in a process of so many devices; returns what each run leaves."""
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    assert "damaged" not in done.stdout
    left = {}
    for folder in workdir.glob("plain8-*"):
        meta = json.loads((folder / "checkpoints" / str(STEPS) / "meta" / "metadata").read_text())
        left[folder.name] = (folder / "metrics.jsonl").read_bytes(), meta["digest"]
    assert len(left) == 3
    return left


@pytest.mark.slow
def test_seeds_in_parallel_are_saved_and_go_on(digits_dir, tmp_path):
    """Stopped on two devices, they end as undisturbed runs on one, whether they go on there or on two again."""
    together, alone = tmp_path / "together", tmp_path / "alone"
    command = sweep_command(digits_dir, together, "--seeds_in_parallel")
    process = subprocess.Popen(
        [*command, "--checkpoint_seconds=0"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 200
    while sum(reached(3)(folder / "checkpoints") for folder in together.glob("plain8-*")) < 2:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"the moment did not come: {process.communicate()}")
        time.sleep(0.001)
    process.terminate()
    _, stderr = process.communicate(timeout=200)
    assert process.returncode == 128 + signal.SIGTERM
    assert "the same command continues" in stderr and stderr.count("\n") == 1
    assert len(list(together.glob("*/result.json"))) < 2
    assert not list(together.glob("*/failure.json"))
    shutil.copytree(together, alone)
    undisturbed = sweep_ends(sweep_command(digits_dir, tmp_path / "undisturbed"), tmp_path / "undisturbed", devices=1)
    assert sweep_ends(command, together, devices=2) == undisturbed
    assert sweep_ends(sweep_command(digits_dir, alone), alone, devices=1) == undisturbed


OPTIMIZERS = {
    "adamw": ["--set=optim.optimizer=adamw", "--learning_rate=0.003"],
    "lbfgs": ["--set=optim.optimizer=lbfgs", "--set=batch_size=350"],
    "cosine, clipped": ["--set=optim.schedule=cosine", "--set=optim.clip_norm=1", "--set=optim.warmup_form=linear"],
    "exponential": ["--set=optim.average=exponential", "--set=optim.average_decay=0.9"],
    "polyak": ["--set=optim.average=polyak", "--set=optim.average_from=0.5"],
    "frozen": ["--set=optim.frozen=stage2", "--set=optim.rates=stage3_block1:0.1,fc:2"],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "number"),  # what comes of one of several processes that is killed is in test_faults
    [(["--devices=2"], signal.SIGKILL), (["--processes=2", "--devices=1"], signal.SIGTERM)],
)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_goes_on_from_where_it_was_killed(digits_dir, tmp_path, optimizer, layout, number):
    flags = [*OPTIMIZERS[optimizer], *layout, "--set=model.bn_group=global"]
    run(digits_dir, tmp_path / "whole", *flags)
    interrupt(digits_dir, tmp_path / "killed", number, reached(15), *flags)
    assert not (tmp_path / "killed" / "run" / "result.json").exists()
    run(digits_dir, tmp_path / "killed", *flags)
    assert read_outcome(tmp_path / "killed") == read_outcome(tmp_path / "whole")
