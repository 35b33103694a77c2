"""Runs side by side, each in a process of its own."""

import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from cnn_jax.config import Config
from cnn_jax.runner.one import MEMORY_ADVICE, Outcome, record_failure, try_run
from cnn_jax.runner.settings import Settings
from cnn_jax.runner.view import View
from cnn_jax.train.signals import Stopped, stop_signals

MAX_TRIES = 2  # of a run whose process dies or hangs


class Worker(NamedTuple):
    """A process that runs what it is sent, and what it is running."""

    process: BaseProcess
    connection: Connection
    folder: Path


def run_in_workers(todo: Mapping[Path, Config], settings: Settings) -> Iterator[Outcome]:
    """`settings.workers` runs at a time; one whose process dies or hangs is tried once more, then failed alone.

    Raises Stopped on a signal, when all runs at hand are saved.
    """
    queue, tries, hung = list(todo), Counter[Path](), set[Path]()
    quiet = settings._replace(progress=False)
    workers: dict[Connection, Worker] = {}
    try:
        with stop_signals() as signals, View(todo, settings.progress) as view:
            while queue or workers:
                while queue and len(workers) < settings.workers:
                    worker = start_worker(queue[0], todo[queue.pop(0)], quiet, view)
                    workers[worker.connection] = worker
                ready = wait(list(workers), timeout=0.5)
                if signals:
                    raise Stopped("the workers saved their runs; the same command continues", signals[0])
                for connection in ready:
                    worker = workers.pop(connection)  # ty: ignore[invalid-argument-type]
                    outcome = receive_outcome(worker)
                    if outcome is None:
                        folder = worker.folder
                        reason = describe_hang(settings) if folder in hung else describe_exit(worker.process)
                        tries[folder] += 1
                        hung.discard(folder)
                        if tries[folder] < MAX_TRIES:
                            view.wait(folder, reason)
                            queue.insert(0, folder)
                            continue
                        outcome = record_failure(folder, reason)
                    view.end(outcome)
                    if queue and worker.process.is_alive():
                        worker = assign_run(worker, queue[0], todo[queue.pop(0)], quiet, view)
                        workers[worker.connection] = worker
                    yield outcome
                view.refresh()
                for folder in view.find_hung(settings.hung_seconds):
                    hung.add(folder)
                    next(worker for worker in workers.values() if worker.folder == folder).process.kill()
    finally:
        for worker in workers.values():
            worker.process.terminate()  # SIGTERM: it saves and ends
        for worker in workers.values():
            worker.process.join()


def start_worker(folder: Path, config: Config, settings: Settings, view: View) -> Worker:
    """A new process, at work on the config."""
    context = multiprocessing.get_context("spawn")  # a fork would inherit JAX's threads and locks
    connection, worker_connection = context.Pipe()
    process = context.Process(
        target=serve, args=(worker_connection,)
    )  # no daemon, which may not have processes that decode images
    process.start()
    worker_connection.close()
    return assign_run(Worker(process, connection, folder), folder, config, settings, view)


def assign_run(worker: Worker, folder: Path, config: Config, settings: Settings, view: View) -> Worker:
    worker.connection.send((config, folder, settings))
    view.begin(folder, f"process {worker.process.pid}")
    return worker._replace(folder=folder)


def receive_outcome(worker: Worker) -> Outcome | None:
    """What the worker sent; None where it died instead."""
    try:
        return worker.connection.recv()
    except (EOFError, ConnectionError):
        worker.process.join()
        return None


def describe_exit(process: BaseProcess) -> str:
    """How the process ended."""
    status = process.exitcode or 0
    if status == -signal.SIGKILL:
        return f"its worker process was killed by SIGKILL, perhaps by the kernel, out of memory; {MEMORY_ADVICE}"
    if status < 0:
        return f"its worker process was ended by {signal.Signals(-status).name}"
    return f"its worker process ended with exit status {status}"


def describe_hang(settings: Settings) -> str:
    return (
        f"it hung: its progress.json did not change for {settings.hung_seconds:g} s, and its process was killed; "
        "where its steps or evaluations take longer, give more --hung_seconds"
    )


def serve(connection: Connection) -> None:
    """A worker's life: runs what it is sent until the sender is gone, or a signal arrives."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    while True:
        try:
            config, folder, settings = connection.recv()
        except EOFError:
            return
        try:
            connection.send(try_run(config, folder, settings))
        except Stopped as stopped:
            raise SystemExit(stopped.exit_status) from None


def end_with_parent() -> None:
    """Waits until the process that started this one is gone, killed perhaps; then the run at hand is saved."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
