import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.layers.norm import BatchNorm, combine_statistics, local_response_norm

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


def test_statistics_of_parts_combine_to_those_of_the_whole_set(x):
    """Parts of any size, far apart in mean, as training passes with momentum 0 leave them."""
    whole = np.concatenate([x + 50 * i for i in range(3)])
    parts = [whole[:5], whole[5:7], whole[7:]]
    norm = BatchNorm(momentum=0)
    passes = [norm.apply(variables(), part, train=True, mutable=["batch_stats"])[1]["batch_stats"] for part in parts]
    combined = combine_statistics([{"stage": {"norm": part}} for part in passes], [len(part) for part in parts])
    found = combined["stage"]["norm"]
    assert found["mean"].dtype == found["var"].dtype == np.float32
    pixels = whole.astype(np.float64).reshape(-1, C)
    np.testing.assert_allclose(found["mean"], pixels.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found["var"], pixels.var(axis=0), rtol=1e-6)
    evaluated = norm.apply({**variables(), "batch_stats": found}, whole, train=False)
    trained, _ = norm.apply(variables(), whole, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(evaluated, trained, rtol=1e-4, atol=1e-4)


def numpy_local_response_norm(x, size, k, alpha, beta):
    y = np.zeros(x.shape)
    for i in range(x.shape[3]):
        near = x[..., max(0, i - size // 2) : min(x.shape[3] - 1, i + size // 2) + 1].astype(np.float64)
        y[..., i] = x[..., i] / (k + alpha * np.square(near).sum(axis=-1)) ** beta
    return y


@pytest.mark.parametrize(("size", "k", "alpha", "beta"), [(5, 2.0, 1e-4, 0.75), (3, 1.0, 0.5, 0.5), (9, 0.5, 2.0, 1.0)])
def test_local_response_norm_equals_a_second_implementation(x, size, k, alpha, beta):
    x = np.concatenate([x, -x], axis=-1)
    y = local_response_norm(x, size, k, alpha, beta)
    np.testing.assert_allclose(y, numpy_local_response_norm(x, size, k, alpha, beta), rtol=1e-5)
    over_size = local_response_norm(x, size, k, alpha * size, beta, alpha_over_size=True)
    np.testing.assert_allclose(over_size, y, rtol=1e-6)
    direction = np.random.default_rng(1).standard_normal(x.shape)
    above, below = (numpy_local_response_norm(x + h * direction, size, k, alpha, beta) for h in (1e-4, -1e-4))
    weights = np.random.default_rng(2).standard_normal(x.shape).astype(np.float32)
    gradient = jax.jit(jax.grad(lambda x: (weights * local_response_norm(x, size, k, alpha, beta)).sum()))(x)
    np.testing.assert_allclose((gradient * direction).sum(), (weights * (above - below) / 2e-4).sum(), rtol=1e-3)


def test_local_response_norm_keeps_the_type_and_wants_a_middle(x):
    assert local_response_norm(jnp.asarray(x, "bfloat16")).dtype == jnp.bfloat16
    with pytest.raises(ValueError, match="over 4 channels: choose an odd number"):
        local_response_norm(x, 4)
