"""A small run in processes of its own, ended by signals at chosen moments; and what it leaves."""

import json
import sys
import time

from cnn_jax.config import from_dict
from cnn_jax.runner import Settings, run_one
from tests import started

STEPS = 40
PAGE = ("experiments.train",)
FLAGS = [
    "--model=plain8",
    "--width=4",
    "--validation=37",
    "--noprogress",
    "--run=run",
    "--set=batch_size=32",
    f"--set=steps={STEPS}",
    "--set=evaluations=6",
    "--set=data.pad=1",
    "--set=data.flip=true",
]


def arguments(data_dir, workdir, *more):
    return [f"--data_dir={data_dir}", f"--workdir={workdir}", *FLAGS, *more]


def sweep_flags(data_dir, workdir, *more):
    """Of depth_sweep for the same run with three seeds."""
    shared = [flag for flag in FLAGS if not flag.startswith(("--model=", "--run="))]
    cells = ["--depths=8", "--kinds=plain", "--seeds=0,1,2", f"--data_dir={data_dir}", f"--workdir={workdir}"]
    return [*shared, *cells, *more]


def sweep_command(data_dir, workdir, *more):
    return [sys.executable, "-m", "experiments.depth_sweep", *sweep_flags(data_dir, workdir, *more)]


def run(data_dir, workdir, *flags, page=PAGE):
    done = started.Started(*page, *arguments(data_dir, workdir, *flags)).wait()
    assert done.returncode == 0, done.stderr
    return done.stdout


def go_on(data_dir, workdir, undisturbed, **settings):
    """The run in this process, without its page; its config is that of the folder in which it was left undisturbed."""
    config = from_dict(json.loads((undisturbed / "run" / "config.json").read_text()))
    return run_one(config, workdir / "run", Settings(data_dir=str(data_dir), progress=False, **settings))


def interrupt(data_dir, workdir, number, moment, *flags, page=PAGE):
    """Starts the run, saving after each step, and sends the signal at the moment; returns (exit status, stderr)."""
    process = started.Started(*page, *arguments(data_dir, workdir, "--checkpoint_seconds=0", *flags))
    deadline = time.monotonic() + 200
    while process.poll() is None and not moment(workdir / "run" / "checkpoints"):
        assert time.monotonic() < deadline, "the moment did not come"
        time.sleep(0.001)
    if process.poll() is None:
        process.send_signal(number)
    done = process.wait()
    return done.returncode, done.stderr


def reached(step):
    return lambda checkpoints: any((checkpoints / str(saved)).exists() for saved in range(step, STEPS))


def saving(checkpoints):
    """A save is under way, and not the first."""
    return checkpoints.exists() and any(
        "tmp" in path.name and not path.name.startswith("0") for path in checkpoints.iterdir()
    )


def read_outcome(workdir, run="run"):
    """All that a run leaves which depends on its config alone."""
    folder = workdir / run
    result = json.loads((folder / "result.json").read_text())
    del result["seconds"]
    meta = json.loads((folder / "checkpoints" / str(STEPS) / "meta" / "metadata").read_text())
    return (folder / "metrics.jsonl").read_bytes(), meta["digest"], result
