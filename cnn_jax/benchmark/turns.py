"""Two sides of a benchmark as processes that take turns: one computes while the other waits for its next line.

A side is a module run as `python -m MODULE WORKLOAD`; it prints what it found out while getting ready, then answers
each command. Lines of JSON both ways. Nothing of JAX or PyTorch is imported here.
"""

import dataclasses
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

PAUSE_SECONDS = 0.3  # seconds between turns: the threads of the side that stopped still spin for a moment
PIXELS = 2**21  # of the random images: 2,048 of CIFAR's, so that larger ones do not weigh in the memory of a step


class BenchmarkError(RuntimeError):
    """A side that cannot be timed; the message is one line."""


@dataclass(frozen=True)
class Workload:
    """What both sides do: training steps, or evaluation.

    Attributes:
      model: `plain20`, `resnet20`, ...; beside a peer one that has a twin, see `twins`.
      batch_size, image_size: examples a step, pixels a side.
      width: channels of the first stage; None is the network's own.
      dtype: compute type, float32 or bfloat16.
      threads: CPU threads of each side.
      parallel, devices: how our step is spread over devices; a peer uses one.
      settings: our config's other fields, as for --set.
      inference: evaluation in place of training: running statistics, no dropout, loss and top-1 error summed.
      started: when the side's process was started, `time.time()`.
    """

    model: str
    batch_size: int
    image_size: int
    width: int | None
    dtype: str
    threads: int
    parallel: str = "auto"
    devices: int | None = None
    settings: tuple[str, ...] = ()
    inference: bool = False
    started: float = 0.0

    def examples(self) -> tuple[np.ndarray, np.ndarray]:
        """Random images, uint8 (N, H, W, 3), and labels of ten classes, int32 (N,), two whole batches or more."""
        generator = np.random.default_rng(0)
        count = max(2, min(2048, PIXELS // self.image_size**2) // self.batch_size) * self.batch_size
        shape = (count, self.image_size, self.image_size, 3)
        return generator.integers(0, 256, shape, np.uint8), generator.integers(0, 10, count, np.int32)


@dataclass(frozen=True)
class InputWorkload:
    """What both sides of the input benchmark do: random resized crops of an image folder, mirrored, in batches.

    Attributes:
      folder: with `train/<class>/*`.
      batch_size, size: images a batch, pixels a side.
      workers: processes that decode; 0 is none beside this one.
      pixels: uint8, or normalized: float32, less the mean and divided by the deviation.
      started: when the side's process was started, `time.time()`.
    """

    folder: str
    batch_size: int
    size: int
    workers: int
    pixels: str = "uint8"
    started: float = 0.0


def require_peer(peer: str | None, page: str, packages: Sequence[str] = ("torch",)) -> None:
    """Raises BenchmarkError where there is to be a peer and packages of it are not installed."""
    missing = [name for name in packages if peer and find_spec(name) is None]
    if missing:
        raise BenchmarkError(
            f"--peer={peer} wants {' and '.join(missing)}: EXTRAS=bench ./launch.sh {page} ... installs it"
        )


def peak_resident_bytes() -> int:
    """The most memory this process has held in RAM so far, its libraries included."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage's begins, on Linux, at what the process that started this one held
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def cpu_threads() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class SideProcess:
    """A running side: `facts` it told when it was ready, and `ask` for more."""

    def __init__(self, module: str, workload: Workload | InputWorkload, environment: Mapping[str, str] | None = None):
        self.module = module
        argument = json.dumps(dataclasses.asdict(dataclasses.replace(workload, started=time.time())))
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, argument],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.facts = self.read_answer()

    def __enter__(self) -> "SideProcess":
        return self

    def __exit__(self, *_: Any) -> None:
        self.process.kill()
        self.process.communicate()

    def read_answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            _, errors = self.process.communicate()
            status, lines = self.process.returncode, errors.strip().splitlines() or ["no message"]
            raise BenchmarkError(f"{self.module} ended with exit status {status}: {lines[-1]}")
        answer = json.loads(line)
        if "refused" in answer:
            raise BenchmarkError(answer["refused"])
        return answer

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """What the side's `command` returns; raises BenchmarkError where the side ended instead."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"command": command, **arguments}) + "\n")
        self.process.stdin.flush()
        return self.read_answer()


def serve(set_up: Callable[[Any], tuple[dict[str, Any], Mapping[str, Callable[..., Any]]]], kind: Any) -> None:
    """A side's life: gets ready for a workload of that kind, tells its facts or why it cannot, answers commands."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not be taken for an answer
    values = json.loads(sys.argv[1])

    def send(values: dict[str, Any]) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    try:
        facts, commands = set_up(kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}))
    except BenchmarkError as error:
        send({"refused": str(error)})
        return
    send(facts)
    for line in sys.stdin:
        arguments = json.loads(line)
        send(commands[arguments.pop("command")](**arguments))


def time_alternately(
    ours: SideProcess, peer: SideProcess | None, rounds: int, steps: int
) -> tuple[list[float], list[float]]:
    """Seconds a step of each side in each round, the sides in alternation; the peer's list is empty without one."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for side, times in zip((ours, peer), seconds, strict=True):
            if side is not None:
                time.sleep(PAUSE_SECONDS)
                times.append(side.ask("steps", count=steps)["seconds"] / steps)
    return seconds
