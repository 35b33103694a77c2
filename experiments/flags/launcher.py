"""How every page starts and ends: its flags parsed, errors as one line with a non-zero exit."""

import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import app, flags, logging

from cnn_jax.benchmark.turns import BenchmarkError
from cnn_jax.config import ConfigError
from cnn_jax.config.describe import describe_fields
from cnn_jax.data import DataError, locate
from cnn_jax.runner import local
from cnn_jax.train import processes
from cnn_jax.train.devices import enable_determinism
from cnn_jax.train.loop import TrainingError
from cnn_jax.train.record import RecordError
from cnn_jax.train.signals import Stopped
from cnn_jax.weights import WeightsError
from experiments.flags import processes as processes_flags
from experiments.flags.parsing import parse_flags

FLAGS = flags.FLAGS


def launch(main: Callable[[], int | None]) -> None:
    """Runs a page: its flags parsed, what a user can mend told in one line on stderr with exit status 1."""

    def run(_: Sequence[str]) -> int | None:
        if "set" in FLAGS and "help" in FLAGS.set:
            print(describe_fields())
            return 0
        if not FLAGS["verbosity"].present:
            logging.set_verbosity(
                logging.WARNING
            )  # absl's own choice is to show what JAX and Orbax note for themselves
        try:
            if "deterministic" in FLAGS and FLAGS.deterministic:
                enable_determinism()
            if {"dataset", "data_dir"} <= set(FLAGS) and FLAGS.dataset:
                FLAGS.dataset, FLAGS.data_dir = locate(FLAGS.dataset, FLAGS.data_dir)
            if processes_flags.starts_processes():
                return local.run_processes(FLAGS.processes)
            processes_flags.join_run()
            status = main()
            processes.shutdown(status or 0)
            return status
        except (BenchmarkError, ConfigError, DataError, RecordError, TrainingError, WeightsError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except BrokenPipeError:
            try:
                print(flush=True)
            except BrokenPipeError:  # whoever read, head for instance, has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return 128 + signal.SIGPIPE
            raise
        except Stopped as stopped:
            print(stopped, file=sys.stderr)
            processes.shutdown(stopped.exit_status)
            return stopped.exit_status

    warnings.formatwarning = format_warning  # ty: ignore[invalid-assignment]  (to it each function is a type of its own)
    app.run(run, flags_parser=parse_flags)


def format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning as it is shown: not the line of code that it comes from."""
    text = " ".join(str(message).split())
    of_compiled = text.startswith("Error reading persistent compilation cache")
    return f"warning: {text}" + "; ./launch.sh doctor mends it" * of_compiled + "\n"


def expand_path(folder: str) -> Path:
    """The folder, `~` expanded."""
    return Path(folder).expanduser()
