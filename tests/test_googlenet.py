import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import presets, tasks
from cnn_jax.config import Classification, Config, ConfigError, Data, Model
from cnn_jax.models import build, complete
from cnn_jax.models.inception import adaptive_mean_pool
from cnn_jax.models.macs import count_macs
from cnn_jax.train.schedule import learning_rate

NETWORKS = ("googlenet", "googlenet_tv")
HEADS = {"aux1", "aux2"}
DROPOUT = {"dropout": jax.random.key(0)}


def variables_of(model, shape):
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, *shape))))


def endpoint_shapes(model, shape, train=False):
    def endpoints(variables, x):
        return model.apply(variables, x, train=train, mutable=["batch_stats"], rngs=DROPOUT)[0][1]

    shapes = jax.eval_shape(endpoints, variables_of(model, shape), jax.ShapeDtypeStruct((2, *shape), jnp.float32))
    return {name: endpoint.shape[1:] for name, endpoint in shapes.items()}


# The paper's by arithmetic over its Table 1, biases and all; torchvision's are its own.
@pytest.mark.parametrize(
    ("name", "auxiliary", "count"),
    [
        ("googlenet", False, 6_998_552),
        ("googlenet", True, 13_378_280),
        ("googlenet_tv", False, 6_624_904),
        ("googlenet_tv", True, 13_004_888),
    ],
)
def test_published_parameter_counts(name, auxiliary, count):
    params = variables_of(build(name, auxiliary=auxiliary), (224, 224, 3))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


@pytest.mark.parametrize(("name", "billions"), [("googlenet", 1.583), ("googlenet_tv", 1.498)])
def test_published_multiply_accumulates(name, billions):
    assert round(count_macs(build(name), (224, 224, 3)) / 1e9, 3) == billions


@pytest.mark.parametrize("name", NETWORKS)
def test_endpoints_have_the_shapes_of_table_1(name):
    sizes = {"4a": 512, "4b": 512, "4c": 512, "4d": 528, "4e": 832}
    assert endpoint_shapes(build(name), (224, 224, 3)) == {
        "conv1": (112, 112, 64),
        "pool1": (56, 56, 64),
        "conv2_reduce": (56, 56, 64),
        "conv2": (56, 56, 192),
        "pool2": (28, 28, 192),
        "inception_3a": (28, 28, 256),
        "inception_3b": (28, 28, 480),
        "pool3": (14, 14, 480),
        **{f"inception_{module}": (14, 14, channels) for module, channels in sizes.items()},
        "pool4": (7, 7, 832),
        "inception_5a": (7, 7, 832),
        "inception_5b": (7, 7, 1024),
        "pool5": (1024,),
    }


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("shape", "stem"), [((8, 8, 1), "tiny"), ((28, 28, 1), "small"), ((32, 32, 3), "small"), ((64, 64, 3), "paper")]
)
def test_every_image_size_has_a_stem_and_heads_in_training(name, shape, stem):
    model = build(name, image_size=shape[0], num_classes=10)
    assert model.stem == stem
    shapes = endpoint_shapes(model, shape, train=True)
    assert {head: shapes[head] for head in HEADS} == {"aux1": (10,), "aux2": (10,)}
    assert shapes["inception_5b"][0] >= 2
    assert not HEADS & endpoint_shapes(model, shape).keys()


def test_heads_built_for_a_size_slide_over_larger_images():
    """At 352 pixels the heads' map is 22x22, their pooled map 6x6, and fc1 sees 4x4 of it at nine places."""
    model = build("googlenet", num_classes=10)
    variables = variables_of(model, (224, 224, 3))
    assert variables["params"]["aux1"]["fc1"]["kernel"].shape == (4, 4, 128, 1024)
    x = jax.ShapeDtypeStruct((1, 352, 352, 3), jnp.float32)
    (logits, endpoints), _ = jax.eval_shape(
        lambda variables, x: model.apply(variables, x, train=True, mutable=[], rngs=DROPOUT), variables, x
    )
    assert logits.shape == endpoints["aux1"].shape == (1, 10)


def test_images_below_eight_pixels_are_refused():
    with pytest.raises(ConfigError, match="googlenet takes images of 8 pixels or more a side; these are 7"):
        build("googlenet", image_size=7)


def test_only_the_network_with_batch_norm_has_its_settings():
    assert build("googlenet_tv", bn_group=32).bn_group == 32
    with pytest.raises(ConfigError, match=r"googlenet has no model\.bn_group"):
        build("googlenet", bn_group=32)


@pytest.mark.parametrize("pixels", [2, 4, 7, 14])
def test_adaptive_pooling_keeps_a_ramp_in_the_middle_of_its_windows(pixels):
    """The mean of a ramp over a window is its value at the window's centre."""
    x = np.arange(pixels, dtype=np.float32)[None, :, None, None] * np.ones((1, 1, pixels, 1), np.float32)
    firsts = [int(np.floor(i * pixels / 4)) for i in range(4)]
    lasts = [int(np.ceil((i + 1) * pixels / 4)) - 1 for i in range(4)]
    pooled = adaptive_mean_pool(x, 4)
    assert pooled.shape == (1, 4, 4, 1)
    np.testing.assert_allclose(pooled[0, :, 2, 0], np.add(firsts, lasts) / 2)
    np.testing.assert_allclose(adaptive_mean_pool(x.swapaxes(1, 2), 4)[0, 2, :, 0], np.add(firsts, lasts) / 2)


def test_heads_begin_by_their_rule_and_are_part_of_the_loss(digits):
    """With zero classifiers, each of the three has the cross entropy of ten equal classes, ln 10."""
    data = Data(name="digits", pad=0, flip=False)
    model = Model(name="googlenet", width=4)
    losses = {}
    for weight in (0.0, 0.3):
        config = tasks.complete(
            Config(model=model, data=data, classification=Classification(auxiliary_weight=weight)), digits
        )
        task = tasks.make(config, digits, None)
        variables = task.init(jax.random.key(0), None)
        assert HEADS < variables["params"].keys()
        assert np.abs(variables["params"]["aux1"]["fc1"]["kernel"]).max() <= np.sqrt(6 / (8 + 64))  # Glorot's bound
        for layer in (variables["params"]["fc"], *(variables["params"][head]["fc2"] for head in HEADS)):
            layer["kernel"][:] = 0
        batch = {name: array[:4] for name, array in digits.splits["train"].items()} | {"slot": np.arange(4)}
        losses[weight], _ = jax.jit(task.loss)(variables, batch, jax.random.key(0))
    np.testing.assert_allclose(losses[0.0], np.log(10), rtol=1e-6)
    np.testing.assert_allclose(losses[0.3], 1.6 * np.log(10), rtol=1e-6)


def test_the_recipes_follow_the_papers_schedules():
    """4 % less every 8 of 250 epochs, which are 320,000 of 10,000,000 steps (bvlc_googlenet's solver.prototxt)."""
    config = presets.get("auto", "imagenet2012", "googlenet")
    assert config == presets.get("googlenet_imagenet", "imagenet2012", "googlenet")
    for step in (0, 319_999, 320_000, 3_200_000, 9_999_999):
        expected = 0.01 * 0.96 ** (step // 320_000)
        np.testing.assert_allclose(learning_rate(config.optim, config.steps, step), expected, rtol=1e-9)
    assert (config.optim.average, config.optim.average_from) == ("polyak", config.optim.boundaries[-1])


def test_the_recipe_of_imagenets_residual_networks():
    config = presets.get("auto", "imagenet2012", "resnet50")
    assert (config.batch_size, config.steps, config.model.bn_group) == (256, 600_000, 32)
    epoch = 1_281_167 / 256
    rates = [learning_rate(config.optim, config.steps, round(epoch * at)) for at in (29.9, 30.1, 59.9, 60.1)]
    assert rates == [0.1, 0.01, 0.01, 0.001]


@pytest.mark.parametrize("model", ["googlenet", "googlenet_tv"])
@pytest.mark.parametrize("dataset", ["digits", "mnist", "cifar10", "imagenet2012"])
def test_every_recipe_has_only_settings_the_network_has(model, dataset):
    preset = presets.get("auto", dataset, model)
    size = {"digits": 8, "mnist": 28, "cifar10": 32, "imagenet2012": 224}[dataset]
    assert complete(preset.model, size).image_size == size
