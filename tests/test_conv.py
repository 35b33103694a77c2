import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from cnn_jax.layers.conv import conv


def native(x, kernel, stride, padding):
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), [(padding, padding)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def arrays(seed, batch, size, channels, features, kernel_size):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch, size, size, channels), np.float32)
    return x, rng.standard_normal((kernel_size, kernel_size, channels, features), np.float32)


def numpy_conv(x, kernel, stride, padding):
    """Sums of products, one output pixel at a time."""
    x = np.pad(x, [(0, 0), (padding, padding), (padding, padding), (0, 0)])
    f = kernel.shape[0]
    out = (x.shape[1] - f) // stride + 1
    rows = [
        np.einsum("bhwc,hwcd->bd", x[:, i * stride : i * stride + f, j * stride : j * stride + f], kernel)
        for i in range(out)
        for j in range(out)
    ]
    return np.stack(rows, axis=1).reshape(len(x), out, out, -1)


@settings(max_examples=15, deadline=None)
@given(
    size=st.integers(2, 7),
    kernel_size=st.sampled_from([1, 3]),
    stride=st.integers(1, 2),
    padding=st.integers(0, 1),
    channels=st.integers(1, 3),
)
def test_equals_a_second_implementation(size, kernel_size, stride, padding, channels):
    if size + 2 * padding < kernel_size:
        return
    x, kernel = arrays(size, 2, size, channels, 4, kernel_size)
    expected = numpy_conv(x, kernel, stride, padding)
    assert expected.shape[1] == (size - kernel_size + 2 * padding) // stride + 1
    np.testing.assert_allclose(conv(x, kernel, stride, padding), expected, rtol=1e-4, atol=1e-5)


# One shape for each lowering: a matrix product, XLA's own, a kernel gradient in parts; batches that do not divide too.
SHAPES = [(8, 4, 8), (8, 3, 8), (8, 8, 4), (8, 16, 4), (6, 16, 4), (16, 28, 2)]


@pytest.mark.parametrize(("batch", "size", "channels"), SHAPES)
@pytest.mark.parametrize(("kernel_size", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (1, 2, 0), (3, 1, 0), (1, 1, 0)])
def test_value_and_gradients_equal_xlas(batch, size, channels, kernel_size, stride, padding):
    x, kernel = arrays(0, batch, size, channels, 5, kernel_size)

    def loss(convolve):
        return jax.jit(
            jax.value_and_grad(lambda x, kernel: jnp.sin(convolve(x, kernel, stride, padding)).sum(), argnums=(0, 1))
        )

    value, gradients = loss(conv)(x, kernel)
    expected, expected_gradients = loss(native)(x, kernel)
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-3)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-3, atol=2e-4)


def test_bfloat16_stays_bfloat16():
    x, kernel = arrays(0, 8, 4, 8, 5, 3)
    y, gradients = jax.value_and_grad(lambda kernel: conv(x.astype("bfloat16"), kernel, 1, 1).astype("f4").sum())(
        jnp.asarray(kernel, "bfloat16")
    )
    assert gradients.dtype == jnp.bfloat16
    assert jnp.isfinite(y)


def test_lowers_to_one_native_convolution_for_accelerators():
    x, kernel = arrays(0, 8, 4, 8, 5, 3)
    text = (
        jax.jit(lambda x, kernel: conv(x, kernel, 1, 1)).trace(x, kernel).lower(lowering_platforms=("cuda",)).as_text()
    )
    assert text.count("stablehlo.convolution") == 1
    assert "dot_general" not in text
