"""Runs in this process: one after another, or one on each device at a time."""

import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue

from cnn_jax.config import Config
from cnn_jax.runner.one import Outcome, try_run
from cnn_jax.runner.settings import Settings
from cnn_jax.train.signals import Stopped, stop_signals


def run_serially(todo: Mapping[Path, Config], settings: Settings) -> Iterator[Outcome]:
    """One run after another, in this process."""
    for folder, config in todo.items():
        yield try_run(config, folder, settings)


def run_on_each_device(todo: Mapping[Path, Config], settings: Settings) -> Iterator[Outcome]:
    """A run at a time on each device, in a thread of its own; each gives the numbers it gives alone on one device.

    Raises Stopped on a signal, when all runs at hand are saved.
    """
    places = range(len(settings.layouts))
    # Only the main thread receives signals.
    with stop_signals() as signals, ThreadPoolExecutor(len(places)) as pool:
        free: SimpleQueue[Settings] = SimpleQueue()
        for place in places:
            free.put(settings._replace(place=place, progress=False, signals=signals))
        futures = [pool.submit(try_run_on_free_device, free, config, folder) for folder, config in todo.items()]
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


def try_run_on_free_device(free: "SimpleQueue[Settings]", config: Config, folder: Path) -> Outcome:
    """`try_run` on a device that is free; raises Stopped."""
    settings = free.get()
    try:
        if settings.signals:
            raise Stopped(f"{folder} was not begun", settings.signals[0])
        return try_run(config, folder, settings)
    finally:
        free.put(settings)
