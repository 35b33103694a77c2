import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from cnn_jax.layers import native, pool
from cnn_jax.layers.pool import TrainablePool, global_mean_pool

# One program a shape, instead of one for each slice.
max_pool, mean_pool = (jax.jit(function, static_argnums=(1, 2, 3, 4)) for function in (pool.max_pool, pool.mean_pool))

few = settings(max_examples=12, deadline=None)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def windows(size, window, stride, padding, ceil_mode):
    """(start, end) of each window, end within the padded input, in pixels of the input."""
    start, found = -padding, []
    while start + window <= size + padding or (ceil_mode and start < size and found[-1][1] < size + padding):
        found.append((start, min(start + window, size + padding)))
        start += stride
    return found


def numpy_pool(x, window, stride, padding, ceil_mode, mean):
    rows, columns = (windows(size, window, stride, padding, ceil_mode) for size in x.shape[1:3])
    y = np.zeros((len(x), len(rows), len(columns), x.shape[3]))
    for i, (top, bottom) in enumerate(rows):
        for j, (left, right) in enumerate(columns):
            pixels = x[:, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
            area = (bottom - top) * (right - left)
            y[:, i, j] = pixels.sum(axis=(1, 2)) / area if mean else pixels.max(axis=(1, 2))
    return y


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    ("height", "width", "size", "stride", "padding"),
    [
        (6, 6, 2, 2, 0),
        (7, 8, 3, 2, 0),
        (6, 9, 3, 2, 1),
        (5, 7, 3, 1, 1),
        (7, 8, 2, 3, 0),
        (7, 4, 4, 3, 2),
        (3, 5, 3, 5, 1),
    ],
)
def test_equals_a_second_implementation(height, width, size, stride, padding, ceil_mode):
    x = normal(0, 2, height, width, 3) - 2  # nearly all negative: a zero of the padding would win
    arguments = size, stride, padding, ceil_mode
    np.testing.assert_array_equal(max_pool(x, *arguments), numpy_pool(x, *arguments, mean=False))
    np.testing.assert_allclose(mean_pool(x, *arguments), numpy_pool(x, *arguments, mean=True), rtol=1e-5)


def test_windows_do_not_overlap_unless_told():
    x = normal(0, 1, 6, 6, 2)
    np.testing.assert_array_equal(max_pool(x, 3), max_pool(x, 3, 3))
    np.testing.assert_array_equal(mean_pool(x, 2), mean_pool(x, 2, 2))


@pytest.mark.parametrize(("size", "stride", "padding"), [(2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 1, 1)])
def test_of_equals_the_first_has_the_gradient_as_in_xlas_own(size, stride, padding):
    x = np.random.default_rng(0).integers(0, 3, (4, 9, 9, 3)).astype(np.float32)  # equals in most windows

    def xlas(x):
        sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, size, size, 1), (1, stride, stride, 1), sides)

    y_bar = np.random.default_rng(1).integers(1, 9, jax.eval_shape(xlas, x).shape).astype(np.float32)

    @jax.jit
    def value_and_gradient(x):
        (y, ours), (expected, theirs) = jax.vjp(lambda x: max_pool(x, size, stride, padding), x), jax.vjp(xlas, x)
        return (y, *ours(y_bar)), (expected, *theirs(y_bar))

    for actual, expected in zip(*value_and_gradient(x), strict=True):
        np.testing.assert_array_equal(actual, expected)  # whole numbers add up exactly


@few
@given(
    geometry=st.sampled_from([(2, 2, 0, False), (3, 2, 1, True)]),
    scale=st.floats(0.125, 8, width=16),
    shift=st.floats(-4, 4, width=16),
    seed=st.integers(0, 99),
)
def test_the_largest_follows_any_increasing_function_and_bounds_the_mean(geometry, scale, shift, seed):
    x = normal(seed, 2, 6, 6, 2)
    y = max_pool(x, *geometry)
    np.testing.assert_array_equal(max_pool(scale * x + shift, *geometry), np.float32(scale) * y + np.float32(shift))
    nonnegative = np.abs(x)
    assert (mean_pool(nonnegative, *geometry) <= max_pool(nonnegative, *geometry) + 1e-6).all()


@few
@given(rows=st.integers(0, 3), columns=st.integers(0, 3), seed=st.integers(0, 99))
def test_equivariant_to_shifts_by_multiples_of_the_stride(rows, columns, seed):
    x = normal(seed, 2, 8, 8, 2)
    shifted = np.roll(x, (2 * rows, 2 * columns), axis=(1, 2))
    np.testing.assert_array_equal(max_pool(shifted, 2), np.roll(max_pool(x, 2), (rows, columns), axis=(1, 2)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("geometry", [(2, 2, 0, False), (3, 2, 1, True), (3, 1, 1, False)])
def test_the_kernel_and_its_derivatives_are_those_of_slices(geometry, dtype, monkeypatch):
    """Vectors of channels and what is left of them; forward, reverse, forward over reverse and under vmap."""
    assert native.is_available(), "no C++ compiler: the CPU kernels are untested"
    x, x_dot = (jnp.asarray(normal(seed, 2, 2, 7, 9, 19), dtype) for seed in (0, 1))

    def derivatives():
        def loss(x):
            return jnp.sin(pool.max_pool(x, *geometry).astype("float32")).sum()

        def of_one(x, x_dot):
            y = pool.max_pool(x, *geometry)
            return y, jax.jvp(loss, (x,), (x_dot,)), jax.jvp(jax.grad(loss), (x,), (x_dot,)), jax.linearize(loss, x)[0]

        return jax.jit(of_one)(x[0], x_dot[0]), jax.jit(jax.vmap(of_one))(x, x_dot)

    kernels = jax.tree.leaves(derivatives())
    monkeypatch.setattr(native, "is_available", lambda: False)
    for actual, expected in zip(kernels, jax.tree.leaves(derivatives()), strict=True):
        assert actual.dtype == expected.dtype
        tolerance = 1e-5 if dtype == "float32" else 2e-2
        np.testing.assert_allclose(np.float32(actual), np.float32(expected), rtol=tolerance, atol=tolerance)


def test_the_kernel_works_on_each_devices_share_and_an_exported_program_has_none():
    assert native.is_available(), "no C++ compiler: the CPU kernels are untested"
    x = normal(0, 4, 8, 8, 8)
    mesh = Mesh(np.asarray(jax.devices()[:2]), ("data",), axis_types=(AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec("data"))

    def value_and_gradient(x):
        y, transpose = jax.vjp(lambda x: pool.max_pool(x, 3, 2, 1), x)
        return y, transpose(y)[0]

    compiled = jax.jit(value_and_gradient, in_shardings=split, out_shardings=split).lower(x).compile()
    assert "f32[2,4,4,8]" in compiled.as_text() and "all-gather" not in compiled.as_text()
    exported = jax.export.export(jax.jit(value_and_gradient))(x)
    assert "custom_call @cnn_jax" not in exported.mlir_module()
    for actual, same, expected in zip(compiled(x), exported.call(x), value_and_gradient(x), strict=True):
        np.testing.assert_array_equal(actual, expected)
        np.testing.assert_array_equal(same, expected)


def test_not_a_number_is_never_hidden():
    for place in np.ndindex(3, 3):
        x = normal(0, 1, 3, 3, 1)
        x[0, *place, 0] = np.nan
        assert np.isnan(max_pool(x, 3)).all()
        assert np.isnan(mean_pool(x, 3)).all()


def test_means_of_bfloat16_are_summed_in_float32():
    x = jnp.asarray(normal(0, 2, 16, 16, 3), "bfloat16")
    y = mean_pool(x, 16)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y[:, 0, 0], global_mean_pool(x).astype("bfloat16"))
    assert global_mean_pool(x).dtype == jnp.float32
    np.testing.assert_allclose(global_mean_pool(x), np.asarray(x, "f8").mean(axis=(1, 2)), rtol=1e-4, atol=1e-6)
    assert max_pool(x, 2).dtype == jnp.bfloat16


def test_lenets_s2():
    """Six maps of 28 pixels to 14: 12 parameters and 5,880 connections, four inputs and a bias to each unit."""
    x, layer = normal(0, 2, 28, 28, 6), TrainablePool()
    params = jax.eval_shape(layer.init, jax.random.key(0), x)["params"]
    assert sum(p.size for p in params.values()) == 12
    weights = {"coefficient": normal(1, 6), "bias": normal(2, 6)}
    y, transpose = jax.vjp(lambda x, p: layer.apply({"params": p}, x), x, weights)
    assert y.shape == (2, 14, 14, 6) and 14 * 14 * 6 * (4 + 1) == 5880
    total = x.reshape(2, 14, 2, 14, 2, 6).sum(axis=(2, 4))
    np.testing.assert_allclose(y, total * weights["coefficient"] + weights["bias"], rtol=1e-4, atol=1e-5)
    _, gradients = transpose(np.ones_like(y))
    np.testing.assert_allclose(gradients["bias"], 2 * 14 * 14)
    np.testing.assert_allclose(gradients["coefficient"], total.sum(axis=(0, 1, 2)), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [((5, 1, 0), "smaller than the kernel, 5"), ((2, 2, 2), "pooling 2 pixels with padding 2: at most 1")],
)
def test_what_cannot_be_is_refused_in_one_line(arguments, line):
    for function in (max_pool, mean_pool):
        with pytest.raises(ValueError, match=line):
            function(jnp.zeros((1, 4, 4, 1)), *arguments)
