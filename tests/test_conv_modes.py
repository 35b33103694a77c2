import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.layers.conv import PADDING_MODES, Conv

few = settings(max_examples=12, deadline=None)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def beyond(mode, i, size):
    """The pixel that stands at i, inside or outside of a row of `size`; None is a zero."""
    if 0 <= i < size:
        return i
    return {"zero": None, "circular": i % size, "symmetric": -i - 1 if i < 0 else 2 * size - i - 1}[mode]


def numpy_conv(x, kernel, stride, padding, mode, dilation, groups):
    """Pixel by pixel, tap by tap; no array is padded or split."""
    b, h, w, c = x.shape
    f, _, own, d = kernel.shape
    padding, mode = (0, "zero") if mode == "valid" else (padding, mode)
    out = [(n + 2 * padding - dilation * (f - 1) - 1) // stride + 1 for n in (h, w)]
    y = np.zeros((b, *out, d))
    for i, j, k, m, n in np.ndindex(*out, d, f, f):
        row = beyond(mode, i * stride - padding + m * dilation, h)
        column = beyond(mode, j * stride - padding + n * dilation, w)
        if row is not None and column is not None:
            first = k // (d // groups) * own
            y[:, i, j, k] += x[:, row, column, first : first + own] @ kernel[m, n, :, k]
    return y


@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize(
    ("kernel_size", "stride", "padding", "dilation", "groups"),
    [(3, 1, None, 1, 1), (3, 2, 2, 1, 2), (3, 1, None, 2, 1), (2, 2, 1, 3, 4), (5, 3, None, 1, 4), (1, 1, 3, 2, 2)],
)
def test_equals_a_second_implementation(mode, kernel_size, stride, padding, dilation, groups):
    x, kernel = normal(0, 2, 7, 6, 4), normal(1, kernel_size, kernel_size, 4 // groups, 8)
    layer = Conv(8, kernel_size, stride, padding, mode, dilation, groups)
    pixels = dilation * (kernel_size // 2) if padding is None else padding
    expected = numpy_conv(x, kernel, stride, pixels, mode, dilation, groups)
    y_bar = normal(2, *expected.shape)

    @jax.jit
    def value_and_gradient(x):
        y, transpose = jax.vjp(lambda x: layer.apply({"params": {"kernel": kernel}}, x), x)
        return y, *transpose(y_bar)

    y, x_bar = value_and_gradient(x)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.vdot(y_bar, expected), np.vdot(x_bar, x), rtol=1e-4, atol=1e-4)


def test_parameters_are_a_kernel_and_if_asked_a_bias():
    x = normal(0, 2, 4, 4, 6)
    kernel = jax.ShapeDtypeStruct((5, 5, 2, 9), np.float32)
    assert jax.eval_shape(Conv(9, 5, groups=3).init, jax.random.key(0), x) == {"params": {"kernel": kernel}}
    layer = Conv(9, 5, groups=3, use_bias=True, dtype=jnp.bfloat16)
    bias = jax.ShapeDtypeStruct((9,), np.float32)
    assert jax.eval_shape(layer.init, jax.random.key(0), x) == {"params": {"kernel": kernel, "bias": bias}}
    params = {"kernel": np.zeros(kernel.shape, np.float32), "bias": np.arange(9, dtype=np.float32)}
    y = layer.apply({"params": params}, x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, np.broadcast_to(np.arange(9), y.shape))


@few
@given(
    kernel_size=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([1, 2, 4]),
    rows=st.integers(0, 7),
    columns=st.integers(0, 7),
    seed=st.integers(0, 99),
)
def test_a_circular_convolution_is_translation_equivariant(kernel_size, stride, rows, columns, seed):
    """By every shift at stride 1, by multiples of the stride otherwise."""
    x, params = normal(seed, 2, 8, 8, 3), {"kernel": normal(seed + 1, kernel_size, kernel_size, 3, 4)}
    apply = jax.jit(Conv(4, kernel_size, stride, padding_mode="circular").apply)
    shifted = apply({"params": params}, np.roll(x, (stride * rows, stride * columns), axis=(1, 2)))
    y = apply({"params": params}, x)
    np.testing.assert_allclose(shifted, np.roll(y, (rows, columns), axis=(1, 2)), rtol=1e-5, atol=1e-5)


@few
@given(columns=st.integers(1, 4), mode=st.sampled_from(["zero", "symmetric"]), seed=st.integers(0, 99))
def test_any_other_is_so_away_from_the_edge_only(columns, mode, seed):
    x, apply = normal(seed, 2, 8, 8, 3), jax.jit(Conv(4, 3, padding_mode=mode).apply)
    params = {"kernel": normal(seed + 1, 3, 3, 3, 4)}
    y, shifted = (apply({"params": params}, image) for image in (x, np.roll(x, columns, axis=2)))
    differ = ~np.isclose(np.roll(y, columns, axis=2), shifted, rtol=1e-4, atol=1e-4).all(axis=(0, 1, 3))
    edges = {0, 7, columns - 1, columns}
    assert set(np.flatnonzero(differ)) == edges


@few
@given(
    mode=st.sampled_from(PADDING_MODES),
    dilation=st.sampled_from([1, 2]),
    a=st.floats(-4, 4, width=16),
    b=st.floats(-4, 4, width=16),
    seed=st.integers(0, 99),
)
def test_linear_in_the_image_and_in_the_kernel(mode, dilation, a, b, seed):
    layer = Conv(2, 3, padding_mode=mode, dilation=dilation)
    images, kernels = normal(seed, 2, 1, 6, 6, 2), normal(seed + 1, 2, 3, 3, 2, 2)

    @jax.jit
    def apply(image, kernel):
        return layer.apply({"params": {"kernel": kernel}}, image)

    first, second = images
    np.testing.assert_allclose(
        apply(a * first + b * second, kernels[0]),
        a * apply(first, kernels[0]) + b * apply(second, kernels[0]),
        rtol=1e-3,
        atol=1e-3,
    )
    np.testing.assert_allclose(
        apply(first, a * kernels[0] + b * kernels[1]),
        a * apply(first, kernels[0]) + b * apply(first, kernels[1]),
        rtol=1e-3,
        atol=1e-3,
    )


@pytest.mark.parametrize(
    ("layer", "line"),
    [
        (Conv(8, groups=3), "3 groups do not divide 4 channels and 8 filters"),
        (Conv(7, groups=2), "2 groups do not divide 4 channels and 7 filters"),
        (Conv(8, padding_mode="same"), "padding_mode 'same'; choose from zero, valid, symmetric, circular"),
        (Conv(8, padding=6, padding_mode="circular"), "circular padding of 6 pixels needs a map of as many"),
        (Conv(8, 7, padding_mode="valid"), "an input of 5 pixels with padding 0 is smaller than the kernel, 7"),
        (Conv(8, 3, padding_mode="valid", dilation=3), "smaller than the kernel, 7"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(layer, line):
    with pytest.raises(ValueError, match=line):
        jax.eval_shape(layer.init, jax.random.key(0), jnp.zeros((2, 5, 5, 4)))
