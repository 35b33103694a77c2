"""A sweep on two Ray nodes, through a signal, a killed driver and a lost node: real processes on this machine."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from cnn_jax.runner import Settings, cluster
from tests.started import ROOT, read_refusal, run_page

STEPS = 50
SWEEP = [
    *("--depths=8", "--kinds=plain", "--seeds=0,1", "--width=4", "--devices=1"),
    *("--set=batch_size=32", f"--set=steps={STEPS}", "--set=evaluations=3", "--set=data.pad=1", "--set=data.flip=true"),
]


def sweep(data_dir, workdir, *flags):
    command = [sys.executable, "-m", "experiments.depth_sweep", f"--data_dir={data_dir}", f"--workdir={workdir}"]
    # As the variable of tests/ray_nodes.py: addresses on 127.0.0.1 are not taken for those of the machine.
    environment = os.environ | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "JAX_NUM_CPU_DEVICES": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*command, *SWEEP, *flags], text=True, cwd=ROOT, env=environment, **pipes)


def ends(workdir):
    """All that the runs leave which depends on their configs alone."""
    left = {}
    for folder in sorted(path.parent for path in workdir.glob("*/result.json")):
        meta = json.loads((folder / "checkpoints" / str(STEPS) / "meta" / "metadata").read_text())
        result = json.loads((folder / "result.json").read_text())
        del result["seconds"]
        left[folder.name] = [(folder / name).read_bytes() for name in ("metrics.jsonl", "losses.float32")]
        left[folder.name] += [meta["digest"], result]
    return left


def steps(workdir):
    """The newest checkpoint of each run that is not finished."""
    begun = [path for path in workdir.glob("*/checkpoints") if not (path.parent / "result.json").exists()]
    return {
        path.parent: max((int(step.name) for step in path.iterdir() if step.name.isdigit()), default=0)
        for path in begun
    }


def wait_for(process, moment):
    deadline = time.monotonic() + 300
    while not moment():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"the moment did not come: {process.communicate()}")
        time.sleep(0.01)


def both_move(workdir):
    """Two runs are past where they were, by a few steps, and far from their end."""
    before = steps(workdir)
    return lambda: sum(step > before.get(run, 0) + 3 for run, step in steps(workdir).items()) >= 2


@pytest.fixture
def nodes():
    pytest.importorskip("ray", reason="Ray is not installed: EXTRAS=ray ./launch.sh test")
    command = [sys.executable, "-m", "tests.ray_nodes"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, cwd=ROOT, **pipes) as process:
        yield process
        process.stdin.close()


def test_a_sweep_goes_on_through_a_signal_a_killed_driver_and_a_lost_node(nodes, digits_dir, tmp_path):
    here = [*SWEEP, f"--data_dir={digits_dir}", f"--workdir={tmp_path / 'alone'}", "--noprogress"]
    alone = run_page("depth_sweep", *here)
    assert alone.returncode == 0, alone.stderr
    address = nodes.stdout.readline().strip()
    workdir, flags = tmp_path / "ray", ["--executor=ray", f"--ray_address={address}", "--checkpoint_seconds=0"]

    driver = sweep(digits_dir, workdir, *flags)
    wait_for(driver, both_move(workdir))
    driver.terminate()
    _, told = driver.communicate(timeout=100)
    assert driver.returncode == 128 + signal.SIGTERM
    assert told.splitlines()[-1] == "SIGTERM: the runs are saved; the same command continues"
    assert not list(workdir.glob("*/failure.json")) and not list(workdir.glob("*/result.json"))

    driver = sweep(digits_dir, workdir, *flags)
    wait_for(driver, both_move(workdir))
    driver.kill()
    driver.communicate()

    driver = sweep(digits_dir, workdir, *flags)
    wait_for(driver, both_move(workdir))
    nodes.stdin.write("\n")
    nodes.stdin.flush()
    printed, told = driver.communicate(timeout=200)
    assert driver.returncode == 0, told
    assert "is lost; it is continued from its checkpoint" in told
    assert ends(workdir) == ends(tmp_path / "alone")
    assert len(ends(workdir)) == 2 and not list(workdir.glob("*/worker.json"))


def test_without_ray_one_line_says_how_to_get_it(tmp_path):
    code = (
        "import runpy, sys; sys.modules['ray'] = None; runpy.run_module('experiments.depth_sweep', run_name='__main__')"
    )
    flags = ["--executor=ray", f"--workdir={tmp_path / 'work'}"]
    done = subprocess.run([sys.executable, "-c", code, *flags], capture_output=True, text=True, timeout=100, cwd=ROOT)
    assert (done.returncode, done.stderr) == (
        1,
        "error: --executor=ray: Ray is not installed here; EXTRAS=ray ./launch.sh ... installs it\n",
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("gpus", "platforms", "share_of_memory"), [(0.0, "cpu", None), (0.5, None, "0.450"), (1.0, None, None)]
)
def test_a_run_computes_on_what_it_is_given(gpus, platforms, share_of_memory, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # of the driver, which computes nothing
    kept = cluster.environment(Settings(executor="ray", gpus_per_run=gpus))
    assert (kept.get("JAX_PLATFORMS"), kept.get("XLA_CLIENT_MEM_FRACTION")) == (platforms, share_of_memory)
    assert kept["JAX_NUM_CPU_DEVICES"] == "1" and kept["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--workers=2"], "--executor=ray decides itself how many runs there are at a time: leave --workers=2 out"),
        (["--seeds_in_parallel"], "leave --seeds_in_parallel out"),
        (["--gpus_per_run=1.5"], "--gpus_per_run=1.5: a whole number, or a fraction of one GPU"),
        (["--ray_address=127.0.0.1:1"], "--ray_address=127.0.0.1:1: no Ray cluster is reached"),
    ],
)
def test_what_cannot_be_is_one_line(flags, told, digits_dir, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: EXTRAS=ray ./launch.sh test")
    assert told in read_refusal(
        "depth_sweep", "--executor=ray", *flags, f"--data_dir={digits_dir}", f"--workdir={tmp_path}"
    )
