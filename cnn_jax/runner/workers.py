"""Runs side by side, each in a process of its own."""

import multiprocessing
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from cnn_jax.config import Config
from cnn_jax.runner.one import Outcome, attempt, fail
from cnn_jax.runner.settings import Settings
from cnn_jax.train.signals import Stopped, stop_signals


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
