import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.layers.norm import BatchNorm

B, H, W, C = 8, 3, 2, 4


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(2.0, 3.0, (B, H, W, C)).astype(np.float32)


def variables():
    rng = np.random.default_rng(1)
    params = {"scale": rng.normal(size=C).astype(np.float32), "bias": rng.normal(size=C).astype(np.float32)}
    return {"params": params, "batch_stats": {"mean": np.full(C, 0.5, "f4"), "var": np.full(C, 2.0, "f4")}}


def reference(x, size, params):
    """Normalises each run of `size` examples alone, in float64."""
    x = x.astype(np.float64)
    groups = [x[start : start + size] for start in range(0, len(x), size)]
    means = [group.mean(axis=(0, 1, 2)) for group in groups]
    variances = [group.var(axis=(0, 1, 2)) for group in groups]
    y = [
        (group - mean) / np.sqrt(var + 1e-5) * params["scale"] + params["bias"]
        for group, mean, var in zip(groups, means, variances, strict=True)
    ]
    return np.concatenate(y), np.mean(means, axis=0), np.mean(variances, axis=0)


@pytest.mark.parametrize("group", [2, 4, 8, "global"])
def test_training_equals_a_second_implementation(x, group):
    norm = BatchNorm(group=group, momentum=0.75)
    y, updated = norm.apply(variables(), x, train=True, mutable=["batch_stats"])
    expected, mean, var = reference(x, B if group == "global" else group, variables()["params"])
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(updated["batch_stats"]["mean"], 0.75 * 0.5 + 0.25 * mean, rtol=1e-5)
    np.testing.assert_allclose(updated["batch_stats"]["var"], 0.75 * 2.0 + 0.25 * var, rtol=1e-5)


def test_evaluation_uses_the_running_statistics_and_changes_nothing(x):
    params = variables()["params"]
    y, updated = BatchNorm(group=2).apply(variables(), x, train=False, mutable=["batch_stats"])
    np.testing.assert_allclose(y, (x - 0.5) / np.sqrt(2.0 + 1e-5) * params["scale"] + params["bias"], rtol=1e-4)
    np.testing.assert_array_equal(updated["batch_stats"]["mean"], 0.5)


@pytest.mark.parametrize(("group", "size"), [("global", 8), (4, 4), (2, 2)])
def test_under_pmap_a_group_is_what_it_is_under_jit(x, group, size):
    norm = BatchNorm(group=group, axis_name="data")

    def apply(variables, x):
        y, updated = norm.apply(variables, x, train=True, mutable=["batch_stats"])
        return y, jax.lax.pmean(updated, "data")

    mapped = jax.pmap(apply, "data", in_axes=(None, 0), out_axes=(0, None))
    y, updated = mapped(variables(), x.reshape(2, B // 2, H, W, C))
    expected, mean, _ = reference(x, size, variables()["params"])
    np.testing.assert_allclose(y.reshape(x.shape), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(updated["batch_stats"]["mean"], 0.9 * 0.5 + 0.1 * mean, rtol=1e-5)


def test_statistics_are_float32_and_the_result_is_of_the_compute_type(x):
    norm = BatchNorm(dtype=jnp.bfloat16)
    y, updated = norm.apply(variables(), jnp.asarray(x, "bfloat16"), train=True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    assert updated["batch_stats"]["var"].dtype == jnp.float32
