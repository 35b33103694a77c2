import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from cnn_jax.layers import native
from cnn_jax.layers.conv import conv


@pytest.fixture(params=["native", "xla"])
def lowering(request, monkeypatch):
    """The package's own kernels, and what stands in where they cannot be built."""
    if request.param == "xla":
        monkeypatch.setattr(native, "is_available", lambda: False)
    else:
        assert native.is_available(), "no C++ compiler: the CPU kernels are untested"


def xla(x, kernel, stride, padding):
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
    kernel_size=st.integers(1, 5),
    stride=st.integers(1, 4),
    padding=st.integers(0, 3),
    channels=st.integers(1, 3),
)
def test_equals_a_second_implementation(size, kernel_size, stride, padding, channels):
    assume(size + 2 * padding >= kernel_size)
    x, kernel = arrays(size, 2, size, channels, 4, kernel_size)
    expected = numpy_conv(x, kernel, stride, padding)
    assert expected.shape[1] == (size - kernel_size + 2 * padding) // stride + 1
    np.testing.assert_allclose(conv(x, kernel, stride, padding), expected, rtol=1e-4, atol=1e-5)


# Maps smaller than a tile, larger than a block of work, of more channels than a tile, and batches that do not divide.
SHAPES = [(8, 4, 8, 5), (8, 3, 8, 8), (8, 8, 4, 16), (6, 16, 4, 17), (16, 28, 2, 24), (3, 150, 3, 5), (9, 2, 40, 33)]
GEOMETRIES = [(3, 1, 1), (3, 2, 1), (1, 2, 0), (2, 1, 0), (1, 1, 0), (5, 3, 2), (2, 1, 3)]


def value_and_gradients(convolve, x, kernel, stride, padding):
    def loss(x, kernel):
        y = convolve(x, kernel, stride, padding)
        return jnp.sin(y).sum(), y

    gradients, y = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(x, kernel)
    return y, *gradients


def assert_close(actual, expected):
    """To rounding: the sums of products of either are in another order."""
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=2e-5 * np.abs(expected).max())


def assert_equals_xlas(batch, size, channels, features, kernel_size, stride, padding):
    arguments = *arrays(0, batch, size, channels, features, kernel_size), stride, padding
    for actual, expected in zip(
        value_and_gradients(conv, *arguments), value_and_gradients(xla, *arguments), strict=True
    ):
        assert_close(actual, expected)


@pytest.mark.parametrize(("batch", "size", "channels", "features"), SHAPES)
@pytest.mark.parametrize(("kernel_size", "stride", "padding"), GEOMETRIES)
def test_value_and_gradients_equal_xlas(batch, size, channels, features, kernel_size, stride, padding):
    assert native.is_available(), "no C++ compiler: the CPU kernels are untested"
    assert_equals_xlas(batch, size, channels, features, kernel_size, stride, padding)


@pytest.mark.parametrize("batch", [8, 6])  # in parts, and not
def test_without_a_compiler_the_same(batch, monkeypatch):
    monkeypatch.setattr(native, "is_available", lambda: False)
    assert_equals_xlas(batch, 16, 4, 5, 3, 1, 1)


# Tiles that fill the map and that do not, channels that fill vectors and that do not, all the paddings of a 3x3 kernel.
WINOGRAD = [(2, 8, 16, 16, 1), (1, 14, 24, 33, 1), (2, 7, 40, 24, 1), (1, 10, 16, 8, 0), (1, 9, 9, 10, 2)]


@pytest.mark.parametrize(("batch", "size", "channels", "features", "padding"), WINOGRAD)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 3e-6), ("bfloat16", 4e-3)])  # bfloat16 rounds by 2^-9
def test_tiles_of_4x4_results_are_right_to_rounding(batch, size, channels, features, padding, dtype, tolerance):
    """Root mean square of the error, against float64, of the value and of both gradients."""
    x, kernel = (jnp.asarray(array, dtype) for array in arrays(5, batch, size, channels, features, 3))
    y_bar = jnp.asarray(np.random.default_rng(6).standard_normal(conv(x, kernel, 1, padding).shape), dtype)
    value, gradients = jax.vjp(lambda x, kernel: conv(x, kernel, 1, padding), x, kernel)
    with jax.enable_x64(True):
        exact = (jnp.asarray(array, jnp.float64) for array in (x, kernel))
        expected, expected_gradients = jax.vjp(lambda x, kernel: xla(x, kernel, 1, padding), *exact)
        wanted = [np.asarray(array) for array in (expected, *expected_gradients(jnp.asarray(y_bar, jnp.float64)))]
    for actual, right in zip((value, *gradients(y_bar)), wanted, strict=True):
        assert actual.dtype == dtype
        error = np.asarray(actual, np.float64) - right
        assert np.sqrt(np.mean(error**2) / np.mean(right**2)) < tolerance


@pytest.mark.usefixtures("lowering")
@pytest.mark.parametrize(("kernel_size", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (1, 1, 0)])
def test_forward_mode_and_products_with_hessians_equal_xlas(kernel_size, stride, padding):
    primals, tangents = (arrays(seed, 2, 6, 8, 9, kernel_size) for seed in (7, 8))

    def derivatives(convolve):
        def loss(x, kernel):
            return jnp.sin(convolve(x, kernel, stride, padding)).sum()

        def both(primals, tangents):
            _, linear = jax.linearize(loss, *primals)
            hessian = jax.jvp(jax.grad(loss, argnums=(0, 1)), primals, tangents)[1]
            return jax.jvp(loss, primals, tangents)[1], linear(*tangents), *hessian

        return jax.jit(both)(primals, tangents)

    for actual, expected in zip(derivatives(conv), derivatives(xla), strict=True):
        assert_close(actual, expected)


@pytest.mark.usefixtures("lowering")
def test_gradients_of_each_example_under_vmap():
    x, kernel = arrays(9, 3, 6, 8, 9, 3)

    def gradients(convolve):
        loss = jax.grad(lambda kernel, image: jnp.sin(convolve(image[None], kernel, 1, 1)).sum())
        return jax.jit(jax.vmap(jax.vmap(loss, in_axes=(None, 0)), in_axes=(0, None)))(jnp.stack([kernel, -kernel]), x)

    assert_close(gradients(conv), gradients(xla))


@pytest.mark.parametrize("batch", ["4", "b"])
def test_an_exported_program_takes_xlas_and_any_batch_that_it_names(batch):
    x, kernel = arrays(10, 4, 8, 16, 16, 3)
    shape = (*jax.export.symbolic_shape(batch), *x.shape[1:])
    exported = jax.export.export(jax.jit(lambda x: conv(x, kernel, 1, 1)))(jax.ShapeDtypeStruct(shape, x.dtype))
    assert "custom_call @cnn_jax" not in exported.mlir_module()
    assert_close(exported.call(x), xla(x, kernel, 1, 1))


def test_an_input_smaller_than_the_kernel_is_refused():
    with pytest.raises(ValueError, match="smaller than the kernel"):
        conv(*arrays(0, 2, 3, 1, 1, 5), 1, 0)


@pytest.mark.usefixtures("lowering")
@pytest.mark.parametrize(("kernel_size", "stride", "padding"), GEOMETRIES)
def test_gradients_of_gradients_equal_xlas(kernel_size, stride, padding):
    arguments = arrays(1, 4, 7, 3, 5, kernel_size)

    def roughness(convolve):
        def loss(x, kernel):
            return jnp.sin(convolve(x, kernel, stride, padding)).mean()

        def squares(x, kernel):
            return sum(jnp.square(gradient).sum() for gradient in jax.grad(loss, argnums=(0, 1))(x, kernel))

        return jax.jit(jax.grad(squares, argnums=(0, 1)))

    for actual, expected in zip(roughness(conv)(*arguments), roughness(xla)(*arguments), strict=True):
        assert_close(actual, expected)


@pytest.mark.usefixtures("lowering")
def test_vmap_over_either_or_both():
    x, kernel = arrays(2, 6, 5, 3, 4, 3)
    images, kernels = x.reshape(2, 3, 5, 5, 3), np.stack([kernel, 2 * kernel])
    for axes, arguments in (((0, 0), (images, kernels)), ((0, None), (images, kernel)), ((None, 0), (x, kernels))):
        actual, expected = (
            jax.vmap(lambda x, kernel, f=f: f(x, kernel, 2, 1), in_axes=axes)(*arguments) for f in (conv, xla)
        )
        assert_close(actual, expected)


def test_each_device_works_on_its_share_under_jit():
    x, kernel = arrays(3, 8, 8, 3, 5, 3)
    mesh = Mesh(np.asarray(jax.devices()[:2]), ("data",), axis_types=(AxisType.Auto,))
    split, whole = (NamedSharding(mesh, spec) for spec in (PartitionSpec("data"), PartitionSpec()))

    def gradients(convolve):
        return jax.grad(lambda x, kernel: jnp.sin(convolve(x, kernel, 1, 1)).sum(), argnums=(0, 1))

    program = jax.jit(gradients(conv), in_shardings=(split, whole), out_shardings=(split, whole)).lower(x, kernel)
    compiled = program.compile()
    for actual, expected in zip(compiled(x, kernel), jax.jit(gradients(xla))(x, kernel), strict=True):
        assert_close(actual, expected)
    calls = [line for line in compiled.as_text().splitlines() if "cnn_jax_convolution" in line]
    assert len(calls) == 1 and "f32[4,8,8,5]" in calls[0], calls
    assert "all-gather" not in compiled.as_text()


def test_the_same_bits_every_time():
    x, kernel = arrays(4, 64, 16, 16, 16, 3)
    first = value_and_gradients(conv, x, kernel, 1, 1)
    for _ in range(5):
        for actual, expected in zip(value_and_gradients(conv, x, kernel, 1, 1), first, strict=True):
            np.testing.assert_array_equal(actual, expected)


def test_a_missing_or_failing_compiler_is_a_clear_line(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for compiler, reason in (("no-such-compiler", "no C\\+\\+ compiler found"), ("false", "failed")):
        monkeypatch.setenv("CXX", compiler)
        with pytest.raises(native.CompilerError, match=reason):
            native.build()
        assert not native.is_available.__wrapped__()
    assert "install g++" in caplog.text
    assert not list(tmp_path.rglob("*.so"))


@pytest.mark.parametrize("lanes", [4, 16])
def test_tiles_for_other_processors(lanes):
    """The kernels as compiled for vectors of 4 or 16 floats, which the compiler emulates where there are none."""
    program = (
        "import numpy as np, jax\n"
        "from cnn_jax.layers import native\n"
        f"native.FLAGS += ('-DCNN_JAX_LANES={lanes}',)\n"
        "from cnn_jax.layers.conv import conv\n"
        "from cnn_jax.layers.convolutions import xla_conv\n"
        "rng = np.random.default_rng(0)\n"
        "assert native.is_available()\n"
        "for channels, features in ((3, 16), (16, 33), (8, 5)):\n"
        "    x = rng.standard_normal((5, 7, 7, channels), np.float32)\n"
        "    kernel = rng.standard_normal((3, 3, channels, features), np.float32)\n"
        "    y, own = jax.vjp(lambda x, k: conv(x, k, 2, 1), x, kernel)\n"
        "    expected, xla = jax.vjp(xla_conv(2, 1), x, kernel)\n"
        "    for a, b in zip((y, *own(y)), (expected, *xla(expected))):\n"
        "        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


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
