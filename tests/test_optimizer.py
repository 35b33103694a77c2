import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import minimize

from cnn_jax import presets
from cnn_jax.config import ConfigError, Optim, Penalty
from cnn_jax.layers.initializers import initialize
from cnn_jax.models import build
from cnn_jax.train import devices, optimizer, penalties, schedule, table
from cnn_jax.train.step import make_state, make_train_step
from cnn_jax.train.task import Headline, Task
from tests import linear


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


X = jnp.array([[1.0, 2.0], [-1.0, 0.5], [0.3, -0.7], [2.0, 1.0]])
Y = jnp.array([1.0, -2.0, 0.5, 3.0])
SUMS = ("loss", "count")


def half_mean_square(variables, batch, key):
    residuals = batch["x"] @ variables["params"]["kernel"] + variables["params"]["bias"] - batch["y"]
    loss = jnp.square(residuals).mean() / 2
    return loss, ({}, {"loss": loss, "count": jnp.float32(1)})


FOUR_POINTS = Task(None, half_mean_square, None, SUMS, Headline("loss"), "points")
START = {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array([0.5])}


def take_steps(optim, steps=6):
    """(kernel, bias) on four points after each of so many steps, and before them."""
    chain = optimizer.make_optimizer(optim, steps)
    step = jax.jit(make_train_step(FOUR_POINTS, chain, None, *optimizer.objective(optim, Penalty())))
    state = make_state({"params": START}, chain, SUMS)
    batch, found = {"x": X, "y": Y, "slot": jnp.arange(4)}, [flat(START)]
    for _ in range(steps):
        state, _ = step(state, {}, batch, jax.random.key(0))
        found.append(flat(state.params))
    return found


def flat(params):
    return np.concatenate([params["kernel"], params["bias"]])


# What PyTorch 2.13.0, in float64, comes to in six steps on the same points, the kernel alone decaying; the norms that
# clip_grad_norm_ found were 3.5, 3.4, 3.3; each parameter has a group of its own where the rates differ.
PYTORCHS = {
    "adamw": (
        Optim(optimizer="adamw", learning_rate=0.05, boundaries=(), b1=0.8, b2=0.95, eps=1e-6, weight_decay=0.1),
        [1.26092024, -1.64927131, 0.785926989],
    ),
    "clipped": (
        Optim(learning_rate=0.05, boundaries=(), weight_decay=0.1, clip_norm=0.5),
        [1.17985253, -1.49640341, 0.614923242],
    ),
    "rates": (
        Optim(learning_rate=0.05, boundaries=(), weight_decay=0.1, rates=("*:7", "kernel:0.1", "b*:10")),
        [1.1308479, -1.80867648, 1.21875184],
    ),
}


@pytest.mark.parametrize("name", PYTORCHS)
def test_steps_are_pytorchs(name):
    optim, expected = PYTORCHS[name]
    np.testing.assert_allclose(take_steps(optim)[-1], expected, rtol=5e-6)


def test_adamw_is_optaxs():
    optim = Optim(optimizer="adamw", learning_rate=0.05, schedule="cosine", weight_decay=0.1, decayed="all")
    theirs = optax.adamw(optax.cosine_decay_schedule(0.05, 6), weight_decay=0.1)
    params, state = START, theirs.init(START)
    for _ in range(6):
        gradient = jax.grad(lambda params: half_mean_square({"params": params}, {"x": X, "y": Y}, None)[0])(params)
        updates, state = theirs.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(take_steps(optim)[-1], flat(params), rtol=1e-6)


def decayed_objective(params):
    """What L-BFGS is to minimize on four points with weight_decay=0.2."""
    loss, _ = half_mean_square({"params": params}, {"x": X, "y": Y}, None)
    return loss + 0.1 * jnp.square(params["kernel"]).sum()


def test_lbfgs_takes_optaxs_steps_to_scipys_minimum():
    theirs, params = optax.lbfgs(memory_size=3), START
    state = theirs.init(params)

    @jax.jit
    def step(params, state):
        value, gradient = jax.value_and_grad(decayed_objective)(params)
        updates, state = theirs.update(gradient, state, params, value=value, grad=gradient, value_fn=decayed_objective)
        return optax.apply_updates(params, updates), state

    ours = take_steps(Optim(optimizer="lbfgs", memory=3, weight_decay=0.2), 12)
    for taken in (1, 2, 3):
        params, state = step(params, state)
        np.testing.assert_allclose(ours[taken], flat(params), rtol=1e-5)

    def objective(point):
        value, gradient = jax.value_and_grad(decayed_objective)({"kernel": point[:2], "bias": point[2:]})
        return float(value), flat(gradient).astype(np.float64)

    least = minimize(objective, ours[0], jac=True, method="L-BFGS-B", options={"gtol": 1e-7})
    np.testing.assert_allclose(ours[-1], least.x, atol=2e-4)


def shared(tree):
    """The pairs of leaves that are the same memory."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    return [pair for pair in itertools.combinations(leaves, 2) if np.shares_memory(*pair)]


def test_no_two_leaves_of_a_state_share_memory():
    """The step takes their memory. optax.lbfgs (0.2.8) has one array of zeros as both memories of a parameter."""
    chain = optimizer.make_optimizer(Optim(optimizer="lbfgs"), 6)
    assert len(shared(chain.init(START))) == len(START)
    assert not shared(make_state({"params": START}, chain, SUMS, averaged=True))


def probe():
    """An optimizer that moves nothing and keeps how far `value_fn` and its gradient are from `value` and `grad`."""

    def update(updates, state, params=None, *, value, grad, value_fn):
        again, gradient = jax.value_and_grad(value_fn)(params)
        apart = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), (again, gradient), (value, grad))
        return jax.tree.map(jnp.zeros_like, updates), (optax.tree.max(apart), value, gradient)

    return optax.GradientTransformationExtraArgs(lambda params: (jnp.zeros(()), jnp.zeros(()), params), update)


def test_a_line_search_sees_the_loss_of_the_whole_batch(digits):
    """With its penalties and the step's own noise, on any number of devices and parts: the loss that was given."""
    task, seen = linear.make(linear.config("lbfgs")), []
    for layout in (("jit", 1), ("jit", 2), ("pmap", 2, 4)):
        layout = devices.make_layout(*layout)
        step = make_train_step(task, probe(), layout, Penalty(l1=0.01))
        program = devices.parallelize(layout, step, "rrsr")
        batch = {name: array[:64] for name, array in digits.splits["train"].items()} | {"slot": np.arange(64)}
        state = devices.replicate(layout, make_state(task.init(jax.random.key(0), None), probe(), task.sums))
        state, _ = program(state, {}, devices.shard(layout, batch), devices.replicate(layout, jax.random.key(1)))
        apart, value, gradient = jax.device_get(state.opt_state)
        assert apart == 0
        seen.append(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves((value, gradient))]))
    for other in seen[1:]:
        np.testing.assert_allclose(other, seen[0], rtol=1e-4, atol=1e-6)


def test_a_part_that_is_not_there_is_told(params):
    for part, hint in (
        ("stage1_blok1", "did you mean stage1_block1"),
        ("head", "choose from conv1, fc, stage1_block1"),
    ):
        with pytest.raises(ConfigError, match=f"optim.rates={part}:10: no such part is trained; {hint}"):
            table.format_table(params, Optim(rates=(f"{part}:10",)), Penalty())


def test_the_table_tells_rates_and_what_is_frozen(params):
    def frozen(params):
        return jax.tree_util.tree_map_with_path(lambda path, _: "conv1" == path[0].key, params)

    optim = Optim(rates=("stage*:0.5", "fc/kernel:10"), optimizer="adamw", weight_decay=0.1)
    lines = table.format_table(params, optim, Penalty(), frozen).splitlines()
    assert [line.split()[:5] for line in lines[1:]] == [
        ["bn/bias", "1", "16", "frozen", "none"],
        ["bn/scale", "1", "16", "frozen", "none"],
        ["conv/kernel", "1", "144", "frozen", "none"],
        ["fc/bias", "1", "10", "1", "none"],
        ["fc/kernel", "1", "640", "10", "0.1"],
        ["bn/bias", "6", "224", "0.5", "none"],
        ["bn/scale", "6", "224", "0.5", "none"],
        ["conv/kernel", "6", "73,728", "0.5", "0.1"],
    ]
    assert lines[5].endswith("0.1 decoupled    none                             none")
