from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnn_jax.layers.activations import ACTIVATIONS
from cnn_jax.layers.conv import Conv
from cnn_jax.layers.geometry import output_size, receptive_field
from cnn_jax.layers.pool import max_pool, mean_pool


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 24),
    kernel_size=st.integers(1, 7),
    stride=st.integers(1, 5),
    padding=st.integers(0, 4),
    dilation=st.integers(1, 3),
)
def test_output_size_is_the_shape_of_a_convolution(size, kernel_size, stride, padding, dilation):
    assume(size + 2 * padding > dilation * (kernel_size - 1))
    layer = Conv(2, kernel_size, stride, padding, dilation=dilation)
    y, _ = jax.eval_shape(layer.init_with_output, jax.random.key(0), jnp.zeros((1, size, size, 1)))
    side = output_size(size, kernel_size, stride, padding, dilation)
    assert y.shape == (1, side, side, 2)


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 24),
    window=st.integers(1, 7),
    stride=st.integers(1, 8),
    padding=st.integers(0, 3),
    ceil_mode=st.booleans(),
)
def test_output_size_counts_the_windows(size, window, stride, padding, ceil_mode):
    assume(2 * padding <= window <= size + 2 * padding)
    covered, count = 0, 0  # in pixels of the padded input
    while True:
        start = count * stride
        fits = start + window <= size + 2 * padding
        hangs_over = ceil_mode and covered < size + 2 * padding and start < padding + size
        if not fits and not hangs_over:
            break
        covered, count = start + window, count + 1
    assert output_size(size, window, stride, padding, ceil_mode=ceil_mode) == count
    for pool in (max_pool, mean_pool):
        f = partial(pool, size=window, stride=stride, padding=padding, ceil_mode=ceil_mode)
        assert jax.eval_shape(f, jnp.zeros((1, size, size, 2))).shape == (1, count, count, 2)


@pytest.mark.parametrize(
    ("sizes", "layers"),
    [
        # Krizhevsky et al. 2012: conv1, pool1, pool2, pool5
        ((227, 55, 27, 13, 6), [(11, 4, 0), (3, 2, 0), (3, 2, 0), (3, 2, 0)]),
        # LeCun et al. 1998, Figure 2: C1, S2, C3, S4, C5
        ((32, 28, 14, 10, 5, 1), [(5, 1, 0), (2, 2, 0), (5, 1, 0), (2, 2, 0), (5, 1, 0)]),
        # He et al. 2016, Table 1: conv1, its max pooling, conv3_x, conv4_x, conv5_x
        ((224, 112, 56, 28, 14, 7), [(7, 2, 3), (3, 2, 1), (3, 2, 1), (3, 2, 1), (3, 2, 1)]),
    ],
)
def test_sizes_the_papers_print(sizes, layers):
    for before, after, (kernel_size, stride, padding) in zip(sizes[:-1], sizes[1:], layers, strict=True):
        assert output_size(before, kernel_size, stride, padding) == after


def test_googlenets_pooling_rounds_up():
    """Szegedy et al. 2015, Table 1: each 3x3/2 max pooling halves 112, 56, 28 and 14, without padding."""
    for size in (112, 56, 28, 14):
        assert output_size(size, 3, 2, ceil_mode=True) == size // 2 == output_size(size, 3, 2) + 1


def test_a_kernel_larger_than_the_padded_input_is_refused():
    assert output_size(3, 5, padding=1) == 1
    with pytest.raises(ValueError, match="an input of 3 pixels with padding 0 is smaller than the kernel, 5"):
        output_size(3, 3, dilation=2)


# AlexNet and VGG-16 to their last pooling: Araujo et al. 2019, "Computing Receptive Fields of Convolutional Neural
# Networks", Distill. Two and three 3x3 layers: Simonyan & Zisserman 2015, 2.3. Dilated: Yu & Koltun 2016, Table 1.
VGG16 = [layer for convs in (2, 2, 3, 3, 3) for layer in [(3, 1, 1)] * convs + [(2, 2, 1)]]
ALEXNET = [(11, 4, 1), (3, 2, 1), (5, 1, 1), (3, 2, 1), (3, 1, 1), (3, 1, 1), (3, 1, 1), (3, 2, 1)]
CONTEXT = [(3, 1, dilation) for dilation in (1, 1, 2, 4, 8, 16, 1)]


@pytest.mark.parametrize(
    ("layers", "pixels"),
    [([], 1), ([(3, 1, 1)] * 2, 5), ([(3, 1, 1)] * 3, 7), (ALEXNET, 195), (VGG16, 212), (CONTEXT, 67)],
)
def test_receptive_fields_the_papers_print(layers, pixels):
    assert receptive_field(layers) == pixels


@settings(max_examples=8, deadline=None)
@given(st.lists(st.sampled_from([(3, 2, 1), (2, 2, 1), (3, 1, 2), (1, 2, 1), (5, 1, 1)]), min_size=1, max_size=3))
def test_receptive_field_is_where_the_gradient_of_a_unit_is_not_zero(layers):
    size = 2 * receptive_field(layers) + 3

    def unit(x):
        for kernel_size, stride, dilation in layers:
            layer = Conv(1, kernel_size, stride, padding_mode="valid", dilation=dilation)
            x = layer.apply({"params": {"kernel": np.ones((kernel_size, kernel_size, 1, 1), np.float32)}}, x)
        return x[0, x.shape[1] // 2, x.shape[2] // 2, 0]

    rows, columns = np.nonzero(
        np.asarray(jax.jit(jax.grad(unit))(np.zeros((1, size, size, 1), np.float32)))[0, :, :, 0]
    )
    for pixels in (rows, columns):
        assert pixels.max() - pixels.min() + 1 == receptive_field(layers)


def test_activations_keep_the_type_and_are_what_their_papers_say():
    a = np.linspace(-4, 4, 33, dtype=np.float32)
    expected = {
        "relu": np.maximum(a, 0),
        "tanh": np.tanh(a),
        "scaled_tanh": 1.7159 * np.tanh(2 * a / 3),
        "sigmoid": 1 / (1 + np.exp(-a)),
    }
    assert set(expected) == set(ACTIVATIONS)
    for name, activation in ACTIVATIONS.items():
        np.testing.assert_allclose(activation(a), expected[name], rtol=1e-5, atol=1e-6, err_msg=name)
        assert activation(jnp.asarray(a, "bfloat16")).dtype == jnp.bfloat16, name


def test_lecuns_squashing_function_passes_through_one_where_it_is_most_curved():
    """LeCun et al. 1998, Appendix A: f(1) = 1, f(-1) = -1, and |f''| is largest at 1 and -1."""
    f = ACTIVATIONS["scaled_tanh"]
    np.testing.assert_allclose([f(1.0), f(-1.0)], [1, -1], atol=1e-4)
    a = np.linspace(0, 3, 301, dtype=np.float32)
    curvature = np.abs(jax.vmap(jax.grad(jax.grad(f)))(a))
    assert abs(a[curvature.argmax()] - 1) < 0.02
