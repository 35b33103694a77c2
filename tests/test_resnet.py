import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.config import ConfigError
from cnn_jax.layers.initializers import initialize
from cnn_jax.models import build


def parameters(name, shape=(32, 32, 3), **changes):
    model = build(name, num_classes=10, **changes)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, *shape))))
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


# REFERENCE: exact integer arithmetic over He et al. 2016, 4.2, and published implementations.
COUNTS = {20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018, 110: 1_727_962}


@pytest.mark.parametrize(("depth", "count"), COUNTS.items())
def test_published_parameter_counts(depth, count):
    assert parameters(f"resnet{depth}") == count
    assert parameters(f"plain{depth}") == count
    assert parameters(f"resnet{depth}", shortcut_option="B") == count + 2_752


@pytest.mark.slow
def test_published_parameter_count_of_depth_1202():
    assert parameters("resnet1202") == 19_421_274


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 8, 1)])
def test_the_stem_follows_the_input(shape):
    assert parameters("resnet20", shape) == 269_722 - 2 * 9 * 16


def apply(name, x, train=False, **changes):
    model = build(name, num_classes=10, width=4, **changes)
    variables = initialize(model, jax.random.key(0), jax.ShapeDtypeStruct(x.shape, jnp.float32))
    return model.apply(variables, x, train=train, mutable=["batch_stats"] if train else [])[0]


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).standard_normal((2, 16, 16, 3), np.float32)


def test_endpoints_carry_the_papers_shapes(x):
    logits, endpoints = apply("resnet8", x)
    assert logits.shape == (2, 10)
    shapes = {name: endpoint.shape[1:] for name, endpoint in endpoints.items()}
    assert shapes == {
        "conv1": (16, 16, 4),
        "stage1": (16, 16, 4),
        "stage2": (8, 8, 8),
        "stage3": (4, 4, 16),
        "pool": (16,),
    }


@pytest.mark.parametrize(("zero_channels", "kept"), [("after", slice(0, 4)), ("each_side", slice(2, 6))])
def test_option_a_pads_with_zero_channels(x, zero_channels, kept):
    """With the weights of a block's last batch norm at zero, what is left is its shortcut."""
    model = build("resnet8", num_classes=10, width=4, zero_channels=zero_channels)
    variables = initialize(model, jax.random.key(0), jax.ShapeDtypeStruct(x.shape, jnp.float32))
    scale = variables["params"]["stage2_block1"]["conv2"]["bn"]["scale"]
    scale[:] = 0
    _, endpoints = model.apply(variables, x)
    expected = np.zeros((2, 8, 8, 8), np.float32)
    expected[..., kept] = np.maximum(endpoints["stage1"], 0)[:, ::2, ::2]
    np.testing.assert_allclose(endpoints["stage2"], expected, rtol=1e-6)


def test_a_plain_net_with_dead_blocks_passes_nothing_and_a_residual_net_does(x):
    for name, alive in (("plain8", False), ("resnet8", True)):
        model = build(name, num_classes=10, width=4)
        variables = initialize(model, jax.random.key(0), jax.ShapeDtypeStruct(x.shape, jnp.float32))
        for stage in (1, 2, 3):
            variables["params"][f"stage{stage}_block1"]["conv2"]["bn"]["scale"][:] = 0
        _, endpoints = model.apply(variables, x)
        assert bool((endpoints["pool"] != 0).any()) == alive


def test_bfloat16_logits_are_float32_and_near(x):
    low, _ = apply("resnet8", x, dtype=jnp.bfloat16)
    full, _ = apply("resnet8", x)
    assert low.dtype == jnp.float32
    np.testing.assert_allclose(low, full, rtol=0.1, atol=0.1)


def test_initial_values_are_a_function_of_the_key_and_have_hes_variance():
    model = build("resnet20", num_classes=10)
    shape = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
    one, same, other = (initialize(model, jax.random.key(seed), shape)["params"] for seed in (0, 0, 1))
    kernel = one["stage3_block3"]["conv2"]["conv"]["kernel"]
    np.testing.assert_array_equal(kernel, same["stage3_block3"]["conv2"]["conv"]["kernel"])
    assert (kernel != other["stage3_block3"]["conv2"]["conv"]["kernel"]).all()
    assert (kernel != one["stage3_block3"]["conv1"]["conv"]["kernel"]).all()
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * 64)), rtol=0.02)  # 36,864 draws: 0.4 % at one sigma


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet21", "depth 21 is not 6n+2; the nearest are 20 and 26"),
        ("plain2", "depth 2 is not 6n+2; the nearest are 8 and 14"),
        ("resnext20", "unknown model 'resnext20'; did you mean resnet20"),
        ("resnet", "unknown model 'resnet'"),
    ],
)
def test_unknown_models(name, message):
    with pytest.raises(ConfigError) as error:
        build(name, num_classes=10)
    assert message in str(error.value)
