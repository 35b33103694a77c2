"""One run after another, or many side by side: in processes of their own, or on a device each.

A failure is recorded and ends nothing else.
"""

import functools
import multiprocessing
import signal
import threading
import traceback
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import jax

from cnn_jax import classification, data
from cnn_jax.config import Config, ConfigError
from cnn_jax.data import Dataset
from cnn_jax.train import devices, loop, record
from cnn_jax.train.devices import Layout
from cnn_jax.train.signals import Stopped, stop_signals
from cnn_jax.train.task import Task

PREPARING = threading.Lock()


class Settings(NamedTuple):
    """How a sweep is run; none of it changes a number.

    Attributes:
      data_dir: folder of prepared data sets; None is TFDS's own.
      download: whether a missing data set may be downloaded.
      parallel: auto, jit or pmap.
      devices: how many devices of each process; None is all.
      accumulate: parts of a batch, one after another.
      checkpoint_seconds: seconds between a run's checkpoints.
      workers: runs at a time, each in a process of its own where there are several.
      seeds_in_parallel: whether there is a run on each device at a time, in place of one run over all of them.
      progress: whether to draw progress bars.
      command: what the user typed, for the manifests.
      place: with `seeds_in_parallel`, which of the devices is meant, from 0.
      signals: where the signals that arrive are put; None is for `loop.fit` to receive them itself.
    """

    data_dir: str | None = None
    download: bool = False
    parallel: str = "auto"
    devices: int | None = None
    accumulate: int = 1
    checkpoint_seconds: float = 60.0
    workers: int = 1
    seeds_in_parallel: bool = False
    progress: bool = True
    command: str = ""
    place: int = 0
    signals: list[int] | None = None

    @property
    def layouts(self) -> list[Layout]:
        """One for each run at a time in this process; raises ConfigError."""
        if not self.seeds_in_parallel:
            return [devices.choose(self.parallel, self.devices, self.accumulate)]
        if self.workers > 1:
            raise ConfigError(
                f"--seeds_in_parallel is a run on each device, --workers={self.workers} is processes that share a CPU: "
                "leave one out"
            )
        return devices.one_each(self.parallel, self.devices)

    @property
    def layout(self) -> Layout:
        """What one run is spread over; raises ConfigError."""
        return self.layouts[self.place]


class Outcome(NamedTuple):
    """How a run ended: its result, or None and the error."""

    folder: Path
    result: dict[str, Any] | None
    error: str | None


@functools.lru_cache(maxsize=1)
def load(name: str, validation: int, data_dir: str | None, download: bool) -> Dataset:
    """The data set, read once a process; raises DataError."""
    return data.load(name, data_dir, validation=validation, download=download)


draw = functools.lru_cache(maxsize=16)(data.draw)  # what runs side by side learn from


def load_for(config: Config, data_dir: str | None, download: bool) -> Dataset:
    """What the config learns from and is tested on; raises DataError."""
    dataset = load(config.data.name, config.data.validation, data_dir, download)
    count = config.data.train_examples
    return draw(dataset, count, config.seed) if count else dataset


def prepare(config: Config, settings: Settings) -> tuple[Task, Dataset]:
    """What a run learns and from what; runs side by side share both."""
    with PREPARING:  # or each thread would read the data for itself
        dataset = load_for(config, settings.data_dir, settings.download)
        return classification.make_task(config, dataset, settings.layout.axis_name), dataset


def run_one(config: Config, folder: Path, settings: Settings) -> dict[str, Any]:
    """Runs or continues one config and returns its result; raises what `loop.fit` raises."""
    task, dataset = prepare(config, settings)
    layout = settings.layout
    options = loop.Options(
        layout,
        checkpoint_seconds=settings.checkpoint_seconds,
        progress=settings.progress,
        command=settings.command,
        signals=settings.signals,
    )
    with devices.placed(layout):
        return loop.fit(task, config, dataset, folder, options)


def initial_parameters(config: Config, settings: Settings) -> Any:
    """The parameters a run begins with, as numpy arrays."""
    task, dataset = prepare(config, settings)
    return task.init(jax.random.key(config.seed), dataset.splits["train"])["params"]


def attempt(config: Config, folder: Path, settings: Settings) -> Outcome:
    """`run_one`, a failure being recorded in failure.json; raises Stopped alone."""
    try:
        return Outcome(folder, run_one(config, folder, settings), None)
    except (ConfigError, data.DataError, record.RecordError, loop.TrainingError) as error:
        return fail(folder, str(error), None)
    except Stopped:
        raise
    except Exception as error:  # one run's failure, out of memory for instance, must not end the others
        summary = str(error).strip().partition("\n")[0]
        return fail(folder, f"{type(error).__name__}: {summary}", traceback.format_exc())


def fail(folder: Path, error: str, trace: str | None) -> Outcome:
    """Records a failure in the run folder, where that can be written."""
    if folder.is_dir():
        record.write_json(folder / "failure.json", {"error": error, "traceback": trace})
    return Outcome(folder, None, error)


def execute(todo: Mapping[Path, Config], settings: Settings) -> Iterator[Outcome]:
    """Runs all, as the settings say, and yields each outcome when it is there. Raises Stopped on a signal."""
    if settings.seeds_in_parallel:
        return on_each_device(todo, settings)
    return (in_processes if settings.workers > 1 else serial)(todo, settings)


def serial(todo: Mapping[Path, Config], settings: Settings) -> Iterator[Outcome]:
    """One run after another, in this process."""
    for folder, config in todo.items():
        yield attempt(config, folder, settings)


def on_each_device(todo: Mapping[Path, Config], settings: Settings) -> Iterator[Outcome]:
    """A run at a time on each device, in a thread of its own; each gives the numbers it gives alone on one device.

    Raises Stopped on a signal, when all runs at hand are saved.
    """
    places = range(len(settings.layouts))
    # Only the main thread receives signals.
    with stop_signals() as signals, ThreadPoolExecutor(len(places)) as pool:
        free: SimpleQueue[Settings] = SimpleQueue()
        for place in places:
            free.put(settings._replace(place=place, progress=False, signals=signals))
        futures = [pool.submit(attempt_on, free, config, folder) for folder, config in todo.items()]
        try:
            for future in as_completed(futures):
                yield future.result()
        except Stopped:
            pool.shutdown(cancel_futures=True)
        except BaseException:  # nobody takes the outcomes any more: what runs is to be saved, not finished
            signals.append(signal.SIGTERM)
            pool.shutdown(cancel_futures=True)
            raise
        if signals:
            raise Stopped("the runs are saved; the same command continues", signals[0])


def attempt_on(free: "SimpleQueue[Settings]", config: Config, folder: Path) -> Outcome:
    """`attempt` on a device that is free; raises Stopped."""
    settings = free.get()
    try:
        if settings.signals:
            raise Stopped(f"{folder} was not begun", settings.signals[0])
        return attempt(config, folder, settings)
    finally:
        free.put(settings)


class Worker(NamedTuple):
    """A process that runs what it is sent, and what it is running."""

    process: BaseProcess
    connection: Connection
    folder: Path


def in_processes(todo: Mapping[Path, Config], settings: Settings) -> Iterator[Outcome]:
    """`settings.workers` runs at a time; a worker that dies fails its run alone. Raises Stopped on a signal."""
    queue = list(todo.items())
    quiet = settings._replace(progress=False)
    workers: dict[Connection, Worker] = {}
    try:
        with stop_signals() as signals:
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
                    raise Stopped("the workers saved their runs; the same command continues", signals[0])
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
        except Stopped as stopped:
            raise SystemExit(stopped.exit_status) from None
