"""Faults of disks, files, memory and processes: one clear line, nothing finished lost, and the same bits in the end."""

import json
import os
import resource
import shutil
import signal
import subprocess
import time

import pytest

from cnn_jax.train.record import RecordError
from tests import started
from tests.killed import STEPS, arguments, reached, read_outcome, run


def attempt(data_dir, workdir, *flags, **limits):
    """Runs it under limits of the kernel, as `resource` calls them; returns the exit status and what it said."""
    limits = {getattr(resource, f"RLIMIT_{name}"): value for name, value in limits.items()}
    only_read = {"jax_persistent_cache_min_compile_time_secs": 1e9}  # or programs of other tests would be kept in part
    done = started.run_page("train", *arguments(data_dir, workdir, *flags), limits=limits, settings=only_read)
    return done.returncode, done.stderr


def assert_one_line(status, stderr, *said):
    assert status == 1
    assert stderr.startswith("error: ") and stderr.count("\n") == 1, stderr
    for text in said:
        assert text in stderr


@pytest.fixture
def mounted(tmp_path):
    """Mounts a file system of so many bytes, for as long as the test runs."""
    places = []

    def mount(size):
        place = tmp_path / "disk"
        place.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
        places.append(place)
        return place

    yield mount
    for place in places:
        subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk(digits_dir, mounted, stopped, undisturbed):
    disk = mounted("100m")
    shutil.copytree(stopped, disk, dirs_exist_ok=True)
    subprocess.run(["mount", "-o", "remount,size=1m", disk], check=True)
    status, stderr = attempt(digits_dir, disk, "--checkpoint_seconds=0")
    assert_one_line(status, stderr, "cannot write", "No space left on device", "the same command continues")
    subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
    run(digits_dir, disk)
    assert read_outcome(disk) == undisturbed


def test_a_file_that_may_not_grow(digits_dir, tmp_path, undisturbed):
    status, stderr = attempt(digits_dir, tmp_path, FSIZE=2048)
    assert_one_line(status, stderr, "cannot write", "File too large", "the same command continues")
    run(digits_dir, tmp_path)
    assert read_outcome(tmp_path) == undisturbed


def test_a_save_that_fails_in_the_middle(digits_dir, tmp_path, undisturbed):
    """As beyond a quota, of which the free space of a disk tells nothing: some of many files are written."""
    status, stderr = attempt(digits_dir, tmp_path, "--checkpoint_seconds=0", FSIZE=16384)
    assert_one_line(status, stderr, "cannot write", "checkpoints/1: File too large", "the same command continues")


def test_a_folder_turned_read_only(digits_dir, stopped, undisturbed):
    folder = stopped / "run"
    places = [folder, folder / "checkpoints"]  # to root the mode of a folder means nothing, that it is immutable does
    done = subprocess.run(["chattr", "+i", *places], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a folder cannot be made immutable here: {done.stderr.strip()}")
    try:
        status, stderr = attempt(digits_dir, stopped)
    finally:
        subprocess.run(["chattr", "-i", *places], check=True)
    assert_one_line(status, stderr, f"cannot write in {folder}", "Operation not permitted")
    run(digits_dir, stopped)
    assert read_outcome(stopped) == undisturbed


def test_checkpoints_deleted(digits_dir, stopped, undisturbed):
    """It begins anew: what it recorded before is not of the run that is made now."""
    shutil.rmtree(stopped / "run" / "checkpoints")
    run(digits_dir, stopped)
    assert read_outcome(stopped) == undisturbed


def test_a_file_of_the_newest_checkpoint_deleted(digits_dir, stopped, undisturbed):
    checkpoints = stopped / "run" / "checkpoints"
    newest = max(checkpoints.glob("[0-9]*"), key=lambda path: int(path.name))
    (newest / "meta" / "metadata").unlink()
    assert f"checkpoint {newest.name} is damaged" in run(digits_dir, stopped)
    assert read_outcome(stopped) == undisturbed


@pytest.mark.parametrize(
    ("file", "keep", "said"),
    [
        ("metrics.jsonl", None, "lacks step 7"),
        ("metrics.jsonl", -20, "lacks step"),
        ("losses.float32", None, "ends at step 0, before its checkpoint of step"),
        ("losses.float32", 10, "ends at step 2, before its checkpoint of step"),
        ("config.json", 20, "cannot read"),
        ("manifest.json", 20, "cannot read"),
    ],
)
def test_a_record_cut_or_deleted(stopped, go_on, file, keep, said):
    """It is refused, and all the rest stays: with the file put back, the run goes on."""
    path = stopped / "run" / file
    path.unlink() if keep is None else path.write_bytes(path.read_bytes()[:keep])
    before = {
        other: other.read_bytes() for other in stopped.rglob("*") if other.is_file() and other.name != "manifest.json"
    }
    with pytest.raises(RecordError) as refused:
        go_on(stopped)
    assert str(path) in str(refused.value) and said in str(refused.value) and "\n" not in str(refused.value)
    assert before == {other: other.read_bytes() for other in before}


def test_too_little_memory_is_one_line_that_says_what_to_lower(digits_dir, tmp_path):
    status, stderr = attempt(digits_dir, tmp_path, "--width=65536", AS=12 * 2**30)
    assert_one_line(status, stderr, "out of memory", "lower --set=batch_size or --width", "--accumulate=N")
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_process_of_a_run_killed(digits_dir, tmp_path):
    """The others end too, with a line; the same command goes on."""
    flags = ["--processes=2", "--set=model.bn_group=16", "--devices=1"]
    whole = ["experiments.train", *arguments(digits_dir, tmp_path, "--checkpoint_seconds=0", *flags)]
    run_of_two = started.Started(*whole)
    while run_of_two.poll() is None and not reached(3)(tmp_path / "run" / "checkpoints"):
        time.sleep(0.01)
    pid = str(run_of_two.process.pid)
    children = subprocess.run(["pgrep", "-P", pid], capture_output=True, text=True).stdout.split()
    os.kill(int(children[1]), signal.SIGKILL)
    done = run_of_two.wait()
    assert done.returncode != 0
    assert "process 1 of 2 was ended by SIGKILL; the same command continues" in done.stderr
    done = started.Started(*whole).wait()
    assert done.returncode == 0, done.stderr
    sessions = json.loads((tmp_path / "run" / "manifest.json").read_text())["sessions"]
    assert sessions[1]["from_step"] >= 3 and sessions[1]["to_step"] == STEPS
