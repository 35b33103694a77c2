"""Averages of the parameters over the steps: optax's numbers, and the mean's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax.config import Optim
from cnn_jax.train import devices, record, variables
from cnn_jax.train.average import average_weight, update_average
from tests import linear

TRAJECTORY = np.random.default_rng(0).standard_normal((30, 3)).astype(np.float32)


def averages(optim):
    """That after each of thirty steps."""
    weight, average, found = average_weight(optim, 30), jnp.full(3, np.nan), []
    for step, new in enumerate(TRAJECTORY):
        average = update_average(average, jnp.asarray(new), weight(jnp.int32(step)))
        found.append(np.asarray(average))
    return found


def test_the_exponential_average_is_optaxs_without_bias():
    ema = optax.ema(0.9, debias=True)
    state, theirs = ema.init(jnp.zeros(3)), []
    for new in TRAJECTORY:
        average, state = ema.update(jnp.asarray(new), state)
        theirs.append(average)
    np.testing.assert_allclose(averages(Optim(average="exponential", average_decay=0.9)), theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("start", [0, 10])
def test_the_uniform_average_is_the_mean_since_it_began(start):
    found = averages(Optim(average="polyak", average_from=start / 30))
    for taken in range(1, 31):
        expected = TRAJECTORY[start:taken].mean(axis=0) if taken > start else TRAJECTORY[taken - 1]
        np.testing.assert_allclose(found[taken - 1], expected, rtol=1e-5, atol=1e-6)
    for taken in range(1, start + 2):  # before it begins it is the last step's, to the bit
        np.testing.assert_array_equal(found[taken - 1], TRAJECTORY[taken - 1])


def test_the_mean_of_many_steps_keeps_its_digits():
    """Of 80,000, as the recipe of GoogLeNet averages: summed step by step in float32, it is wrong by 5e-4."""
    optim = Optim(average="polyak")
    values = np.float32(1) + np.linspace(0, 0.02, 80_000, dtype=np.float32)
    weight = average_weight(optim, len(values))

    def step(average, given):
        index, new = given
        return update_average(average, new, weight(index)), None

    average, _ = jax.lax.scan(step, jnp.float32(0), (jnp.arange(len(values)), jnp.asarray(values)))
    assert float(average) == pytest.approx(values.astype(np.float64).mean(), abs=5e-5)


def test_a_run_is_evaluated_and_handed_on_averaged(digits, tmp_path):
    """Recomputed by numpy from what whoever continues or evaluates the run is given."""
    linear.run("adamw, exponential average", tmp_path, digits, devices.make_layout("jit", 1))
    given, about = variables.load(tmp_path / "whole")
    first, last = given["params"]["first"], given["params"]["last"]
    hidden = np.tanh(digits.splits["test"]["image"].reshape(-1, 64) / 255 @ first["kernel"] + first["bias"])
    logits = (hidden - given["batch_stats"]["mean"]) @ last["kernel"] + last["bias"]
    picked = logits[np.arange(360), digits.splits["test"]["label"]]
    result = record.read_run(tmp_path / "whole").result
    assert result["test_loss"] == pytest.approx((np.log(np.exp(logits).sum(axis=1)) - picked).mean(), rel=1e-5)
    state = variables.read_tree(tmp_path / "whole" / "checkpoints" / str(about["step"]) / "state")
    jax.tree.map(np.testing.assert_array_equal, given, state["average"])
    assert not np.allclose(given["params"]["first"]["kernel"], state["params"]["first"]["kernel"], rtol=1e-2)
    assert not np.array_equal(given["batch_stats"]["mean"], state["model_state"]["batch_stats"]["mean"])
