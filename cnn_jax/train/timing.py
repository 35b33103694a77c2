"""What a run will cost, from a few timed steps."""

import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np

from cnn_jax.config import Config
from cnn_jax.data import Dataset
from cnn_jax.train import devices, feed
from cnn_jax.train.devices import Layout
from cnn_jax.train.loop import initial_state, make_program, run_key
from cnn_jax.train.step import zero_sums
from cnn_jax.train.task import Task

MAX_SECONDS = 5.0  # of timing: of slow steps no more than three are taken


class Cost(NamedTuple):
    """Of one run: trainable parameters, and seconds to compile, of a training step, of evaluating all but train."""

    parameters: int
    compile_seconds: float
    step_seconds: float
    evaluation_seconds: float

    def seconds(self, config: Config) -> float:
        """Of the whole run."""
        evaluations = len(config.evaluation_steps) * self.evaluation_seconds
        return self.compile_seconds + config.steps * self.step_seconds + evaluations


def measure_cost(task: Task, config: Config, dataset: Dataset, layout: Layout, steps: int = 5) -> Cost:
    """Compiles, and times up to `steps` steps of training and as many of evaluation (the medians); writes nothing."""
    begun = time.perf_counter()
    program = make_program(task, config.optim, config.penalty, config.steps, layout)
    resident = feed.put_on_devices(dataset, layout)
    state = initial_state(program, task, config, dataset)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    state, key = devices.replicate(layout, state), run_key(config, layout)
    batches = feed.training_batches(
        dataset, replace(config, steps=steps + 1), layout, 0
    )  # of a run that takes fewer, too
    tests = list(itertools.islice(feed.evaluation_batches(dataset, "test", config, layout), steps))

    def train(state: Any, _: int) -> Any:
        return program.train_step(state, resident["train"], devices.shard(layout, next(batches)), key)[0]

    def evaluate(sums: Any, step: int) -> Any:
        batch = devices.shard(layout, tests[step % len(tests)])
        return program.evaluate_step(sums, state.variables, resident["test"], batch)[0]

    prepared = time.perf_counter() - begun
    state, first, step_seconds = time_steps(train, state, steps)
    _, first_evaluation, batch_seconds = time_steps(evaluate, devices.replicate(layout, zero_sums(task.means)), steps)
    compile_seconds = prepared + first - step_seconds + first_evaluation - batch_seconds
    others = (dataset.count(split) for split in dataset.splits if split != "train")
    evaluated = sum(-(-count * layout.accumulate // config.batch_size) for count in others)
    return Cost(parameters, max(0.0, compile_seconds), step_seconds, evaluated * batch_seconds)


def time_steps(function: Callable[[Any, int], Any], value: Any, steps: int) -> tuple[Any, float, float]:
    """Feeds `function(value, step)` its own result: (the last, seconds of the first call, median of the others)."""
    marks = [time.perf_counter()]
    for step in range(steps + 1):
        value = jax.block_until_ready(function(value, step))
        marks.append(time.perf_counter())
        if step >= 3 and marks[-1] - marks[1] > MAX_SECONDS:
            break
    first, *others = np.diff(marks)
    return value, float(first), float(np.median(others))
