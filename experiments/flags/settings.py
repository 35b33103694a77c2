"""Flags of how runs are run, none of which changes a number."""

import shlex
import sys
from pathlib import Path

from absl import flags

from cnn_jax.runner import Settings, cluster
from experiments.flags import data
from experiments.flags import devices as devices_flags

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(data)
flags.adopt_module_key_flags(devices_flags)
flags.DEFINE_float("checkpoint_seconds", 60.0, "Seconds between checkpoints; the end and a signal save in any case.")
flags.DEFINE_integer("workers", 1, "Runs at a time, each in its own process; above 1 is for CPUs.", lower_bound=1)
flags.DEFINE_bool("seeds_in_parallel", False, "A run on each device at a time, in place of one run over all of them.")
flags.DEFINE_enum("executor", "local", ["local", "ray"], "Where runs run: this machine, or the nodes of a Ray cluster.")
flags.DEFINE_string(
    "ray_address",
    "auto",
    "With --executor=ray: auto, the cluster of this machine's `ray start`; local, a new one of this machine alone; "
    "host:port; or ray://host:port. Its nodes share --workdir, --data_dir and this folder.",
)
flags.DEFINE_float("gpus_per_run", 0, "With --executor=ray: GPUs of each run; a fraction is a share.", lower_bound=0)
flags.DEFINE_float("cpus_per_run", 1, "With --executor=ray: CPUs of each run.", lower_bound=0)
flags.DEFINE_float(
    "hung_seconds",
    1800,
    "With --workers or --executor=ray: a run without progress for so long is restarted, once.",
    lower_bound=1,
)


def make_settings() -> Settings:
    """How to run, from the flags."""
    options = Settings(
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
        executor=FLAGS.executor,
        ray_address=FLAGS.ray_address,
        gpus_per_run=FLAGS.gpus_per_run,
        cpus_per_run=FLAGS.cpus_per_run,
        hung_seconds=FLAGS.hung_seconds,
        progress=FLAGS.progress,
        command=shlex.join(["./launch.sh", Path(sys.argv[0]).stem, *sys.argv[1:]]),
    )
    if options.executor == "ray":
        cluster.use_cpu_only(options.devices_per_run)
    return options
