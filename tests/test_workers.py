"""Worker processes of a sweep that are killed or hang: real signals, found by the run folder that each holds."""

import contextlib
import glob
import os
import signal
import subprocess
import time

import pytest

from tests.killed import read_outcome, sweep_command

TWO = ["--seeds=0,1", "--workers=2", "--checkpoint_seconds=0", "--hung_seconds=20"]


def worker_of(folder):
    """The process that holds the run folder."""
    for place in glob.iglob("/proc/[0-9]*/fd/*"):
        with contextlib.suppress(OSError):  # it is closed, or another user's
            if os.readlink(place) == str(folder):
                return int(place.split("/")[2])
    raise LookupError(folder)


def signal_runs(command, workdir, signals):
    """Starts the sweep and sends a worker the next signal whenever its run, of those not yet hit so, is past step 3.

    `signals` are `(signal, seed)`, None for the seed of any run that had none. Returns (exit status, stdout, stderr).
    """
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process, hit = subprocess.Popen(command, text=True, **pipes), {}
    deadline = time.monotonic() + 200
    while signals:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"the moment did not come: {process.communicate()}")
        number, seed = signals[0]
        for folder in workdir.glob(f"plain8-digits-seed{'*' if seed is None else seed}-*"):
            newest = max((int(p.name) for p in folder.glob("checkpoints/*") if p.name.isdigit()), default=0)
            if newest > hit.get(folder, 2) and (seed is not None or folder not in hit):
                os.kill(worker_of(folder), number)
                hit[folder] = newest + 2
                signals.pop(0)
                break
        time.sleep(0.001)
    printed, told = process.communicate(timeout=200)
    return process.returncode, printed, told


def test_a_worker_that_hangs_and_one_that_is_killed_go_on_from_their_checkpoints(digits_dir, tmp_path, undisturbed):
    command = sweep_command(digits_dir, tmp_path, *TWO)
    status, _, told = signal_runs(command, tmp_path, [(signal.SIGSTOP, None), (signal.SIGKILL, None)])
    assert status == 0, told
    lines = [line for line in told.splitlines() if line.startswith("plain8-")]  # and Python of semaphores
    assert len(lines) == 2 and all(line.endswith("; it is continued from its checkpoint") for line in lines), told
    assert any("its worker process was killed by SIGKILL" in line for line in lines)
    assert any("it hung: its progress.json did not change for 20 s" in line for line in lines)
    (folder,) = tmp_path.glob("plain8-digits-seed0-*")
    assert read_outcome(tmp_path, folder.name) == undisturbed


def test_a_worker_that_is_killed_twice_fails_its_run_alone(digits_dir, tmp_path):
    command = sweep_command(digits_dir, tmp_path, *TWO)
    status, printed, _ = signal_runs(command, tmp_path, [(signal.SIGKILL, 0), (signal.SIGKILL, 0)])
    assert status == 1
    failed = [line for line in printed.splitlines() if "FAILED: its worker process was killed by SIGKILL" in line]
    assert len(failed) == 1 and "plain8-digits-seed0-" in failed[0] and "lower --set=batch_size" in failed[0]
    assert "1 of 2 runs failed; the same command tries them again" in printed
    assert len(list(tmp_path.glob("*/result.json"))) == 1
