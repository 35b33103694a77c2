"""A network with its blocks scanned is the network without: the same numbers, from variables that convert."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.config import Config, override
from cnn_jax.layers.initializers import initialize
from cnn_jax.models import build
from cnn_jax.models.residual import stack_blocks, unstack_blocks
from cnn_jax.train import penalties

SHAPE = (4, 8, 8, 3)


def pair(name, **changes):
    """The model without and with `scan`, and variables of the first, no leaf of them constant."""
    one, scanned = (build(name, num_classes=10, width=4, scan=scan, **changes) for scan in (False, True))
    variables = initialize(one, jax.random.key(0), jax.ShapeDtypeStruct(SHAPE, jnp.float32))
    generator = np.random.default_rng(0)
    noisy = jax.tree.map(lambda leaf: leaf + generator.uniform(0, 0.2, leaf.shape).astype(np.float32), variables)
    return one, scanned, noisy


def draw_images():
    return np.random.default_rng(1).standard_normal(SHAPE, np.float32)


def shapes_of(variables):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), variables)


def assert_near(actual, expected, rtol=1e-5):
    """Equal to rounding, the tolerance being of the largest number in the leaf."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * float(np.abs(b).max(initial=0))),
        actual,
        expected,
    )


def assert_same(actual, expected):
    assert shapes_of(actual) == shapes_of(expected)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


@pytest.mark.parametrize(("name", "later"), [("plain20", 2), ("resnet14", 1), ("resnet20", 2)])
@pytest.mark.parametrize("option", ["A", "B"])
def test_the_variables_are_those_the_scanned_network_asks_for(name, later, option):
    _, scanned, variables = pair(name, shortcut_option=option)
    asked = jax.eval_shape(lambda: scanned.init(jax.random.key(0), jnp.zeros(SHAPE)))
    stacked = stack_blocks(variables)
    assert shapes_of(stacked) == shapes_of(asked)
    counts = [sum(leaf.size for leaf in jax.tree.leaves(tree["params"])) for tree in (variables, asked)]
    assert counts[0] == counts[1]
    assert stacked["params"]["stage2_blocks"]["conv1"]["conv"]["kernel"].shape == (later, 3, 3, 8, 8)
    assert stacked["batch_stats"]["stage3_blocks"]["conv2"]["bn"]["var"].shape == (later, 16)


@pytest.mark.parametrize("name", ["plain8", "resnet14", "resnet80"])
def test_stacking_and_unstacking_are_exact_inverses(name):
    """resnet80 has a block 13: the order is that of the numbers, not of the letters."""
    _, _, variables = pair(name, shortcut_option="B")
    stacked = stack_blocks(variables)
    assert_same(unstack_blocks(stacked), variables)
    assert_same(stack_blocks(unstack_blocks(stacked)), stacked)
    if name == "resnet80":
        kernel = stacked["params"]["stage1_blocks"]["conv1"]["conv"]["kernel"]
        np.testing.assert_array_equal(kernel[11], variables["params"]["stage1_block13"]["conv1"]["conv"]["kernel"])


def test_one_block_a_stage_is_not_scanned():
    one, scanned, variables = pair("resnet8")
    assert_same(stack_blocks(variables), variables)
    x = draw_images()
    assert_same(scanned.apply(variables, x), one.apply(variables, x))


@pytest.mark.parametrize(
    ("name", "option", "train"),
    [
        *(("plain20", "A", True), ("resnet20", "A", False), ("resnet20", "B", True)),
        pytest.param("resnet20", "A", True, marks=pytest.mark.slow),
    ],
)
def test_outputs_statistics_and_gradients_agree(name, option, train):
    one, scanned, variables = pair(name, shortcut_option=option, bn_group=2)
    weights = np.random.default_rng(2).standard_normal((SHAPE[0], 10), np.float32)

    def results_of(model, variables):
        def loss(params, x):
            mutable = ["batch_stats"] if train else []
            outputs, state = model.apply(variables | {"params": params}, x, train=train, mutable=mutable)
            return (weights * jax.nn.log_softmax(outputs[0])).sum(), (outputs, state)

        gradient = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
        return jax.jit(gradient)(variables["params"], draw_images())

    (expected_loss, (expected, expected_state)), (expected_params, expected_x) = results_of(one, variables)
    (loss, (outputs, state)), (params, x) = results_of(scanned, stack_blocks(variables))
    assert_near((loss, outputs, x), (expected_loss, expected, expected_x), rtol=1e-4)
    assert_near(unstack_blocks(state), dict(expected_state), rtol=1e-4)
    assert_near(unstack_blocks({"params": params}), {"params": expected_params}, rtol=1e-4)
    assert bool(state) == train


def test_bfloat16_agrees_and_its_gradients_are_float32():
    one, scanned, variables = pair("resnet20", dtype=jnp.bfloat16)
    expected, _ = one.apply(variables, draw_images())
    stacked = stack_blocks(variables)
    logits, endpoints = scanned.apply(stacked, draw_images())
    assert endpoints["stage3"].dtype == jnp.bfloat16
    np.testing.assert_allclose(logits, expected, rtol=0.05, atol=0.05 * float(jnp.abs(expected).max()))

    def loss(params):
        outputs, _ = scanned.apply(stacked | {"params": params}, draw_images(), train=True, mutable=["batch_stats"])
        return outputs[0].sum()

    gradients = jax.eval_shape(jax.grad(loss), stacked["params"])
    assert shapes_of(gradients) == shapes_of(stacked["params"])


def test_the_same_parameters_decay():
    _, _, variables = pair("resnet20", shortcut_option="B")
    sizes = []
    for params in (variables["params"], stack_blocks(variables)["params"]):
        mask = penalties.mask(params, "kernels")
        decayed = jax.tree.map(lambda leaf, decays: leaf.size * decays, params, mask)
        sizes.append(sum(jax.tree.leaves(decayed)))
    assert sizes[0] == sizes[1]


def test_the_option_is_a_config_field():
    assert not Config().model.scan
    assert override(Config(), ["model.scan=true"]).model.scan is True


def program(depth, scan):
    """What a GPU's compiler is given for the gradients of a training step."""
    model = build(f"resnet{depth}", num_classes=10, width=4, scan=scan)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(SHAPE)))

    def loss(params, batch_stats, x):
        outputs, state = model.apply(
            {"params": params, "batch_stats": batch_stats}, x, train=True, mutable=["batch_stats"]
        )
        return outputs[0].sum(), state

    x = jax.ShapeDtypeStruct(SHAPE, jnp.float32)
    traced = jax.jit(jax.grad(loss, has_aux=True)).trace(variables["params"], variables["batch_stats"], x)
    return traced.lower(lowering_platforms=("cuda",)).as_text()


def test_the_program_does_not_grow_with_depth():
    programs = program(56, scan=False), program(56, scan=True), program(20, scan=True)
    _, scanned, shallow = programs
    convolutions = [len(re.findall("call @(?:conv_general_dilated|gradient)", text)) for text in programs]
    assert convolutions[1] == convolutions[2]  # they and their gradients
    assert convolutions[0] > 3 * convolutions[1]
    assert abs(len(scanned) - len(shallow)) < 0.01 * len(shallow)
