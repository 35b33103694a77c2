"""What the lecture "Convolutional networks" shows and says of the layers, its own examples first."""

import jax
import numpy as np
import pytest

from cnn_jax.layers.activations import ACTIVATIONS
from cnn_jax.layers.conv import Conv
from cnn_jax.layers.geometry import output_size
from cnn_jax.layers.norm import BatchNorm, local_response_norm
from cnn_jax.layers.pool import max_pool, mean_pool

IMAGE = np.array([[1, 4, 2, 3], [6, 1, 1, 7], [1, 2, 1, 4], [1, 5, 1, 2]], np.float32)

SYMMETRIC = """
1 6 6 1 1 7 7 1
4 1 1 4 2 3 3 2
4 1 1 4 2 3 3 2
1 6 6 1 1 7 7 1
2 1 1 2 1 4 4 1
5 1 1 5 1 2 2 1
5 1 1 5 1 2 2 1
2 1 1 2 1 4 4 1
"""

CIRCULAR = """
1 4 1 2 1 4 1 2
1 2 1 5 1 2 1 5
2 3 1 4 2 3 1 4
1 7 6 1 1 7 6 1
1 4 1 2 1 4 1 2
1 2 1 5 1 2 1 5
2 3 1 4 2 3 1 4
1 7 6 1 1 7 6 1
"""


def maps(image):
    return np.asarray(image, np.float32)[None, :, :, None]


def convolve(image, kernel, **fields):
    params = {"kernel": np.asarray(kernel, np.float32)[:, :, None, None]}
    return np.asarray(jax.jit(Conv(1, len(kernel), **fields).apply)({"params": params}, maps(image)))[0, :, :, 0]


@pytest.mark.parametrize(("mode", "table"), [("symmetric", SYMMETRIC), ("circular", CIRCULAR)])
def test_padding_tables(mode, table):
    """A filter of one pixel, 1, leaves the padded image as it is."""
    expected = [[int(number) for number in row.split()] for row in table.strip().splitlines()]
    np.testing.assert_array_equal(convolve(IMAGE, [[1]], padding=2, padding_mode=mode), expected)


def test_max_pooling_2x2_stride_2():
    image = [[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]]
    np.testing.assert_array_equal(max_pool(maps(image), 2, 2)[0, :, :, 0], [[6, 8], [3, 4]])
    np.testing.assert_array_equal(mean_pool(maps(image), 2, 2)[0, :, :, 0], [[3.25, 5.25], [2, 2]])


def test_the_formula_of_a_convolution():
    """S(i, j) = sum of I(i + m, j + n) K(m, n): the kernel is not turned round."""
    kernel = np.arange(9, dtype=np.float32).reshape(3, 3)
    expected = [
        [sum(IMAGE[i + m, j + n] * kernel[m, n] for m in range(3) for n in range(3)) for j in range(2)]
        for i in range(2)
    ]
    np.testing.assert_array_equal(convolve(IMAGE, kernel, padding_mode="valid"), expected)


@pytest.mark.parametrize(("n", "f", "s", "p"), [(4, 3, 1, 0), (4, 3, 1, 1), (7, 3, 2, 1), (8, 3, 2, 1), (9, 5, 3, 2)])
def test_the_formula_of_the_size(n, f, s, p):
    assert output_size(n, f, s, p) == np.floor((n - f + 2 * p) / s + 1)
    assert convolve(np.zeros((n, n)), np.zeros((f, f)), stride=s, padding=p).shape == (output_size(n, f, s, p),) * 2


def test_half_the_filter_as_padding_keeps_the_size_and_none_loses_it():
    for f in (1, 3, 5, 7):
        assert output_size(28, f, padding=f // 2) == 28
        assert output_size(28, f) == 28 - (f - 1)


def parameters(layer, shape):
    variables = jax.eval_shape(layer.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, np.float32))
    return variables["params"]["kernel"].shape


def test_a_filter_covers_the_depth_and_is_shared_by_all_places():
    alexnets = Conv(96, 11, 4, padding=0)
    assert parameters(alexnets, (1, 227, 227, 3)) == parameters(alexnets, (1, 64, 64, 3)) == (11, 11, 3, 96)
    assert parameters(Conv(6, 5), (1, 8, 8, 16)) == (5, 5, 16, 6)


def test_a_filter_of_one_pixel_reduces_the_depth():
    x = np.random.default_rng(0).standard_normal((2, 5, 5, 64), np.float32)
    kernel = np.random.default_rng(1).standard_normal((1, 1, 64, 16), np.float32)
    y = Conv(16, 1).apply({"params": {"kernel": kernel}}, x)
    np.testing.assert_allclose(y, x @ kernel[0, 0], rtol=1e-4, atol=1e-4)


def test_connections_are_local():
    x = np.random.default_rng(0).standard_normal((9, 9), np.float32)
    kernel = np.random.default_rng(1).standard_normal((3, 3), np.float32)
    moved = x.copy()
    moved[4, 4] += 1
    differ = np.argwhere(convolve(moved, kernel) != convolve(x, kernel))
    np.testing.assert_array_equal(differ.min(axis=0), [3, 3])
    np.testing.assert_array_equal(differ.max(axis=0), [5, 5])


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_convolutions_alone_are_one_convolution_and_a_nonlinearity_between_ends_that(name):
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 7, 7), np.float32)
    kernels = rng.standard_normal((2, 3, 3), np.float32)

    def stack(x, between=lambda x: x):
        return convolve(between(convolve(x, kernels[0], padding_mode="valid")), kernels[1], padding_mode="valid")

    one = np.zeros((5, 5), np.float32)
    for m, n in np.ndindex(3, 3):
        one[m : m + 3, n : n + 3] += kernels[1][m, n] * kernels[0]
    np.testing.assert_allclose(stack(first), convolve(first, one, padding_mode="valid"), rtol=1e-3, atol=1e-4)
    bent = ACTIVATIONS[name]
    assert np.abs(stack(first + second, bent) - stack(first, bent) - stack(second, bent)).max() > 0.1


def test_local_response_normalisation_inhibits_the_neighbours_of_a_high_output():
    x = np.ones((1, 1, 1, 16), np.float32)
    x[..., 6] = 200
    y = np.asarray(local_response_norm(x))[0, 0, 0]
    quiet = [*range(0, 2), *range(10, 14)]
    assert (y[[4, 5, 7, 8]] < 0.9 * y[quiet].min()).all()


def test_batch_normalisation_whitens_each_channel_of_a_batch():
    x = np.random.default_rng(0).normal(5, 3, (16, 4, 4, 3)).astype(np.float32)
    params = {"scale": np.ones(3, np.float32), "bias": np.zeros(3, np.float32)}
    variables = {"params": params, "batch_stats": {"mean": params["bias"], "var": params["scale"]}}
    y, _ = BatchNorm().apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(np.mean(y, axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(np.var(y, axis=(0, 1, 2)), 1, rtol=1e-4)
