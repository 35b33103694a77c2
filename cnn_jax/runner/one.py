"""One run, from its config to its outcome."""

import contextlib
import functools
import threading
import time
import traceback
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from cnn_jax import data, tasks
from cnn_jax.config import Config, ConfigError
from cnn_jax.data import Dataset
from cnn_jax.runner.settings import Settings
from cnn_jax.train import devices, feed, loop, processes, record
from cnn_jax.train.signals import Stopped
from cnn_jax.train.table import format_table
from cnn_jax.train.task import Task

PREPARE_LOCK = threading.Lock()
MEMORY_ADVICE = "lower --set=batch_size or --width, give each batch in parts by --accumulate=N, or have fewer --workers"


class Outcome(NamedTuple):
    """How a run ended: its result, or None and the error."""

    folder: Path
    result: dict[str, Any] | None
    error: str | None


@functools.lru_cache(maxsize=1)
def load_dataset(
    name: str,
    validation: int,
    data_dir: str | None,
    download: bool,
    streamed: bool | None = False,
    skip_damaged: bool = False,
    fields: tuple[str, ...] = data.IMAGE_AND_LABEL,
    decoding: data.Decoding = data.AS_STORED,
    test_share: float = 0.0,
) -> Dataset:
    """The data set, read once a process, and what is to be said of it; raises DataError."""
    options: dict[str, Any] = {
        "validation": validation,
        "download": download,
        "streamed": streamed,
        "skip_damaged": skip_damaged,
        "decoding": decoding,
        "test_share": test_share,
    }
    dataset = data.load(name, data_dir, fields=fields, **options)
    print_notes(dataset.name, dataset.notes)
    if dataset.damaged:
        count = f"{len(dataset.damaged)} images of {dataset.name} cannot be decoded and are left out:"
        processes.print_once("\n  ".join([count, *dataset.damaged]))
    return dataset


draw_of_each_class = functools.lru_cache(maxsize=16)(data.draw_of_each_class)
draw_examples = functools.lru_cache(maxsize=16)(data.draw)  # what runs side by side learn from


@functools.lru_cache(maxsize=16)
def choose_classes(dataset: Dataset, classes: tuple[str, ...], validation: int) -> Dataset:
    """`data.select_classes`, once a process, and what is to be said of it; raises DataError."""
    chosen = data.select_classes(dataset, classes, validation)
    print_notes(dataset.name, chosen.notes[len(dataset.notes) :])
    return chosen


def print_notes(name: str, notes: Iterable[str]) -> None:
    for note in notes:
        processes.print_once(f"{name}: {note}")


def load_config_dataset(config: Config, data_dir: str | None, download: bool, skip_damaged: bool = False) -> Dataset:
    """What the config learns from and is tested on; raises DataError, and ConfigError on an unknown task."""
    wanted, fields = config.data, tasks.find(config.task).fields(config)
    streamed = True if wanted.crop else None  # images of any size are, too: what is shown of them is chosen later
    decoding = data.Decoding(wanted.bits, bool(wanted.exif_orientation))
    held_out = 0 if wanted.classes else wanted.validation  # of some classes alone when they are chosen
    dataset = load_dataset(
        *(wanted.name, held_out, data_dir, download, streamed, skip_damaged, fields),
        *(decoding, wanted.test_share),
    )
    if wanted.classes:
        dataset = choose_classes(dataset, wanted.classes, wanted.validation)
    if wanted.examples_per_class:
        return draw_of_each_class(dataset, wanted.examples_per_class, config.seed)
    count = 0 if dataset.streamed else wanted.train_examples
    return draw_examples(dataset, count, config.seed) if count else dataset


def prepare(config: Config, settings: Settings) -> tuple[Task, Dataset]:
    """What a run learns and from what; runs side by side share both."""
    with PREPARE_LOCK:  # or each thread would read the data for itself
        dataset = load_config_dataset(config, settings.data_dir, settings.download, settings.skip_damaged)
        return tasks.make(config, dataset, settings.layout.axis_name), dataset


def run_one(config: Config, folder: Path, settings: Settings) -> dict[str, Any]:
    """Runs or continues one config and returns its result.

    Raises what `loop.fit` raises; where memory does not suffice that is a TrainingError.
    """
    layout = settings.layout
    options = loop.Options(
        layout,
        checkpoint_seconds=settings.checkpoint_seconds,
        decode_workers=settings.decode_workers,
        progress=settings.progress,
        about={"command": settings.command, "data_dir": settings.data_dir},
        signals=settings.signals,
    )
    until = time.monotonic() + settings.lock_seconds
    with convert_memory_errors():
        task, dataset = prepare(config, settings)
        with devices.default_device(layout):
            while True:
                try:
                    return loop.fit(task, config, dataset, folder, options)
                except record.InUseError:
                    if time.monotonic() > until:
                        raise
                time.sleep(1)


@contextlib.contextmanager
def convert_memory_errors() -> Generator[None]:
    """Has what the host or a device says where memory does not suffice raised as TrainingError."""
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" not in reason:
            raise
        raise loop.TrainingError(f"out of memory ({reason or type(error).__name__}); {MEMORY_ADVICE}") from error


def parameter_table(config: Config, settings: Settings) -> str:
    """What a run does with each kind of its parameters, see `table.format_table`."""
    with convert_memory_errors():
        task, dataset = prepare(config, settings)
        params = task.init(jax.random.key(config.seed), feed.batch_shapes(dataset, config))["params"]
        return format_table(params, config.optim, config.penalty, task.frozen)


def try_run(config: Config, folder: Path, settings: Settings) -> Outcome:
    """`run_one`, a failure being recorded in failure.json; raises Stopped alone."""
    try:
        return Outcome(folder, run_one(config, folder, settings), None)
    except (ConfigError, record.RecordError, loop.TrainingError) as error:
        return record_failure(folder, str(error))
    except Stopped:
        raise
    except Exception as error:
        if processes.count() > 1:  # the others do not know of it, and wait for this one: all end
            raise
        if isinstance(error, data.DataError):
            return record_failure(folder, str(error))
        # one run's failure, out of memory for instance, must not end the others
        summary = str(error).strip().partition("\n")[0]
        return record_failure(folder, f"{type(error).__name__}: {summary}", traceback.format_exc())


def record_failure(folder: Path, error: str, trace: str | None = None) -> Outcome:
    """Records a failure in the run folder, where that can be written."""
    if processes.is_leader() and folder.is_dir():
        record.write_json(folder / "failure.json", {"error": error, "traceback": trace})
    return Outcome(folder, None, error)
