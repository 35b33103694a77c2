"""One run, or many side by side in processes of their own; a failure is recorded and ends nothing else."""

import functools
import multiprocessing
import traceback
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import jax

from cnn_jax import classification, data
from cnn_jax.config import Config, ConfigError
from cnn_jax.data import Dataset
from cnn_jax.train import devices, loop, record
from cnn_jax.train.devices import Layout


class Settings(NamedTuple):
    """How a sweep is run; none of it changes a number.

    Attributes:
      data_dir: folder of prepared data sets; None is TFDS's own.
      download: whether a missing data set may be downloaded.
      parallel: auto, jit or pmap.
      devices: how many devices; None is all.
      checkpoint_seconds: seconds between a run's checkpoints.
      workers: runs at a time, each in a process of its own where there are several.
      progress: whether to draw progress bars.
      command: what the user typed, for the manifests.
    """

    data_dir: str | None = None
    download: bool = False
    parallel: str = "auto"
    devices: int | None = None
    checkpoint_seconds: float = 60.0
    workers: int = 1
    progress: bool = True
    command: str = ""

    @property
    def layout(self) -> Layout:
        return devices.choose(self.parallel, self.devices)


class Outcome(NamedTuple):
    """How a run ended: its result, or None and the error."""

    folder: Path
    result: dict[str, Any] | None
    error: str | None


@functools.lru_cache(maxsize=1)
def load(name: str, validation: int, data_dir: str | None, download: bool) -> Dataset:
    """The data set, read once a process; raises DataError."""
    return data.load(name, data_dir, validation=validation, download=download)


def load_for(config: Config, settings: Settings) -> Dataset:
    return load(config.data.name, config.data.validation, settings.data_dir, settings.download)


def run_one(config: Config, folder: Path, settings: Settings) -> dict[str, Any]:
    """Runs or continues one config and returns its result; raises what `loop.fit` raises."""
    dataset, layout = load_for(config, settings), settings.layout
    task = classification.make_task(config, dataset, layout.axis_name)
    options = loop.Options(layout, settings.checkpoint_seconds, settings.progress, settings.command)
    return loop.fit(task, config, dataset, folder, options)


def initial_parameters(config: Config, settings: Settings) -> Any:
    """The parameters a run begins with, as numpy arrays."""
    dataset = load_for(config, settings)
    task = classification.make_task(config, dataset, settings.layout.axis_name)
    return task.init(jax.random.key(config.seed), dataset.splits["train"])["params"]


def attempt(config: Config, folder: Path, settings: Settings) -> Outcome:
    """`run_one`, a failure being recorded in failure.json; raises loop.Stopped alone."""
    try:
        return Outcome(folder, run_one(config, folder, settings), None)
    except (ConfigError, data.DataError, record.RecordError, loop.TrainingError) as error:
        return fail(folder, str(error), None)
    except loop.Stopped:
        raise
    except Exception as error:  # one run's failure, out of memory for instance, must not end the others
        summary = str(error).strip().partition("\n")[0]
        return fail(folder, f"{type(error).__name__}: {summary}", traceback.format_exc())


def fail(folder: Path, error: str, trace: str | None) -> Outcome:
    """Records a failure in the run folder, where that can be written."""
    if folder.is_dir():
        record.write_json(folder / "failure.json", {"error": error, "traceback": trace})
    return Outcome(folder, None, error)


def serial(todo: Mapping[Path, Config], settings: Settings) -> Iterator[Outcome]:
    """One run after another, in this process."""
    for folder, config in todo.items():
        yield attempt(config, folder, settings)


class Worker(NamedTuple):
    """A process that runs what it is sent, and what it is running."""

    process: BaseProcess
    connection: Connection
    folder: Path


def in_processes(todo: Mapping[Path, Config], settings: Settings) -> Iterator[Outcome]:
    """`settings.workers` runs at a time; a worker that dies fails its run alone. Raises loop.Stopped on a signal."""
    queue = list(todo.items())
    quiet = settings._replace(progress=False)
    workers: dict[Connection, Worker] = {}
    try:
        with loop.stop_signals() as signals:
            while queue or workers:
                while queue and len(workers) < settings.workers:
                    worker = start(*queue.pop(0), quiet)
                    workers[worker.connection] = worker
                for connection in wait(list(workers), timeout=0.5):
                    worker = workers.pop(connection)  # ty: ignore[invalid-argument-type]
                    outcome = collect(worker)
                    if queue and worker.process.is_alive():
                        worker = hand_over(worker, *queue.pop(0), quiet)
                        workers[worker.connection] = worker
                    yield outcome
                if signals:
                    raise loop.Stopped("the workers saved their runs; the same command continues", signals[0])
    finally:
        for worker in workers.values():
            worker.process.terminate()  # SIGTERM: it saves and ends
        for worker in workers.values():
            worker.process.join()


def start(folder: Path, config: Config, settings: Settings) -> Worker:
    """A new process, at work on the config."""
    context = multiprocessing.get_context("spawn")  # a fork would inherit JAX's threads and locks
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there,), daemon=True)
    process.start()
    there.close()
    return hand_over(Worker(process, here, folder), folder, config, settings)


def hand_over(worker: Worker, folder: Path, config: Config, settings: Settings) -> Worker:
    worker.connection.send((config, folder, settings))
    return worker._replace(folder=folder)


def collect(worker: Worker) -> Outcome:
    """What the worker sent; a failure where it died instead."""
    try:
        return worker.connection.recv()
    except EOFError:
        worker.process.join()
        return fail(worker.folder, f"its worker process ended with exit status {worker.process.exitcode}", None)


def serve(connection: Connection) -> None:
    """A worker's life: runs what it is sent until the sender is gone, or a signal arrives."""
    while True:
        try:
            config, folder, settings = connection.recv()
        except EOFError:
            return
        try:
            connection.send(attempt(config, folder, settings))
        except loop.Stopped as stopped:
            raise SystemExit(stopped.exit_status) from None
