"""Weights of others: the real files where they are, names and layouts at any depth, and what a user gets wrong."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from safetensors.numpy import load_file, save_file

from cnn_jax import weights
from cnn_jax.data.preprocess import Preprocess
from cnn_jax.layers.initializers import initialize
from cnn_jax.network import Network
from cnn_jax.weights import WeightsError

REAL = [
    ("cifar10_resnet20_akamaster", "resnet20", "akamaster"),
    ("cifar10_resnet32_akamaster", "resnet32", "akamaster"),
    ("cifar10_plainnet20_amartyn", "plain20", "amartyn"),
    ("cifar10_plainnet32_amartyn", "plain32", "amartyn"),
    ("cifar10_resnet20_amartyn", "resnet20", "amartyn"),
    ("squeezenet1_1", "squeezenet1_1", "torchvision"),
]


def drawn(name, source, num_classes=10):
    """A network that somebody may have trained: at its start, with statistics and biases that are not 0 or 1."""
    model = weights.build(name, source, num_classes=num_classes)
    variables = initialize(model, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))
    generator = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: leaf + generator.uniform(0.1, 1, leaf.shape).astype(np.float32), variables)
    return Network(model, variables, Preprocess(None, None, (0.5,) * 3, (0.5,) * 3), 3)


def assert_equal(one, other):
    one, other = (traverse_util.flatten_dict(tree) for tree in (one, other))
    assert one.keys() == other.keys()
    for path in one:
        np.testing.assert_array_equal(one[path], other[path])


@pytest.mark.parametrize(("file", "name", "source"), REAL)
def test_a_real_file_goes_through_unchanged(real_data, tmp_path, file, name, source):
    path = real_data / "weights" / f"{file}.safetensors"
    network = weights.load(path, name, source)
    weights.save(tmp_path / "again.safetensors", name, source, network)
    old, new = load_file(path), load_file(tmp_path / "again.safetensors")
    assert old.keys() == new.keys()
    for key in old:
        assert (old[key].dtype, old[key].shape) == (new[key].dtype, new[key].shape)
        if not key.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(old[key], new[key])
    assert_equal(weights.load(tmp_path / "again.safetensors", name, source).variables, network.variables)


@pytest.mark.parametrize(
    ("name", "source"),
    [("resnet44", "akamaster"), ("resnet110", "akamaster"), ("plain56", "amartyn"), ("resnet44", "amartyn")],
)
def test_any_depth_of_the_cifar_families_goes_there_and_back(tmp_path, name, source):
    network = drawn(name, source)
    weights.save(tmp_path / "deep.safetensors", name, source, network)
    assert_equal(weights.load(tmp_path / "deep.safetensors", name, source).variables, network.variables)


# Names of the deepest blocks as the authors' files of these depths have them.
@pytest.mark.parametrize(
    ("name", "source", "last"),
    [("resnet56", "akamaster", "layer3.8.conv2.weight"), ("resnet56", "amartyn", "stack3b.7.conv2.weight")],
)
def test_the_names_of_deeper_files(tmp_path, name, source, last):
    weights.save(tmp_path / "deep.safetensors", name, source, drawn(name, source))
    assert load_file(tmp_path / "deep.safetensors")[last].shape == (64, 64, 3, 3)


def test_the_number_of_classes_is_the_files(tmp_path):
    weights.save(tmp_path / "w.safetensors", "resnet8", "akamaster", drawn("resnet8", "akamaster", 7))
    network = weights.load(tmp_path / "w.safetensors", "resnet8", "akamaster")
    assert network.variables["params"]["fc"]["kernel"].shape == (64, 7)
    assert (network.model.num_classes, network.class_names) == (7, tuple("0123456"))


def test_all_that_does_not_fit_is_one_line(tmp_path):
    weights.save(tmp_path / "w.safetensors", "resnet8", "akamaster", drawn("resnet8", "akamaster"))
    tensors = load_file(tmp_path / "w.safetensors")
    tensors["bn1.bias"] = tensors["bn1.bias"][:3]
    tensors["more"] = tensors.pop("conv1.weight")
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError) as error:
        weights.load(tmp_path / "w.safetensors", "resnet8", "akamaster")
    for part in (
        "1 missing: conv1.weight",
        "1 surplus: more",
        "1 of another shape: bn1.bias 3, not 16",
        "w.safetensors",
    ):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("resnet20", "akamastr", "unknown source of weights 'akamastr'; did you mean akamaster"),
        ("plain20", "akamaster", "akamaster has no plain20"),
        ("lenet5", "torchvision", "torchvision has no lenet5"),
        ("resnet20", "akamaster", "no such file"),
    ],
)
def test_a_wrong_source_model_or_file_is_named(tmp_path, name, source, message):
    with pytest.raises(WeightsError, match=message):
        weights.load(tmp_path / "none.safetensors", name, source)


def test_a_file_cut_short_is_named(tmp_path):
    weights.save(tmp_path / "w.safetensors", "resnet8", "akamaster", drawn("resnet8", "akamaster"))
    whole = (tmp_path / "w.safetensors").read_bytes()
    for length in (0, 7, len(whole) // 2):
        (tmp_path / "w.safetensors").write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"w\.safetensors: cannot be read as safetensors"):
            weights.load(tmp_path / "w.safetensors", "resnet8", "akamaster")


def test_a_pickle_is_not_unpickled(tmp_path):
    """Without PyTorch the way out is named; with it, what is no file of weights alone is refused."""
    (tmp_path / "w.pth").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    message = "PyTorch is not installed" if importlib.util.find_spec("torch") is None else "cannot read it as weights"
    with pytest.raises(WeightsError, match=message):
        weights.load(tmp_path / "w.pth", "resnet20", "akamaster")


def test_pytorchs_own_files_are_read_and_code_in_them_is_not_run(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: EXTRAS=bench ./launch.sh test")
    weights.save(tmp_path / "w.safetensors", "resnet8", "akamaster", drawn("resnet8", "akamaster"))
    tensors = {f"module.{name}": torch.tensor(array) for name, array in load_file(tmp_path / "w.safetensors").items()}
    torch.save({"state_dict": tensors, "best_prec1": 91.0}, tmp_path / "w.th")
    ours, theirs = (weights.load(tmp_path / file, "resnet8", "akamaster") for file in ("w.safetensors", "w.th"))
    assert_equal(ours.variables, theirs.variables)

    class Code:
        def __reduce__(self):
            return (tmp_path / "run").touch, ()

    torch.save({"state_dict": Code()}, tmp_path / "w.th")
    with pytest.raises(WeightsError, match="nothing in it was run"):
        weights.load(tmp_path / "w.th", "resnet8", "akamaster")
    assert not (tmp_path / "run").exists()
