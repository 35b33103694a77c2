"""Parts of a network that stay as they begin: which they are, that nothing in them moves, and what that saves."""

import jax
import numpy as np
import pytest
from flax import traverse_util

from cnn_jax import tasks
from cnn_jax.config import Config, ConfigError, override
from cnn_jax.layers import native
from cnn_jax.layers.initializers import initialize
from cnn_jax.models import build
from cnn_jax.models.frozen import evaluating, find_part
from cnn_jax.train import devices, loop
from cnn_jax.train.step import gradients
from tests import denoising  # noqa: F401  (it registers a task)

# (network, its fields, image, endpoint, top-level modules it depends on, dropouts it depends on)
PARTS = {
    "stages": ("resnet14", dict(bn_group=64), (8, 8, 1), "stage1", {"conv1", "stage1_block1", "stage1_block2"}, 0),
    "scanned": ("resnet14", dict(scan=True), (8, 8, 1), "stage1", {"conv1", "stage1_block1", "stage1_blocks"}, 0),
    "sparse maps": ("lenet5", {}, (32, 32, 1), "S4", {"C1", "S2", "C3", "S4"}, 0),
    "dropout before": (
        "alexnet",
        dict(image_size=32, width=4),
        (32, 32, 3),
        "fc7",
        {f"conv{i}" for i in range(1, 6)} | {"fc6", "fc7"},
        1,
    ),
    "heads aside": (
        "googlenet",
        dict(image_size=32, width=4),
        (32, 32, 3),
        "inception_4a",
        {"conv1", "conv2_reduce", "conv2", "inception_3a", "inception_3b", "inception_4a"},
        0,
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_an_endpoint_depends_on_what_comes_before_it(name):
    network, fields, image, endpoint, modules, dropouts = PARTS[name]
    part = find_part(build(network, num_classes=10, **fields), image, endpoint)
    whole = {module for module, leaves in part.params.items() if all(jax.tree.leaves(leaves))}
    assert whole == modules == {module for module, leaves in part.params.items() if any(jax.tree.leaves(leaves))}
    assert len({path[0] for path in part.modules if path and path[0].startswith("Dropout")}) == dropouts


def test_an_endpoint_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(ConfigError, match="optim.frozen=stage9: no such endpoint; did you mean stage3 or stage2"):
        find_part(build("resnet8", num_classes=10), (8, 8, 1), "stage9")
    with pytest.raises(ConfigError, match="choose from conv1, stage1, stage2, stage3, pool"):
        find_part(build("resnet8", num_classes=10), (8, 8, 1), "xyz")


@pytest.mark.parametrize(("name", "endpoint"), [("resnet8", "stage2"), ("alexnet", "fc7")])
def test_its_value_in_training_is_evaluations(name, endpoint):
    """Batch norm takes its running statistics, and no unit is dropped, up to there and no further."""
    model = build(name, num_classes=10, image_size=16, width=4)
    x = np.random.default_rng(0).standard_normal((4, 16, 16, 3), np.float32)
    variables = initialize(model, jax.random.key(0), jax.ShapeDtypeStruct(x.shape, x.dtype))
    part = find_part(model, (16, 16, 3), endpoint)

    def train(modules):
        with evaluating(modules):
            return model.apply(variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(1)})

    # Not compiled as a whole: two programs are fused differently, and differ in rounding.
    tested, expected = model.apply(variables, x, train=False)
    (logits, endpoints), _ = train(part.modules)
    (_, moving), _ = jax.jit(lambda: train(frozenset()))()
    np.testing.assert_array_equal(endpoints[endpoint], expected[endpoint])
    assert not np.array_equal(moving[endpoint], expected[endpoint])
    assert not np.array_equal(logits, tested)


def config(*assignments):
    settings = ["model.width=4", "data.name=digits", "data.pad=0", "batch_size=32", "steps=4", *assignments]
    return override(Config(), ["model.name=resnet8", *settings])


def flops(digits, *assignments):
    """Of the loss and its gradient, as traced."""
    one = tasks.complete(config(*assignments), digits)
    task = tasks.make(one, digits, None)
    variables = task.init(jax.random.key(0), None)
    batch = {name: array[:32] for name, array in digits.splits["train"].items()} | {"slot": np.arange(32)}
    batch |= {"key": jax.random.split(jax.random.key(0), 32)}
    lowered = jax.jit(lambda *given: gradients(task, *given)).lower(variables, batch, jax.random.key(0))
    return lowered.cost_analysis()["flops"]


def test_nothing_is_computed_backward_behind_the_cut(digits, monkeypatch):
    """A backward pass is two forward passes: all but the last layer frozen, a third of the work is left."""
    monkeypatch.setattr(native, "is_available", lambda: False)  # XLA counts none of the package's own kernels
    whole, half, least = (flops(digits, *one) for one in ([], ["optim.frozen=stage1"], ["optim.frozen=pool"]))
    assert 0.3 < least / whole < 0.4
    assert 0.6 < half / whole < 0.8


def test_what_is_frozen_stays_to_the_bit(digits):
    """Under momentum, decay, penalties and the bound on norms; its batch norms too; it has no momentum of its own."""
    more = ["penalty.l1=0.1", "penalty.form=proximal", "penalty.max_norm=0.01", "optim.decayed=all"]
    one = tasks.complete(config("optim.frozen=stage1", "optim.average=exponential", *more), digits)
    layout = devices.make_layout("jit", 1)
    task = tasks.make(one, digits, None)
    program = loop.make_program(task, one.optim, one.penalty, one.steps, layout)
    first = loop.initial_state(program, task, one, digits)
    state = devices.replicate(layout, jax.tree.map(np.copy, first))  # the step takes its memory
    batch = {name: array[:32] for name, array in digits.splits["train"].items()} | {"slot": np.arange(32)}
    for _ in range(2):
        state, _ = program.train_step(state, {}, devices.shard(layout, batch), jax.random.key(0))
    for kind in ("trained", "variables"):
        before, after = (traverse_util.flatten_dict(getattr(each, kind), sep="/") for each in (first, state))
        moved = {path for path in before if not np.array_equal(before[path], after[path])}
        stayed = {path for path in before if path.split("/")[1] in ("conv1", "stage1_block1")}
        assert moved == before.keys() - stayed
    sizes = [sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in (state.opt_state, state.params)]
    frozen = sum(np.size(before[path]) for path in stayed if path.startswith("params"))
    assert (
        sizes[0] == sizes[1] - frozen + 3
    )  # momentum, and the step counts of the rate, the proximal map and the bound


def test_what_cannot_be_frozen_is_one_line(digits):
    for task, endpoint, message in (
        ("classification", "stage7", "optim.frozen=stage7: no such endpoint"),
        ("denoising", "stage1", "optim.frozen=stage1: this task has no parts that stay as they begin; leave it out"),
    ):
        with pytest.raises(ConfigError, match=message):
            one = tasks.complete(config(f"task={task}", f"optim.frozen={endpoint}"), digits)
            made = tasks.make(one, digits, None)
            loop.make_program(made, one.optim, one.penalty, one.steps, devices.make_layout("jit", 1))
    with pytest.raises(ConfigError, match="leaves nothing to train"):
        one = tasks.complete(override(config("optim.frozen=pool10"), ["model.name=squeezenet1_1"]), digits)
        made = tasks.make(one, digits, None)
        program = loop.make_program(made, one.optim, one.penalty, one.steps, devices.make_layout("jit", 1))
        loop.initial_state(program, made, one, digits)
