"""The only file that knows how many processes a run has.

Every process calls the same functions in the same order, here and wherever devices compute together. One of them, the
leader, has the run folder; the others do what it says.
"""

import functools
import json
import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from cnn_jax.config import ConfigError
from cnn_jax.train.record import RecordError

SYNC_SECONDS = 0.5  # between the steps at which the processes ask each other, at most
SYNC_STEPS = 16


def initialize(address: str | None = None, count: int | None = None, index: int | None = None) -> None:
    """Joins the processes of one run; called before anything asks for a device.

    With no argument JAX finds them out itself, from SLURM, Open MPI or a TPU pod. A process has all devices of its
    host, or where SLURM or Open MPI started several there, the GPU of its number among them.

    Args:
      address: host:port of process 0, the same for all.
      count: how many processes there are.
      index: which of them this is, from 0.

    Raises:
      ConfigError: some of them are missing, or the processes do not find each other.
    """
    arguments = {"--coordinator_address": address, "--num_processes": count, "--process_id": index}
    missing = [flag for flag, value in arguments.items() if value is None]
    if missing and len(missing) < len(arguments):
        raise ConfigError(
            f"{' and '.join(missing)} missing: processes want all of {', '.join(arguments)}, or none of them"
        )
    jax.config.update("jax_enable_preemption_service", False)  # it takes SIGTERM, before a run is there to see it
    try:
        jax.distributed.initialize(
            address, count, index, cluster_detection_method="deactivate" if address is not None else None
        )
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"the processes of this run do not find each other ({reason}); start it under SLURM, Open MPI or on a TPU "
            f"pod, or give {', '.join(arguments)}"
        ) from error
    if is_alone_on_host() and "JAX_LOCAL_DEVICE_IDS" not in os.environ:
        # JAX takes it that there is a process for each GPU, and leaves the others of the host idle.
        for kind in ("cuda", "rocm"):
            jax.config.update(f"jax_{kind}_visible_devices", "all")


def shutdown(status: int) -> None:
    """Ends this process when all processes of the run have come here; where it is alone, does nothing.

    JAX by itself takes down a process's devices first and has it wait for the others then, which now and then aborts it
    although the run is finished (https://github.com/marin-community/marin/issues/8392): here nothing is taken down.
    """
    if not jax.distributed.is_initialized():
        return
    jax.distributed.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def is_alone_on_host() -> bool:
    """Whether SLURM or Open MPI started one process of the run on each host, on this one at least."""
    on_each_host = os.environ.get("SLURM_STEP_TASKS_PER_NODE") or os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", "")
    return set(re.sub(r"\(x\d+\)", "", on_each_host).split(",")) == {"1"}  # SLURM's form is 2,1(x3)


def index() -> int:
    """Which process this is, from 0."""
    return jax.process_index()


def count() -> int:
    """How many processes the run has."""
    return jax.process_count()


def is_leader() -> bool:
    """Whether this process has the run folder."""
    return index() == 0


@functools.cache
def print_once(line: str) -> None:
    """Prints a line in the leader, however often it is asked for."""
    if is_leader():
        print(line, flush=True)


def run_on_leader(function: Callable[[], Any]) -> Any:
    """What the function returns in the leader, of what JSON can say; the others do not call it.

    Raises RecordError in all processes where it raises that in the leader.
    """
    if count() == 1:
        return function()
    answer: dict[str, Any] = {}
    if is_leader():
        try:
            answer = {"value": function()}
        except RecordError as error:
            answer = {"error": str(error)}
    message = np.frombuffer(json.dumps(answer).encode(), np.uint8)
    length = int(broadcast(np.int32(len(message))))
    answer = json.loads(broadcast(message if is_leader() else np.zeros(length, np.uint8)).tobytes())
    if "error" in answer:
        raise RecordError(answer["error"])
    return answer["value"]


def broadcast(tree: Any) -> Any:
    """The leader's numpy arrays, bit for bit, in every process, which gives a tree of the same shapes."""
    if count() == 1:
        return tree
    arrays = jax.tree.map(np.asarray, tree)
    # As bytes: what is sent is a sum with zeros, in which a negative zero would lose its sign.
    sent = multihost_utils.broadcast_one_to_all(jax.tree.map(lambda a: np.atleast_1d(a).view(np.uint8), arrays))
    return jax.tree.map(lambda b, a: np.asarray(b).view(a.dtype).reshape(a.shape), sent, arrays)


class Synchronizer:
    """When the processes of a run tell each other what their clocks and signals say, so that all act at one step."""

    def __init__(self, start: int):
        self.last, self.next, self.last_time = start, start + 1, time.monotonic()

    def synchronize(self, step: int, state: Any, signals: list[int], due: bool) -> tuple[int, bool]:
        """`(the signal that any process received or 0, whether something is due by the leader's clock)` at this step.

        Between synchronizations, which all have at the same steps, it is `(0, False)`; one waits for the state.
        """
        number = signals[0] if signals else 0
        if count() == 1:
            return number, due
        if step < self.next:
            return 0, False
        # On CPU what devices send each other may overtake what is under way, here and not there: all would wait.
        jax.block_until_ready(state)
        step_seconds = (time.monotonic() - self.last_time) / (step - self.last)
        stride = int(np.clip(SYNC_SECONDS / step_seconds, 1, SYNC_STEPS))
        message = np.asarray([number, *((due, stride) if is_leader() else (0, 0))], np.int32)
        number, due, stride = multihost_utils.process_allgather(message).max(axis=0)
        self.last, self.next, self.last_time = step, step + int(stride), time.monotonic()
        return int(number), bool(due)
