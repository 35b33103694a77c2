"""Files of weights in every form that others keep them in: the right numbers, or one line that says what to do."""

import json
import os
import struct
import zipfile

import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import serialization, traverse_util
from safetensors.numpy import load_file, save_file

from cnn_jax import weights
from cnn_jax.weights import WeightsError, files
from tests.test_weights import assert_equal, drawn

NET = "resnet8", "akamaster"


@pytest.fixture(scope="module")
def variables():
    return drawn(*NET).variables


@pytest.fixture(scope="module")
def tensors(variables, tmp_path_factory):
    """As akamaster's files have them, by name."""
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    weights.save(path, *NET, drawn(*NET))
    return load_file(path)


def read(path, *surplus):
    return weights.load(path, *NET, surplus).variables


def read_error(path, *surplus):
    with pytest.raises(WeightsError) as error:
        read(path, *surplus)
    assert "\n" not in str(error.value) and path.name in str(error.value)
    return str(error.value)


def truncate(array):
    """The float32 whose upper half is that of a number: what bfloat16 keeps of it."""
    return (np.asarray(array, np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)


def write_as(path, tensors, dtype, to_bytes):
    """safetensors by its own description: 8 bytes of length, a header of JSON, the tensors one after another."""
    header, data = {}, b""
    for name, tensor in tensors.items():
        start, data = len(data), data + to_bytes(tensor)
        header[name] = {"dtype": dtype, "shape": tensor.shape, "data_offsets": [start, len(data)]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_bfloat16_is_the_upper_half_of_float32(variables, tensors, tmp_path):
    def upper(tensor):
        return (tensor.view(np.uint32) >> 16).astype("<u2").tobytes()

    write_as(tmp_path / "w.safetensors", tensors, "BF16", upper)
    expected = traverse_util.flatten_dict(variables)
    for leaf, array in traverse_util.flatten_dict(read(tmp_path / "w.safetensors")).items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, truncate(expected[leaf]))


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_are_read_as_float32(variables, tensors, tmp_path, dtype):
    save_file({name: tensor.astype(dtype) for name, tensor in tensors.items()}, tmp_path / "w.safetensors")
    for ours, theirs in zip(
        *(traverse_util.flatten_dict(tree).values() for tree in (read(tmp_path / "w.safetensors"), variables)),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, np.asarray(theirs, dtype).astype(np.float32))


def test_floats_of_eight_bits_and_integers_are_refused(tensors, tmp_path):
    write_as(tmp_path / "w.safetensors", {"conv1.weight": np.zeros(48, np.uint8)}, "F8_E4M3", np.ndarray.tobytes)
    assert "conv1.weight is F8_E4M3, quantised" in read_error(tmp_path / "w.safetensors")
    save_file(tensors | {"bn1.bias": np.zeros(16, np.int32)}, tmp_path / "w.safetensors")
    assert "1 not floats of 16 bits or more: bn1.bias int32" in read_error(tmp_path / "w.safetensors")


@pytest.mark.parametrize("prefix", ["module.", "model.", "net.backbone."])
def test_one_prefix_is_taken_off(variables, tensors, tmp_path, prefix):
    save_file({f"{prefix}{name}": tensor for name, tensor in tensors.items()}, tmp_path / "w.safetensors")
    assert_equal(read(tmp_path / "w.safetensors"), variables)


def test_two_networks_in_one_file_are_told_apart(tensors, tmp_path):
    both = {f"{prefix}.{name}": tensor for prefix in ("ema", "model") for name, tensor in tensors.items()}
    save_file(both, tmp_path / "w.safetensors")
    assert "holds this network under ema. and model.: leave one" in read_error(tmp_path / "w.safetensors")


def test_what_is_no_layers_is_left_out_by_name_alone(variables, tensors, tmp_path):
    more = {"model.criterion.weight": np.ones(3), "n_averaged": np.array(3)}
    save_file({f"model.{name}": t for name, t in tensors.items()} | more, tmp_path / "w.safetensors")
    message = read_error(tmp_path / "w.safetensors")
    assert "2 surplus: model.criterion.weight, n_averaged; --ignore_surplus=" in message
    assert "1 surplus: n_averaged;" in read_error(tmp_path / "w.safetensors", "model.criterion", "n_aver")
    assert_equal(read(tmp_path / "w.safetensors", "model.criterion", "n_averaged", "model"), variables)


@pytest.fixture
def parts(tensors, tmp_path):
    """A folder with a file in two parts and its index, as the hub of Hugging Face has them."""
    names = sorted(tensors)
    where = {name: f"model-0000{1 + (place > 9)}-of-00002.safetensors" for place, name in enumerate(names)}
    for part in set(where.values()):
        save_file({name: tensors[name] for name in names if where[name] == part}, tmp_path / part)
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "config.json").write_text('{"architectures": ["ResNetForImageClassification"]}')
    return tmp_path


def test_parts_are_one_file(variables, parts):
    assert_equal(read(parts), variables)
    assert_equal(read(parts / "model.safetensors.index.json"), variables)


def test_a_missing_part_is_named(tensors, parts):
    second = parts / "model-00002-of-00002.safetensors"
    save_file({"conv1.weight": tensors["conv1.weight"]}, second)
    with pytest.raises(WeightsError, match=r"model-00002-of-00002.safetensors lacks .*, which .*; fetch it again"):
        read(parts)
    second.unlink()
    with pytest.raises(WeightsError, match=r"model-00002-of-00002.safetensors: no such file, and .* has tensors there"):
        read(parts)
    (parts / "model.safetensors.index.json").write_text('{"weight_map": {"conv1.weight": "../w.safetensors"}}')
    with pytest.raises(WeightsError, match="which is no file beside it"):
        read(parts)
    (parts / "model.safetensors.index.json").write_text('["w"]')
    with pytest.raises(WeightsError, match="not an index of parts"):
        read(parts)


def test_numpys_archives_are_read_and_not_unpickled(variables, tensors, tmp_path):
    np.savez(tmp_path / "w.npz", **tensors)
    assert_equal(read(tmp_path / "w.npz"), variables)
    np.savez(tmp_path / "ours.npz", **traverse_util.flatten_dict(variables, sep="/"))
    assert_equal(read(tmp_path / "ours.npz"), variables)
    np.savez(tmp_path / "w.npz", **tensors, more=np.array([{}], object))
    assert "cannot be read as arrays by name, unpickled" in read_error(tmp_path / "w.npz")
    (tmp_path / "w.npz").write_bytes(b"PK")
    read_error(tmp_path / "w.npz")


def test_flaxs_msgpack_under_our_names_and_under_theirs(variables, tensors, tmp_path):
    (tmp_path / "ours.msgpack").write_bytes(serialization.to_bytes(variables))
    (tmp_path / "nested.msgpack").write_bytes(serialization.to_bytes(traverse_util.unflatten_dict(tensors, sep=".")))
    state = {"step": 7, "opt_state": {"0": {"mu": variables["params"]}}, **variables}
    (tmp_path / "state.msgpack").write_bytes(serialization.to_bytes(state))
    (tmp_path / "half.msgpack").write_bytes(serialization.msgpack_serialize({"params": {"a": np.zeros(2)}}))
    assert_equal(read(tmp_path / "ours.msgpack"), variables)
    assert_equal(read(tmp_path / "nested.msgpack"), variables)
    assert "surplus: opt_state.0.mu.conv1.bn.bias" in read_error(tmp_path / "state.msgpack")
    assert_equal(read(tmp_path / "state.msgpack", "opt_state", "step"), variables)
    assert "1 surplus: params.a" in read_error(tmp_path / "half.msgpack")
    whole = (tmp_path / "ours.msgpack").read_bytes()
    (tmp_path / "ours.msgpack").write_bytes(whole[: len(whole) // 2])
    assert "cannot be read as Flax's msgpack" in read_error(tmp_path / "ours.msgpack")


def test_their_modules_with_flaxs_leaves(variables, tensors, tmp_path):
    """`layer1.0.conv1.kernel` in (H, W, I, O), as ports to Flax have it."""
    leaves = {"running_mean": "mean", "running_var": "var"}
    tree = {}
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition(".")
        kernel = leaf == "weight" and tensor.ndim > 1
        leaf = "kernel" if kernel else "scale" if leaf == "weight" else leaves.get(leaf, leaf)
        collection = "batch_stats" if leaf in leaves.values() else "params"
        tree[collection, *module.split("."), leaf] = tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor.T
    (tmp_path / "port.msgpack").write_bytes(serialization.msgpack_serialize(traverse_util.unflatten_dict(tree)))
    assert_equal(read(tmp_path / "port.msgpack"), variables)


def test_orbax_folders_of_others(variables, tmp_path):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "alone", variables)
        checkpointer.save(tmp_path / "other", {"params": {"dense": np.zeros((2, 3), np.float32)}})
    with ocp.CheckpointManager(tmp_path / "managed") as manager:
        for step in (10, 20):
            manager.save(step, args=ocp.args.StandardSave(variables | {"step": np.int32(step)}))
            manager.wait_until_finished()
            if step == 10:
                assert_equal(read(tmp_path / "managed", "step"), variables)
    assert_equal(read(tmp_path / "alone"), variables)
    assert "1 surplus: params.dense" in read_error(tmp_path / "other")
    assert "give one of them" in read_error(tmp_path / "managed")
    assert_equal(read(tmp_path / "managed" / "20", "step"), variables)
    (tmp_path / "empty").mkdir()
    assert "holds no weights" in read_error(tmp_path / "empty")
    for path in (tmp_path / "alone" / "d").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    assert "give an Orbax checkpoint of a nested dict of arrays" in read_error(tmp_path / "alone")


@pytest.mark.parametrize("name", ["w.pt", "pytorch_model.bin"])
def test_torchscript_is_a_program(tmp_path, name):
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.writestr("net/code/__torch__.py", "")
    assert "TorchScript, a program" in read_error(tmp_path / name)


def test_other_files_are_refused_by_what_can_be_read(tmp_path):
    (tmp_path / "w.h5").write_bytes(b"\x89HDF")
    assert "give one of .safetensors, .npz, .msgpack, .pth" in read_error(tmp_path / "w.h5")
    assert "no such file" in read_error(tmp_path / "nowhere.npz")


def test_a_large_file_is_mapped_and_what_is_loaded_is_a_copy(tensors, tmp_path):
    save_file(tensors, tmp_path / "w.safetensors")
    read_tensors = files.read(tmp_path / "w.safetensors")
    assert all(isinstance(tensor.base, np.memmap) or isinstance(tensor, np.memmap) for tensor in read_tensors.values())
    network = weights.load(tmp_path / "w.safetensors", *NET)
    before = network.variables["params"]["conv1"]["bn"]["bias"].copy()
    with open(tmp_path / "w.safetensors", "r+b") as file:
        file.seek(-(10**5), os.SEEK_END)
        file.write(bytes(10**5))
    np.testing.assert_array_equal(network.variables["params"]["conv1"]["bn"]["bias"], before)
    assert all(leaf.flags.owndata for leaf in traverse_util.flatten_dict(network.variables).values())


def test_what_is_written_obeys_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        weights.save(tmp_path / "w.safetensors", *NET, drawn(*NET))
    finally:
        os.umask(old)
    assert (tmp_path / "w.safetensors").stat().st_mode & 0o777 == 0o640


def test_a_network_of_other_settings_is_not_saved_as_the_sources(tmp_path):
    network = drawn("resnet8", "amartyn")
    with pytest.raises(WeightsError, match="not resnet8 of akamaster, which has zero_channels each_side, not after"):
        weights.save(tmp_path / "w.safetensors", *NET, network)
    with pytest.raises(WeightsError, match="which has depth 14, not 8"):
        weights.save(tmp_path / "w.safetensors", "resnet14", "amartyn", network)
    with pytest.raises(WeightsError, match="resnet18 of torchvision is a ImageNetResNet"):
        weights.save(tmp_path / "w.safetensors", "resnet18", "torchvision", network)
    assert not list(tmp_path.iterdir())
