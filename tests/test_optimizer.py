import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import presets
from cnn_jax.config import Optim, Penalty
from cnn_jax.layers.initializers import initialize
from cnn_jax.models import build
from cnn_jax.train import optimizer, penalties, schedule, table


@pytest.fixture(scope="module")
def params():
    return initialize(build("resnet8", num_classes=10), jax.random.key(0), jax.ShapeDtypeStruct((1, 8, 8, 1), "f4"))[
        "params"
    ]


# He et al. 2016, 4.2: "learning rate of 0.1, divide it by 10 at 32k and 48k iterations".
PAPER = [(0, 0.1), (31_999, 0.1), (32_000, 0.01), (47_999, 0.01), (48_000, 0.001), (63_999, 0.001)]
# "for the 110-layer ... 0.01 to warm up the training until the training error is below 80% (about 400 iterations)".
WARM = [(0, 0.01), (399, 0.01), (400, 0.1), *PAPER[1:]]


@pytest.mark.parametrize(("depth", "expected"), [(56, PAPER), (110, WARM)])
def test_schedule_of_the_paper(depth, expected):
    config = presets.add_warmup(presets.get("resnet_cifar10"), depth)
    traced = jax.jit(schedule.schedule(config.optim, config.steps))
    for step, rate in expected:
        assert schedule.learning_rate(config.optim, config.steps, step) == rate
        assert traced(step) == np.float32(rate)


def test_a_short_run_keeps_the_proportions():
    config = presets.add_warmup(presets.get("resnet_cifar10"), 110)
    rates = [schedule.learning_rate(config.optim, 800, step) for step in (0, 4, 5, 399, 400, 599, 600, 799)]
    assert rates == [0.01, 0.01, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]


@pytest.mark.parametrize(("decayed", "expected"), [("kernels", 73_872 + 640), ("all", 75_002)])
def test_what_decays(params, decayed, expected):
    sizes = jax.tree.map(lambda leaf, decays: leaf.size * decays, params, penalties.mask(params, decayed))
    assert sum(jax.tree.leaves(sizes)) == expected


def test_the_table_shows_what_decays(params):
    lines = table.format_table(params, Optim(), Penalty(l1=1e-5, l2=2e-4, half=True, max_norm=3)).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["bn/bias", "7", "240", "1", "none", "none", "none"],
        ["bn/scale", "7", "240", "1", "none", "none", "none"],
        ["conv/kernel", "7", "73,872", "1", "0.0001", "1e-05", "|w|", "+", "0.0001", "w^2", "3"],
        ["fc/bias", "1", "10", "1", "none", "none", "none"],
        ["fc/kernel", "1", "640", "1", "0.0001", "1e-05", "|w|", "+", "0.0001", "w^2", "3"],
    ]


@pytest.mark.parametrize("nesterov", [False, True])
def test_updates_equal_a_second_implementation(nesterov):
    optim = Optim(learning_rate=0.1, boundaries=(0.5,), momentum=0.9, weight_decay=0.01, nesterov=nesterov)
    params = {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array([3.0])}
    sgd = optimizer.make_optimizer(optim, 4)
    state = sgd.init(params)
    weight, bias, velocity, bias_velocity = np.array([1.0, -2.0]), np.array([3.0]), np.zeros(2), np.zeros(1)
    for step in range(4):
        gradients = {"kernel": jnp.array([0.5, 1.0]) * (step + 1), "bias": jnp.array([1.0])}
        updates, state = sgd.update(gradients, state, params)
        params = {name: params[name] + updates[name] for name in params}
        gradient = np.array([0.5, 1.0]) * (step + 1) + 0.01 * weight
        velocity, bias_velocity = 0.9 * velocity + gradient, 0.9 * bias_velocity + 1.0
        rate = 0.1 if step < 2 else 0.01
        weight = weight - rate * (gradient + 0.9 * velocity if nesterov else velocity)
        bias = bias - rate * (1.0 + 0.9 * bias_velocity if nesterov else bias_velocity)
    np.testing.assert_allclose(params["kernel"], weight, rtol=1e-6)
    np.testing.assert_allclose(params["bias"], bias, rtol=1e-6)
