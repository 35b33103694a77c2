"""What a run will cost, from a few timed steps."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from cnn_jax.config import Config
from cnn_jax.data import Dataset
from cnn_jax.data.batches import evaluation_indices, training_indices
from cnn_jax.train import devices
from cnn_jax.train.devices import Layout
from cnn_jax.train.loop import initial_state, make_program, on_devices
from cnn_jax.train.step import no_sums
from cnn_jax.train.task import Task

ENOUGH_SECONDS = 5.0  # of timing: of slow steps no more than three are taken


class Cost(NamedTuple):
    """Of one run: trainable parameters, and seconds to compile, of a training step, of evaluating all but train."""

    parameters: int
    compile_seconds: float
    step_seconds: float
    evaluation_seconds: float

    def seconds(self, config: Config) -> float:
        """Of the whole run."""
        evaluations = len(config.evaluated_steps) * self.evaluation_seconds
        return self.compile_seconds + config.steps * self.step_seconds + evaluations


def measure(task: Task, config: Config, dataset: Dataset, layout: Layout, steps: int = 5) -> Cost:
    """Compiles, and times up to `steps` steps of training and as many of evaluation (the medians); writes nothing."""
    begun = time.perf_counter()
    program = make_program(task, config.optim, config.penalty, config.steps, layout)
    splits = on_devices(dataset, layout)
    state = initial_state(program, task, config, dataset)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    state = devices.replicate(layout, state)
    key = devices.replicate(layout, jax.random.key(config.seed))
    slots = np.arange(config.batch_size, dtype=np.int32)
    batches = {name: evaluation_indices(len(split["label"]), config.batch_size) for name, split in splits.items()}
    count, tests = len(dataset.splits["train"]["label"]), batches["test"]

    def train(state: Any, step: int) -> Any:
        indices = training_indices(count, config.batch_size, config.seed, step)
        return program.train_step(state, splits["train"], *devices.shard(layout, indices, slots), key)

    def evaluate(sums: Any, step: int) -> Any:
        batch = devices.shard(layout, *tests[step % len(tests)])
        return program.evaluate_step(sums, state.variables, splits["test"], *batch)

    prepared = time.perf_counter() - begun
    state, first, step_seconds = timed(train, state, steps)
    _, first_evaluation, batch_seconds = timed(evaluate, devices.replicate(layout, no_sums()), steps)
    compile_seconds = prepared + first - step_seconds + first_evaluation - batch_seconds
    evaluated = sum(len(batches[name]) for name in batches if name != "train")
    return Cost(parameters, max(0.0, compile_seconds), step_seconds, evaluated * batch_seconds)


def timed(function: Callable[[Any, int], Any], value: Any, steps: int) -> tuple[Any, float, float]:
    """Feeds `function(value, step)` its own result: (the last, seconds of the first call, median of the others)."""
    marks = [time.perf_counter()]
    for step in range(steps + 1):
        value = jax.block_until_ready(function(value, step))
        marks.append(time.perf_counter())
        if step >= 3 and marks[-1] - marks[1] > ENOUGH_SECONDS:
            break
    first, *others = np.diff(marks)
    return value, float(first), float(np.median(others))
