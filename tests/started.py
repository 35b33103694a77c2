"""Pages started in processes of their own, as a user starts them but for what takes long: importing.

Each is forked from a process that has imported what all pages import, but no page and no device: in place of four
seconds it takes a few tenths. `tests.test_experiments.launch` starts a page from nothing.
"""

import gc
import multiprocessing
import os
import resource
import runpy
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import jax

ROOT = Path(__file__).parents[1]
PATIENCE = 300  # seconds
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["cnn_jax.sweep", "cnn_jax.plan", "cnn_jax.verify", "cnn_jax.features", "cnn_jax.studies", "tensorboardX"]
)


class Started:
    """A module that runs as `python -m MODULE ARGUMENTS` does, in a process; what it prints goes to two files.

    `environment` is what it is to find in os.environ; for JAX, which was imported before, that comes too late:
    `settings` are those of jax.config. `limits` are the kernel's, RLIMIT_... of `resource`.
    """

    def __init__(self, module, *arguments, **changes):
        self.arguments = [module, *map(str, arguments)]
        self.folder = tempfile.TemporaryDirectory()
        whole = self.arguments[0], self.arguments[1:], self.folder.name
        self.process = CONTEXT.Process(target=run, args=whole, kwargs=changes)
        self.process.start()

    def poll(self):
        """Its exit status, minus the signal that ended it, or None while it runs."""
        return self.process.exitcode

    def send_signal(self, number):
        os.kill(self.process.pid, number)

    def wait(self):
        """What came of it, as `subprocess.run` has it."""
        self.process.join(PATIENCE)
        status = self.process.exitcode
        self.process.kill()
        printed = [(Path(self.folder.name) / stream).read_text() for stream in ("stdout", "stderr")]
        self.folder.cleanup()
        assert status is not None, f"{self.arguments} did not end: {printed}"
        return subprocess.CompletedProcess(self.arguments, status, *printed)


def run_page(name, *flags, **changes):
    """What came of a page."""
    return Started(f"experiments.{name}", *flags, **changes).wait()


def run(module, arguments, folder, environment=None, settings=None, limits=None):
    os.chdir(ROOT)
    os.environ.update(environment or {})
    for name, value in (settings or {}).items():
        jax.config.update(name, value)
    for kind, value in (limits or {}).items():
        resource.setrlimit(kind, (value, value))
    gc.set_threshold(100_000, 50, 100)  # as in conftest
    for number, stream in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(Path(folder) / stream, os.O_WRONLY | os.O_CREAT), number)
    warnings.simplefilter("error")
    sys.argv = [module, *arguments]
    sys.orig_argv = [sys.executable, "-W", "error", "-m", *sys.argv]  # what --processes starts again
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def read_refusal(name, *flags):
    """The one line of a page that refuses its flags and prints nothing else, but whose recipe they change."""
    done = run_page(name, *flags)
    printed = [line for line in done.stdout.splitlines() if not line.startswith("recipe of ")]
    assert (done.returncode, printed) == (1, []), done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr
