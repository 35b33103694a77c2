"""What a run will cost, from a few timed steps."""

import time
from typing import NamedTuple

import jax
import numpy as np

from cnn_jax.config import Config
from cnn_jax.data import Dataset
from cnn_jax.data.batches import training_indices
from cnn_jax.train import devices
from cnn_jax.train.devices import Layout
from cnn_jax.train.evaluate import evaluate
from cnn_jax.train.loop import initial_state, make_program, on_devices
from cnn_jax.train.task import Task


class Cost(NamedTuple):
    """Of one run: trainable parameters, and seconds to compile, of a training step, of an evaluation."""

    parameters: int
    compile_seconds: float
    step_seconds: float
    evaluation_seconds: float

    def seconds(self, config: Config) -> float:
        """Of the whole run."""
        evaluations = len(config.evaluated_steps) * self.evaluation_seconds
        return self.compile_seconds + config.steps * self.step_seconds + evaluations


def measure(task: Task, config: Config, dataset: Dataset, layout: Layout, steps: int = 5) -> Cost:
    """Compiles and times `steps` training steps (the median counts) and one evaluation; writes nothing."""
    begun = time.perf_counter()
    program = make_program(task, config.optim, config.steps, layout)
    splits = on_devices(dataset, layout)
    state = initial_state(program, task, config, dataset)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    state = devices.replicate(layout, state)
    key = devices.replicate(layout, jax.random.key(config.seed))
    slots = np.arange(config.batch_size, dtype=np.int32)
    count, marks = len(dataset.splits["train"]["label"]), []
    for step in range(steps + 1):
        indices = training_indices(count, config.batch_size, config.seed, step)
        state = program.train_step(state, splits["train"], *devices.shard(layout, indices, slots), key)
        jax.block_until_ready(state)
        marks.append(time.perf_counter())
    step_seconds = float(np.median(np.diff(marks)))
    evaluate(layout, program.evaluate_step, state.variables, splits["test"], config.batch_size)
    compiled = time.perf_counter()
    evaluate(layout, program.evaluate_step, state.variables, splits["test"], config.batch_size)
    evaluation_seconds = time.perf_counter() - compiled
    compile_seconds = compiled - begun - steps * step_seconds
    return Cost(parameters, compile_seconds, step_seconds, evaluation_seconds)
