"""One run after another, or many side by side: on a device each, in processes of their own, or on a Ray cluster.

A failure is recorded and ends nothing else.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from cnn_jax.config import Config
from cnn_jax.runner.cluster import run_on_ray
from cnn_jax.runner.here import run_on_each_device, run_serially
from cnn_jax.runner.one import Outcome as Outcome
from cnn_jax.runner.one import load_config_dataset as load_config_dataset
from cnn_jax.runner.one import load_dataset as load_dataset
from cnn_jax.runner.one import parameter_table as parameter_table
from cnn_jax.runner.one import prepare as prepare
from cnn_jax.runner.one import run_one as run_one
from cnn_jax.runner.one import try_run as try_run
from cnn_jax.runner.settings import Settings as Settings
from cnn_jax.runner.workers import run_in_workers


def execute(todo: Mapping[Path, Config], settings: Settings) -> Iterator[Outcome]:
    """Runs all, as the settings say, and yields each outcome when it is there. Raises Stopped on a signal."""
    settings.check()
    if settings.executor == "ray":
        return run_on_ray(todo, settings)
    if settings.seeds_in_parallel:
        return run_on_each_device(todo, settings)
    return (run_in_workers if settings.workers > 1 else run_serially)(todo, settings)
