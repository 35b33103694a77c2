"""Learning rates as (step, rate): optax's own, PyTorch's numbers, and the same traced as on the host."""

import jax
import numpy as np
import optax
import pytest

from cnn_jax.config import Optim
from cnn_jax.train.schedule import learning_rate, schedule

# Of PyTorch 2.13.0, in float64: CosineAnnealingLR(T_max=10, eta_min=0.02).
COSINE = [0.1, 0.0980422607, 0.0923606798, 0.0835114101, 0.0723606798]
COSINE += [0.06, 0.0476393202, 0.0364885899, 0.0276393202, 0.0219577393]
# SequentialLR of LinearLR(start_factor=0.1, total_iters=4) and CosineAnnealingLR(T_max=6), from step 4 on.
WARM_COSINE = [0.01, 0.0325, 0.055, 0.0775, 0.1, 0.0933012702, 0.075, 0.05, 0.025, 0.00669872981]
# OneCycleLR(total_steps=11, pct_start=4/11): the peak is at pct_start * total_steps - 1, the end at total_steps - 1.
ONE_CYCLE = [0.004, 0.028, 0.076, 0.1, 0.0950484632, 0.0811745654]
ONE_CYCLE += [0.0611262022, 0.0388741978, 0.0188258346, 0.0049519368]


@pytest.mark.parametrize(
    ("optim", "pytorchs"),
    [
        (Optim(schedule="cosine", final_fraction=0.2), COSINE),
        (Optim(schedule="cosine", warmup=0.4, warmup_form="linear", warmup_learning_rate=0.01), WARM_COSINE),
        (Optim(schedule="onecycle"), ONE_CYCLE),
        (Optim(schedule="constant"), [0.1] * 10),
    ],
    ids=["cosine", "warm-up, cosine", "onecycle", "constant"],
)
def test_rates_are_pytorchs(optim, pytorchs):
    np.testing.assert_allclose([learning_rate(optim, 10, step) for step in range(10)], pytorchs, rtol=1e-8)


STEPS = 400
OPTAXS = {
    "cosine": (dict(final_fraction=0.1), lambda T: optax.cosine_decay_schedule(0.1, T, alpha=0.1)),
    "onecycle": (dict(pct_start=0.25), lambda T: optax.cosine_onecycle_schedule(T, 0.1, pct_start=0.25)),
    "constant": ({}, lambda T: optax.constant_schedule(0.1)),
    "steps": (
        dict(boundaries=(0.5, 0.75)),
        lambda T: optax.piecewise_constant_schedule(
            0.1, {STEPS // 2 - STEPS + T: 0.1, 3 * STEPS // 4 - STEPS + T: 0.1}
        ),
    ),
}


@pytest.mark.parametrize("form", ["none", "constant", "linear"])
@pytest.mark.parametrize("name", OPTAXS)
def test_rates_are_optaxs_traced_and_on_the_host(name, form):
    fields, make = OPTAXS[name]
    warm = 0 if form == "none" else 40
    optim = Optim(schedule=name, warmup=warm / STEPS, warmup_form="constant" if not warm else form, **fields)
    after = make(STEPS - warm)
    before = optax.linear_schedule(0.01, float(after(0)), warm) if form == "linear" else optax.constant_schedule(0.01)
    theirs = optax.join_schedules([before, after], [warm])
    steps = np.arange(STEPS)
    traced = jax.vmap(schedule(optim, STEPS))(steps)
    host = [learning_rate(optim, STEPS, step) for step in range(STEPS)]
    np.testing.assert_allclose(host, jax.vmap(theirs)(steps), rtol=1e-5, atol=2e-8)
    np.testing.assert_allclose(traced, host, rtol=2e-6)
    assert traced.dtype == np.float32


def test_the_last_steps_of_a_long_cosine_keep_their_digits():
    """Where 1 + cos has none left in float32: the rate of the last of ten million steps is 2.5e-15 of the first."""
    optim, steps = Optim(schedule="cosine", learning_rate=1.0), 10_000_000
    assert learning_rate(optim, steps, steps - 1) == pytest.approx((np.pi / 2 / steps) ** 2, rel=1e-6)
    assert float(schedule(optim, steps)(steps - 1)) == pytest.approx((np.pi / 2 / steps) ** 2, rel=1e-5)


def test_lbfgs_has_no_rate_but_its_line_searchs():
    assert learning_rate(Optim(optimizer="lbfgs"), 10, 3) == 1 == float(schedule(Optim(optimizer="lbfgs"), 10)(3))
