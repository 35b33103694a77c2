"""One run after another, or many side by side: on a device each, in processes of their own, or on a Ray cluster.

A failure is recorded and ends nothing else.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from cnn_jax.config import Config
from cnn_jax.runner.cluster import on_ray
from cnn_jax.runner.here import on_each_device, serial
from cnn_jax.runner.one import Outcome as Outcome
from cnn_jax.runner.one import attempt as attempt
from cnn_jax.runner.one import initial_parameters as initial_parameters
from cnn_jax.runner.one import load as load
from cnn_jax.runner.one import load_for as load_for
from cnn_jax.runner.one import prepare as prepare
from cnn_jax.runner.one import run_one as run_one
from cnn_jax.runner.settings import Settings as Settings
from cnn_jax.runner.workers import in_processes


def execute(todo: Mapping[Path, Config], settings: Settings) -> Iterator[Outcome]:
    """Runs all, as the settings say, and yields each outcome when it is there. Raises Stopped on a signal."""
    settings.check()
    if settings.executor == "ray":
        return on_ray(todo, settings)
    if settings.seeds_in_parallel:
        return on_each_device(todo, settings)
    return (in_processes if settings.workers > 1 else serial)(todo, settings)
