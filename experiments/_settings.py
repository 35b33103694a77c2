"""Flags of how runs are run, none of which changes a number."""

import shlex
import sys
from pathlib import Path

from absl import flags

from cnn_jax.runner import Settings
from experiments import _data, _devices

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(_data)
flags.adopt_module_key_flags(_devices)
flags.DEFINE_float("checkpoint_seconds", 60.0, "Seconds between checkpoints; the end and a signal save in any case.")
flags.DEFINE_integer("workers", 1, "Runs at a time, each in its own process; above 1 is for CPUs.", lower_bound=1)
flags.DEFINE_bool("seeds_in_parallel", False, "A run on each device at a time, in place of one run over all of them.")


def settings() -> Settings:
    """How to run, from the flags."""
    return Settings(
        data_dir=FLAGS.data_dir,
        download=FLAGS.download,
        skip_damaged=FLAGS.skip_damaged,
        decode_workers=FLAGS.decode_workers,
        parallel=FLAGS.parallel,
        devices=FLAGS.devices,
        accumulate=FLAGS.accumulate,
        checkpoint_seconds=FLAGS.checkpoint_seconds,
        workers=FLAGS.workers,
        seeds_in_parallel=FLAGS.seeds_in_parallel,
        progress=FLAGS.progress,
        command=shlex.join(["./launch.sh", Path(sys.argv[0]).stem, *sys.argv[1:]]),
    )
