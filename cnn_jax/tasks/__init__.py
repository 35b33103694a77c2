"""Learning problems: each turns a Config and a Dataset into a Task.

A module of the table has
  fields(config)                      names of the data set's fields that it learns from and is tested on,
  complete(config, dataset)           the config with what it leaves open filled in; ConfigError or RecordError,
  make(config, dataset, axis_name)    its Task; `axis_name` is the mapped axis of the training step, or None.
"""

from typing import Any

from cnn_jax.config import Config, ConfigError, suggest
from cnn_jax.data import Dataset
from cnn_jax.tasks import classification
from cnn_jax.train.task import Task

TASKS: dict[str, Any] = {"classification": classification}


def find(name: str) -> Any:
    """The module of a task; raises ConfigError on an unknown name."""
    if name not in TASKS:
        raise ConfigError(f"unknown task {name!r}; {suggest(name, TASKS)}")
    return TASKS[name]


def complete(config: Config, dataset: Dataset) -> Config:
    """The config with all that was left open, by the task. Raises ConfigError or RecordError."""
    return find(config.task).complete(config, dataset)


def make(config: Config, dataset: Dataset, axis_name: str | None) -> Task:
    """The task of a complete config on its data."""
    return find(config.task).make(config, dataset, axis_name)
