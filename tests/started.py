"""Pages started in processes of their own, for what they print before they compute anything.

Each is forked from a process that has imported what all pages import, but no page and no device: in place of two
seconds it takes a few tenths. `tests.test_experiments.launch` starts a page from nothing, as a user does.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATIENCE = 100  # seconds
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["cnn_jax.sweep", "cnn_jax.plan", "cnn_jax.evaluation.networks", "cnn_jax.report.page"])


def run_page(name, *flags):
    """What came of it, as `subprocess.run` has it."""
    with tempfile.TemporaryDirectory() as folder:
        process = CONTEXT.Process(target=run, args=(name, [str(flag) for flag in flags], folder))
        process.start()
        process.join(PATIENCE)
        status = process.exitcode
        process.kill()
        assert status is not None, f"{name} {flags} did not end"
        said = [(Path(folder) / stream).read_text() for stream in ("stdout", "stderr")]
    return subprocess.CompletedProcess([name, *flags], status, *said)


def run(name, flags, folder):
    os.chdir(ROOT)
    for number, stream in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(Path(folder) / stream, os.O_WRONLY | os.O_CREAT), number)
    warnings.simplefilter("error")
    sys.argv = [name, *flags]
    runpy.run_module(f"experiments.{name}", run_name="__main__", alter_sys=True)


def read_refusal(name, *flags):
    """The one line of a page that refuses its flags and prints nothing else."""
    done = run_page(name, *flags)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr
