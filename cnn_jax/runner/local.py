"""Several processes of one run on this machine, which start this command again: to try out what a cluster does."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from typing import IO, Any

from cnn_jax.train.signals import stop_signals

PROCESS_VARIABLE = (
    "CNN_JAX_PROCESS"  # tells a process that was started here the address of the first, and its own number
)
SAVE_SECONDS = 60.0  # in which a run whose parent is gone can save
GRACE_SECONDS = 10.0  # in which the others may end by themselves, once one of them has ended with an error


def child_identity() -> tuple[str, int] | None:
    """`(address of the first, own number)` in a process that was started here, which then ends with its parent."""
    if PROCESS_VARIABLE not in os.environ:
        return None
    threading.Thread(target=end_with_parent, daemon=True).start()
    address, index = os.environ[PROCESS_VARIABLE].split()
    return address, int(index)


def end_with_parent() -> None:
    """Waits for the end of standard input, which the parent holds open: then there is none any more."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SAVE_SECONDS)  # it may be waiting for another process, which is gone too
    os._exit(128 + signal.SIGTERM)


def run_processes(count: int) -> int:
    """Runs this command in `count` processes; returns the exit status of the first that had an error."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with stop_signals() as signals, tempfile.TemporaryFile("w+") as errors:
        children = [start_child(address, index, errors) for index in range(count)]
        output = threading.Thread(target=forward_output, args=(children[0].stdout,))
        output.start()
        try:
            first = wait_for_children(children, signals)
        finally:
            kill_children(children)
        output.join()
        if first is None or signals:
            return children[0].returncode if children[0].returncode >= 0 else 128 - children[0].returncode
        index, status = first
        if index > 0 and status > 0:  # the first has said for itself what it has to say
            errors.seek(0)
            sys.stderr.write(errors.read())
        if status < 0:
            name = signal.Signals(-status).name
            print(f"process {index} of {count} was ended by {name}; the same command continues", file=sys.stderr)
        return status if status > 0 else 128 - status


def start_child(address: str, index: int, errors: IO[str]) -> "subprocess.Popen[str]":
    """This command again, as one of the run's processes; Ctrl-C reaches it by way of this one."""
    streams: dict[str, Any] = {"stdout": subprocess.PIPE}
    if index > 0:
        streams = {"stdout": subprocess.DEVNULL, "stderr": errors}
    return subprocess.Popen(
        [sys.executable, *sys.orig_argv[1:]],
        env=os.environ | {PROCESS_VARIABLE: f"{address} {index}", "JAX_COORDINATOR_BIND_ADDRESS": address},
        stdin=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **streams,
    )


def forward_output(lines: IO[str]) -> None:
    """Prints what the first process prints, but for Gloo's word on each of its connections."""
    for line in lines:
        if not line.startswith("[Gloo]"):
            print(line, end="", flush=True)


def wait_for_children(children: "list[subprocess.Popen[str]]", signals: list[int]) -> tuple[int, int] | None:
    """Waits until all have ended, or one with an error and the others not soon after: its `(index, status)`."""
    terminated, first, since = False, None, 0.0
    while any(child.poll() is None for child in children):
        if signals and not terminated:
            terminated = True
            for child in children:
                child.terminate()
        ended = {index: child.returncode for index, child in enumerate(children) if child.poll()}
        if ended and first is None:
            first, since = next(iter(ended.items())), time.monotonic()
        if first is not None and time.monotonic() - since > GRACE_SECONDS:
            break
        time.sleep(0.05)
    ended = ((index, child.returncode) for index, child in enumerate(children) if child.returncode)
    return first or next(ended, None)


def kill_children(children: "list[subprocess.Popen[str]]") -> None:
    """Ends those that still run: one that waits for a process that is gone never ends by itself."""
    for child in children:
        child.kill()
    for child in children:
        child.wait()
