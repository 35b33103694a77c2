"""The training step: against PyTorch's numbers, on one batch, and the same under jit and pmap."""

import json
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax import presets, tasks
from cnn_jax.config import Optim, override
from cnn_jax.data.batches import training_indices
from cnn_jax.models import build
from cnn_jax.models.residual import stack_blocks, unstack_blocks
from cnn_jax.train import devices, feed, loop, optimizer
from cnn_jax.train.step import make_state, make_train_step
from cnn_jax.train.task import Headline, Task

GOLDEN = json.loads((Path(__file__).parent / "goldens" / "first_steps.json").read_text())


def draw(name, shape):
    return np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, np.float32)


def drawn_parameter(path, leaf):
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    if name.endswith("kernel"):
        return draw(name, leaf.shape) / np.float32(np.sqrt(np.prod(leaf.shape[:-1])))
    return (1 if name.endswith("scale") else 0) + np.float32(0.1) * draw(name, leaf.shape)


@pytest.mark.parametrize("name", ["plain8", "resnet8"])
def test_first_steps_equal_pytorchs(name):
    """tests/goldens/first_steps.py made the numbers, in float64; here in float64 too, so that the last digits count."""
    with jax.enable_x64(True):
        model = build(name, num_classes=10, width=4, dtype=jnp.float64)
        shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3))))
        params = jax.tree_util.tree_map_with_path(lambda *leaf: np.float64(drawn_parameter(*leaf)), shapes["params"])
        stats = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), shapes["batch_stats"])

        def loss_of(variables, batch, key):
            (logits, _), state = model.apply(variables, batch["image"], train=True, mutable=["batch_stats"])
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()
            return loss, (state, {"loss": loss, "error": logits[:2].sum(), "count": jnp.ones(())})

        sgd = optimizer.make_optimizer(Optim(learning_rate=0.1, boundaries=(), weight_decay=1e-2), 2)
        sums = ("loss", "error", "count")
        state = make_state({"params": params, "batch_stats": stats}, sgd, sums)
        step = jax.jit(make_train_step(Task(None, loss_of, None, sums, Headline("error"), "images"), sgd, None))
        losses = []
        for index in range(2):
            image = draw(f"image{index}", (16, 16, 16, 3)).astype(np.float64)
            examples = {"image": image, "label": np.arange(16, dtype=np.int32) % 10}
            state = state.replace(sums=jax.tree.map(jnp.zeros_like, {"loss": 0.0, "error": 0.0, "count": 0.0}))
            state, loss = step(state, {}, examples | {"slot": np.arange(16)}, jax.random.key(0))
            assert loss == np.float32(state.sums["loss"])
            losses.append(state.sums["loss"])
            if index == 0:
                np.testing.assert_allclose(state.sums["error"], np.sum(GOLDEN[name]["first_logits"]), rtol=1e-6)
        np.testing.assert_allclose(losses, GOLDEN[name]["losses"], rtol=1e-6)
        leaves = {
            jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(state.params)
        }
    assert leaves.keys() == GOLDEN[name]["norms"].keys()
    for path, leaf in leaves.items():
        assert leaf.dtype == np.float64
        np.testing.assert_allclose(np.linalg.norm(leaf), GOLDEN[name]["norms"][path], rtol=1e-5, err_msg=path)
        np.testing.assert_allclose(leaf.sum(), GOLDEN[name]["sums"][path], rtol=1e-5, atol=1e-6, err_msg=path)


def digits_config(*assignments):
    settings = ["model.name=resnet8", "model.width=4", "batch_size=32", "data.pad=1", "data.flip=true", *assignments]
    return override(presets.get("resnet_digits"), settings)


def take_steps(config, dataset, layout, indices_of, state=None):
    """The state after a few steps from the given one, or from the config's own beginning."""
    task = tasks.make(config, dataset, layout.axis_name)
    program = loop.make_program(task, config.optim, config.penalty, config.steps, layout)
    resident = feed.put_on_devices(dataset, layout)["train"]
    state = devices.replicate(layout, state or loop.initial_state(program, task, config, dataset))
    slots = np.arange(config.batch_size, dtype=np.int32)
    for indices in indices_of:
        batch = devices.shard(layout, {"index": indices, "slot": slots})
        state, _ = program.train_step(state, resident, batch, loop.run_key(config, layout))
    return jax.device_get(state)


def test_one_batch_is_learnt_by_heart(digits):
    config = digits_config("data.pad=0", "data.flip=false", "steps=60")
    batch = training_indices(1437, 32, 0, 0)
    layout = devices.make_layout("jit", 1)
    first = take_steps(config, digits, layout, [batch])
    last = take_steps(config, digits, layout, [batch] * 60)
    before = take_steps(config, digits, layout, [batch] * 59)
    assert first.sums["error"] > 16  # of 32: it begins by guessing
    assert last.sums["error"] == before.sums["error"]
    assert last.sums["loss"] - before.sums["loss"] < 0.02 * 32


REGULARIZED = ["penalty.l1=1e-3", "penalty.form=proximal", "penalty.max_norm=2", "classification.label_smoothing=0.1"]
REGULARIZED += ["model.dropout=0.5", "optim.weight_decay=0.01", "optim.decoupled=true", "optim.clip_norm=1"]
REGULARIZED += ["optim.average=exponential", "optim.average_decay=0.5"]
ADAPTED = ["model.bn_group=8", "penalty.l1=1e-3", "penalty.l2=1e-3", "optim.optimizer=adamw", "optim.eps=0.01"]
ADAPTED += ["optim.frozen=stage1", "optim.rates=fc:2"]


@pytest.mark.parametrize("assignments", [pytest.param([], marks=pytest.mark.slow), ADAPTED, REGULARIZED])
def test_jit_and_pmap_give_the_same_numbers(digits, assignments):
    config = digits_config(*assignments)
    batches = [training_indices(1437, 32, 0, step) for step in range(3)]
    layouts = [devices.make_layout(parallel, count) for parallel, count in (("jit", 1), ("jit", 2), ("pmap", 2))]
    one, *others = (take_steps(config, digits, layout, batches) for layout in layouts)
    # What one layout began, another can go on with: the state has no device axis.
    others.append(
        take_steps(config, digits, layouts[2], batches[2:], take_steps(config, digits, layouts[0], batches[:2]))
    )
    for other in others:
        assert other.step == one.step == 3
        assert other.sums["count"] == one.sums["count"] == 96
        for name in ("params", "variables", "opt_state"):
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5),
                getattr(one, name),
                getattr(other, name),
            )


def test_groups_that_differ_give_other_numbers(digits):
    batch = [training_indices(1437, 32, 0, 0)]
    layout = devices.make_layout("jit", 1)
    whole, ghost = (take_steps(digits_config(f"model.bn_group={group}"), digits, layout, batch) for group in (32, 8))
    assert abs(float(whole.sums["loss"] - ghost.sums["loss"])) > 0.1


def test_bfloat16_trains_and_keeps_float32_parameters(digits):
    batches = [training_indices(1437, 32, 0, step) for step in range(2)]
    layout = devices.make_layout("jit", 1)
    low = take_steps(digits_config("dtype=bfloat16"), digits, layout, batches)
    full = take_steps(digits_config(), digits, layout, batches)
    assert {leaf.dtype for leaf in jax.tree.leaves(low.params)} == {np.dtype("float32")}
    np.testing.assert_allclose(low.sums["loss"], full.sums["loss"], rtol=0.05)
    assert low.sums["loss"] != full.sums["loss"]


def blocks_scanned_or_not(digits, *assignments):
    return [digits_config("model.name=resnet20", f"model.scan={scan}", *assignments) for scan in ("false", "true")]


def test_a_seed_is_the_same_network_scanned_or_not(digits):
    made = [tasks.make(config, digits, None) for config in blocks_scanned_or_not(digits)]
    plain, scanned = (task.init(jax.random.key(3), digits.splits["train"]) for task in made)
    assert scanned["params"]["stage1_blocks"]["conv1"]["conv"]["kernel"].shape == (2, 3, 3, 4, 4)
    jax.tree.map(np.testing.assert_array_equal, scanned, stack_blocks(plain))


@pytest.mark.slow
def test_scanned_blocks_train_to_the_same_numbers(digits):
    plain, scanned = blocks_scanned_or_not(digits, "optim.weight_decay=0.01")
    batches = [training_indices(1437, 32, 0, step) for step in range(3)]
    one = take_steps(plain, digits, devices.make_layout("jit", 1), batches)
    expected = {"params": one.params, "sums": one.sums, **one.model_state}
    for parallel in ("jit", "pmap"):
        other = take_steps(scanned, digits, devices.make_layout(parallel, 2), batches)
        actual = unstack_blocks({"params": other.params, "sums": other.sums, **other.model_state})
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), actual, expected)


def test_the_first_step_that_diverges_is_remembered(digits):
    config = digits_config("optim.learning_rate=1e20")
    layout = devices.make_layout("jit", 1)
    batches = [training_indices(1437, 32, 0, step) for step in range(4)]
    state = take_steps(config, digits, layout, batches)
    assert 1 <= state.diverged_at <= 2
    assert take_steps(config, digits, layout, batches[: state.diverged_at]).diverged_at == -1
