"""What the flags of `_devices` say of a run's processes: start them here, or be one of those that others started."""

import os
import sys

from absl import flags

from cnn_jax.config import ConfigError
from cnn_jax.runner import local
from cnn_jax.train import processes

FLAGS = flags.FLAGS


def starts_processes() -> bool:
    """Whether this command is to start local processes, and is not one of them. Raises ConfigError."""
    if "processes" not in FLAGS or FLAGS.processes == 1 or local.PROCESS_VARIABLE in os.environ:
        return False
    if FLAGS.distributed or FLAGS.coordinator_address:
        raise ConfigError("--processes starts all of a run's processes here; leave --distributed and the address out")
    return True


def join_run() -> None:
    """Makes this process one of its run's, where there are several; the first alone prints. Raises ConfigError."""
    if "processes" not in FLAGS:
        return
    address, count, index = FLAGS.coordinator_address, FLAGS.num_processes, FLAGS.process_id
    place = local.child_identity()
    if place:
        (address, index), count = place, FLAGS.processes
    elif not FLAGS.distributed and (address, count, index) == (None, None, None):
        return
    processes.initialize(address, count, index)
    if not processes.is_leader():
        sys.stdout = open(os.devnull, "w")
