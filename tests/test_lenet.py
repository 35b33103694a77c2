import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax import presets, tasks
from cnn_jax.config import Classification
from cnn_jax.layers.initializers import initialize
from cnn_jax.models import build
from cnn_jax.models.lenet import BITMAPS, PADDING, TABLE_I, LeNet5, output_codes
from cnn_jax.tasks import classification
from cnn_jax.train import optimizer


def network(name="lenet5", size=32, channels=1, **changes):
    model = build(name, **{"image_size": size, **changes})
    return model, initialize(model, jax.random.key(0), jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32))


def images(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def count(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables))


# LeCun et al. 1998, Section II.B, layer by layer; their sum is the paper's 60,000 trainable parameters.
PUBLISHED = {"C1": 156, "S2": 12, "C3": 1_516, "S4": 32, "C5": 48_120, "F6": 10_164}


def test_published_parameter_counts():
    _, variables = network()
    assert {name: count(layer) for name, layer in variables["params"].items()} == PUBLISHED
    assert count(variables) == 60_000


def test_parameter_counts_of_the_variants():
    """Dense output: 84 * 10 + 10. All of S2 seen by all of C3: 900 more; means without parameters: 44 fewer."""
    assert count(network(output="dense")[1]) == 60_850
    assert count(network("lenet5_full")[1]) == 61_706
    assert count(network("lenet5_full", output="rbf")[1]) == 61_706 - 850


def test_table_1():
    """Its row and column sums: 60 connected pairs, ten maps of C3 on each map of S2."""
    assert [len(sources) for sources in TABLE_I] == [3] * 6 + [4] * 9 + [6]
    assert [sum(source in sources for sources in TABLE_I) for source in range(6)] == [10] * 6
    assert len(set(TABLE_I)) == 16


def test_a_map_of_c3_sees_the_maps_of_table_1_and_no_other():
    model, variables = network()
    tampered = jax.tree.map(np.copy, variables)
    seen = np.zeros((16, 6), bool)
    before = model.apply(variables, x := images(1, 32, 32, 1))[1]
    for source in range(6):
        tampered["params"]["S2"]["bias"] = variables["params"]["S2"]["bias"] + np.eye(6, dtype=np.float32)[source]
        after = model.apply(tampered, x)[1]
        seen[:, source] = np.abs(after["C3"] - before["C3"]).max(axis=(0, 1, 2)) > 1e-4
    assert [tuple(np.flatnonzero(row)) for row in seen] == list(TABLE_I)


def test_initial_kernels_are_within_the_papers_bounds():
    """U(-2.4 / F, 2.4 / F), F the inputs of the unit (Appendix A): those of C3 differ from map to map, S2's are 4."""
    _, variables = network()
    kernels = jax.tree_util.tree_leaves_with_path(variables["params"])
    largest = {jax.tree_util.keystr(path, simple=True, separator="/"): np.abs(leaf).max() for path, leaf in kernels}
    inputs = {"C1/kernel": 25, "S2/coefficient": 4, "S4/coefficient": 4, "C5/kernel": 400, "F6/kernel": 120}
    inputs |= {"C3/of_3/kernel": 75, "C3/of_4/kernel": 100, "C3/of_6/kernel": 150}
    assert inputs.keys() == {name for name, value in largest.items() if value > 0}
    for name, number in inputs.items():
        assert 0.8 * 2.4 / number < largest[name] <= 2.4 / number, name


def test_endpoints_carry_the_papers_shapes():
    """Fig. 2: 6@28x28, 6@14x14, 16@10x10, 16@5x5, 120, 84, 10."""
    model, variables = network()
    logits, endpoints = model.apply(variables, images(2, 32, 32, 1))
    assert {name: endpoint.shape[1:] for name, endpoint in endpoints.items()} == {
        "C1": (28, 28, 6),
        "S2": (14, 14, 6),
        "C3": (10, 10, 16),
        "S4": (5, 5, 16),
        "C5": (120,),
        "F6": (84,),
        "output": (10,),
    }
    np.testing.assert_array_equal(logits, endpoints["output"])


@pytest.mark.parametrize(("size", "stem", "window"), [(8, "tiny", 2), (28, "small", 5), (32, "paper", 5)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["lenet5", "lenet5_full"])
def test_stems(name, size, stem, window, channels):
    model = build(name, image_size=size, num_classes=7)
    x = jax.ShapeDtypeStruct((2, size, size, channels), jnp.float32)
    (logits, endpoints), variables = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x), x)
    assert model.stem == stem
    assert logits.shape == (2, 7)
    assert endpoints["S4"].shape == (2, window, window, 16)
    assert variables["params"]["C1"]["kernel"].shape == (5, 5, channels, 6)


def test_every_stem_has_its_padding():
    assert PADDING.keys() == LeNet5.STEMS.keys()


@pytest.mark.parametrize("output", ["rbf", "dense"])
def test_dense_evaluation_is_the_sliding_window(output):
    model, variables = network(output=output)
    x = images(2, 40, 36, 1)
    logits, endpoints = model.apply(variables, x)
    assert endpoints["output"].shape == (2, 3, 2, 10)
    for i in range(3):
        for j in range(2):
            window, _ = model.apply(variables, x[:, 4 * i : 4 * i + 32, 4 * j : 4 * j + 32])
            np.testing.assert_allclose(endpoints["output"][:, i, j], window, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(logits, np.mean(endpoints["output"], axis=(1, 2)), rtol=1e-6)


def test_logits_are_minus_equation_7():
    model, variables = network()
    logits, endpoints = model.apply(variables, images(3, 32, 32, 1))
    penalties = [[sum((x - w) ** 2) for w in output_codes(10).T] for x in np.asarray(endpoints["F6"], np.float64)]
    np.testing.assert_allclose(logits, -np.array(penalties), rtol=1e-5)


def test_codes_of_ten_classes_are_the_drawings():
    for digit, code in enumerate(output_codes(10).T):
        rows = ["".join("#" if pixel > 0 else "." for pixel in row) for row in code.reshape(12, 7)]
        assert rows == [line.split()[digit] for line in BITMAPS.strip().splitlines()]


@pytest.mark.parametrize("num_classes", [2, 10, 102])
def test_codes_are_apart(num_classes):
    """Each of 84 values of +1 or -1, and two classes differ in a tenth of them or more."""
    centres = output_codes(num_classes)
    assert centres.shape == (84, num_classes)
    assert set(np.unique(centres)) == {-1, 1}
    differing = (84 - centres.T @ centres) / 2
    assert (differing + 84 * np.eye(num_classes)).min() > 84 / 10
    np.testing.assert_array_equal(centres, output_codes(num_classes))


def test_map_loss_is_equation_9():
    """y_D + log(exp(-j) + sum_i exp(-y_i)), y the penalties and D the class."""
    penalties, label = np.abs(images(4, 10)).astype(np.float64) * 5, np.array([3, 0, 9, 3])
    for j in (0.5, 20.0):
        objective = Classification(criterion="map", rubbish_penalty=j)
        losses, _ = classification.loss_and_error(jnp.asarray(-penalties, jnp.float32), jnp.asarray(label), objective)
        expected = penalties[range(4), label] + np.log(np.exp(-j) + np.exp(-penalties).sum(axis=1))
        np.testing.assert_allclose(losses, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["lenet5", "lenet5_full"])
def test_the_recipe_lowers_the_loss_of_a_few_digits(name, digits):
    config = tasks.complete(presets.get("auto", "digits", name), digits)
    task = tasks.make(config, digits, None)
    batch = {field: values[:32] for field, values in digits.splits["train"].items()} | {"slot": np.arange(32)}
    variables = task.init(jax.random.key(0), batch)
    descent = optimizer.make_optimizer(config.optim, 1_000)

    @jax.jit
    def step(variables, state):
        loss, gradient = jax.value_and_grad(lambda v: task.loss(v, batch, jax.random.key(0))[0])(variables)
        updates, state = descent.update(gradient, state, variables)
        return loss, optax.apply_updates(variables, updates), state

    first, variables, state = step(variables, descent.init(variables))
    for _ in range(200):
        loss, variables, state = step(variables, state)
    assert loss < first / 2
