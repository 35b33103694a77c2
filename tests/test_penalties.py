"""Penalties: optima are scikit-learn's, maps are the definitions', zeros are zeros."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.datasets import load_diabetes
from sklearn.linear_model import ElasticNet, Lasso, Ridge

from cnn_jax.config import Config, ConfigError, Optim, Penalty, override
from cnn_jax.train import optimizer, penalties
from cnn_jax.train.step import gradients, make_state, make_train_step
from cnn_jax.train.task import Headline, Task

X, Y = load_diabetes(return_X_y=True)
X = (X / X.std(axis=0)).astype(np.float32)
Y = ((Y - Y.mean()) / Y.std()).astype(np.float32)
N = len(Y)


def half_mean_square(variables, batch, key):
    residuals = batch["y"] - (batch["x"] * variables["params"]["kernel"]).sum(axis=1)
    loss = jnp.square(residuals).mean() / 2  # scikit-learn's 1 / (2 n) |y - X w|^2
    return loss, ({}, {"loss": loss, "error": loss, "count": jnp.float32(1)})


BATCH = {"x": jnp.asarray(X), "y": jnp.asarray(Y), "slot": jnp.arange(N)}
SUMS = ("loss", "error", "count")
REGRESSION = Task(None, half_mean_square, None, SUMS, Headline("error"), "patients")


def optimum(penalty, momentum=0.9, steps=3000, start=0.0):
    """Where the training step itself comes to rest, over the whole data, from `start`."""
    optim = Optim(learning_rate=0.2 * (1 - momentum), boundaries=(0.4, 0.6, 0.8), momentum=momentum, weight_decay=0.0)
    sgd = optimizer.make_optimizer(optim, steps, penalty)
    step = make_train_step(REGRESSION, sgd, None, penalty)
    state = make_state({"params": {"kernel": jnp.full((1, 10), start)}}, sgd, SUMS)

    @jax.jit
    def train(state):
        return jax.lax.fori_loop(0, steps, lambda _, s: step(s, {}, BATCH, jax.random.key(0))[0], state)

    return np.asarray(train(state).params["kernel"][0])


# (penalty without its form, scikit-learn's estimator of the same objective)
OPTIMA = {
    "l1": (dict(l1=0.1), Lasso(alpha=0.1, fit_intercept=False, tol=1e-8)),
    "l2": (dict(l2=0.1), Ridge(alpha=2 * N * 0.1, fit_intercept=False)),
    "half l2": (dict(l2=0.1, half=True), Ridge(alpha=N * 0.1, fit_intercept=False)),
    "elastic net": (
        dict(l1=0.05, l2=0.1),
        ElasticNet(alpha=0.05 + 0.2, l1_ratio=0.05 / 0.25, fit_intercept=False, tol=1e-8),
    ),
}


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("form", ["loss", "proximal"])
@pytest.mark.parametrize("name", OPTIMA)
def test_optima_are_scikit_learns(name, form, momentum):
    fields, estimator = OPTIMA[name]
    theirs = estimator.fit(X.astype(np.float64), Y.astype(np.float64)).coef_
    ours = optimum(Penalty(**fields, form=form), momentum)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    if form == "proximal" and "l1" in fields:
        assert np.array_equal(ours == 0, theirs == 0) and 0 < (ours == 0).sum() < 10


def test_decay_towards_the_start_is_ridge_regression_from_there():
    """|y - X w|^2 / 2n + c / 2 |w - 1|^2, in w - 1 a ridge regression of what w = 1 leaves over."""
    theirs = 1 + Ridge(alpha=N * 0.3, fit_intercept=False).fit(X.astype(np.float64), Y - X.sum(axis=1)).coef_
    np.testing.assert_allclose(optimum(Penalty(towards_start=0.3), start=1.0), theirs, atol=1e-3)


def test_the_half_form_is_weight_decay():
    def after_steps(optim, penalty):
        sgd = optimizer.make_optimizer(optim, 20, penalty)
        step = jax.jit(make_train_step(REGRESSION, sgd, None, penalty))
        state = make_state({"params": {"kernel": jnp.ones((1, 10))}}, sgd, SUMS)
        for _ in range(20):
            state, _ = step(state, {}, BATCH, jax.random.key(0))
        return state.params["kernel"]

    coupled = after_steps(Optim(weight_decay=0.3), Penalty())
    as_a_loss = after_steps(Optim(weight_decay=0.0), Penalty(l2=0.3, half=True))
    np.testing.assert_allclose(coupled, as_a_loss, rtol=1e-5)
    assert not np.allclose(coupled, after_steps(Optim(weight_decay=0.0), Penalty(l2=0.3)), rtol=1e-2)


@settings(max_examples=40, deadline=None)
@given(st.floats(-3, 3), st.floats(0, 2), st.floats(0, 2), st.booleans(), st.floats(0.01, 1))
def test_the_proximal_map_is_its_definition(w, l1, l2, half, size):
    transformation = penalties.proximal(Penalty(l1=l1, l2=l2, half=half), lambda _: jnp.float32(size))
    params = {"kernel": jnp.array([[w]], jnp.float32), "bias": jnp.array([w], jnp.float32)}
    updates, _ = transformation.update(jax.tree.map(jnp.zeros_like, params), transformation.init(params), params)
    assert float(updates["bias"][0]) == 0.0
    landed = float((params["kernel"] + updates["kernel"])[0, 0])
    square = l2 / 2 if half else l2

    def objective(x):
        return size * (l1 * abs(x) + square * x * x) + (x - w) ** 2 / 2

    # The objective is convex: where it is least, up to what its values tell apart.
    least = minimize_scalar(objective, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9})
    assert landed == pytest.approx(least.x, abs=2e-4)
    assert objective(landed) <= least.fun + 1e-6
    if size * l1 > abs(w):
        assert landed == 0.0


def test_the_cost_is_as_the_lecture_writes_it():
    params = {"conv": {"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([5.0])}}
    assert float(penalties.penalty_loss(Penalty(l1=0.1), params)) == pytest.approx(0.3)
    assert float(penalties.penalty_loss(Penalty(l2=0.1), params)) == pytest.approx(0.5)
    assert float(penalties.penalty_loss(Penalty(l2=0.1, half=True), params)) == pytest.approx(0.25)
    assert float(penalties.penalty_loss(Penalty(l1=0.1, l2=0.1), params)) == pytest.approx(0.8)
    assert float(penalties.penalty_loss(Penalty(l1=0.1, penalized="all"), params)) == pytest.approx(0.8)
    assert float(penalties.penalty_loss(Penalty(l1=0.1, form="proximal"), params)) == 0.0


def test_the_penalty_has_a_gradient_and_no_place_in_the_recorded_loss():
    variables, batch = {"params": {"kernel": jnp.full((1, 10), 2.0)}}, {"x": jnp.asarray(X), "y": jnp.asarray(Y)}
    (plain, (_, sums)), before = gradients(REGRESSION, variables, batch, jax.random.key(0))
    (loss, (_, same)), after = gradients(REGRESSION, variables, batch, jax.random.key(0), Penalty(l1=0.5, l2=0.25))
    assert float(loss - plain) == pytest.approx(0.5 * 20 + 0.25 * 40)
    assert float(same["loss"]) == float(sums["loss"]) == float(plain)
    np.testing.assert_allclose(after["kernel"] - before["kernel"], 0.5 + 0.25 * 2 * 2, rtol=1e-5)


def test_max_norm_bounds_each_units_vector_and_no_shorter_one():
    params = {"kernel": jnp.zeros((3, 3, 2, 4)), "bias": jnp.zeros(4)}
    going = jax.random.normal(jax.random.key(0), (3, 3, 2, 4)) * jnp.array([0.1, 1, 2, 0.0]).reshape(1, 1, 1, 4)
    transformation = penalties.max_norm(2.0)
    updates, _ = transformation.update({"kernel": going, "bias": jnp.full(4, 9.0)}, transformation.init(params), params)
    before, after = (np.linalg.norm(np.asarray(k).reshape(-1, 4), axis=0) for k in (going, updates["kernel"]))
    np.testing.assert_allclose(after, np.minimum(before, 2.0), rtol=1e-6)
    assert before[1] > 2 > before[0] and float(updates["bias"][0]) == 9.0


def test_decoupled_decay_is_kept_out_of_the_momentum():
    optim = Optim(learning_rate=0.1, boundaries=(0.5,), weight_decay=0.2, decoupled=True)
    sgd, params = optimizer.make_optimizer(optim, 4), {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array([3.0])}
    state, weight, velocity = sgd.init(params), np.array([1.0, -2.0]), np.zeros(2)
    for step in range(4):
        updates, state = sgd.update({"kernel": jnp.array([0.5, 1.0]), "bias": jnp.zeros(1)}, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        velocity, rate = 0.9 * velocity + np.array([0.5, 1.0]), 0.1 if step < 2 else 0.01
        weight = weight - rate * velocity - rate * 0.2 * weight
    np.testing.assert_allclose(params["kernel"], weight, rtol=1e-6)
    assert float(params["bias"][0]) == 3.0


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["penalty.l1=-1"], "penalty.l1=-1.0: must not be negative"),
        (["penalty.towards_start=1", "optim.optimizer=lbfgs"], "no term of the loss that L-BFGS searches along"),
        (["penalty.form=prox"], "penalty.form=prox: choose from loss, proximal"),
        (["optim.decoupled=true", "optim.rate_inside=true"], "leave optim.rate_inside out"),
        (["penalty.max_norm=3", "model.scan=true"], "leave model.scan out"),
        (["classification.label_smoothing=0.1", "classification.criterion=map"], "leave one out"),
    ],
)
def test_what_cannot_be_is_one_line(assignments, message):
    with pytest.raises(ConfigError, match=message):
        override(Config(), assignments)
