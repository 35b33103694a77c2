"""Files and folders of named tensors: safetensors, NumPy's, Flax's, Orbax's, and PyTorch's own where PyTorch is
installed; never with code in them."""

import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax import serialization

from cnn_jax.train import record
from cnn_jax.train import variables as stored
from cnn_jax.train.checkpoint import first_line
from cnn_jax.weights.naming import WeightsError

PYTORCH = (".pth", ".pt", ".th", ".tar", ".bin")
FORMATS = (".safetensors", ".npz", ".msgpack", *PYTORCH)
INDEX = ".index.json"
DTYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
"""Of safetensors' types those that a weight or what lies beside it may have; floats of 8 bits need scales as well."""


def read(path: Path) -> dict[str, np.ndarray]:
    """The tensors by name; of nested ones the names are joined by dots.

    Args:
      path: one of
        .safetensors;
        an index of parts of one, .safetensors.index.json, the parts beside it;
        .npz, arrays by name;
        .msgpack, Flax's nested dict of arrays, of `flax.serialization`;
        .pth, .pt, .th, .tar or .bin, PyTorch's, where PyTorch is installed: `state_dict` where the file has one;
        a folder that holds one of these alone, or an Orbax checkpoint of a nested dict of arrays.

    Raises WeightsError, which names the way out.
    """
    if not path.exists():
        raise WeightsError(f"{path}: no such file")
    if path.is_dir():
        return read_folder(path)
    if not path.name.endswith((*FORMATS, INDEX)):
        raise WeightsError(f"{path}: not a format of weights; give one of {', '.join(FORMATS)}, {INDEX} or a folder")
    if path.name.endswith(INDEX):
        return read_parts(path)
    readers = {".safetensors": read_safetensors, ".npz": read_npz, ".msgpack": read_msgpack}
    return readers.get(path.suffix, read_pytorch)(path)


def read_folder(folder: Path) -> dict[str, np.ndarray]:
    """The tensors of the one index, the one file or the one Orbax checkpoint in a folder."""
    for there in (
        sorted(folder.glob(f"*{INDEX}")),
        sorted(path for path in folder.iterdir() if path.suffix in FORMATS),
        sorted({path.parent for depth in ("", "*/", "*/*/") for path in folder.glob(f"{depth}_METADATA")}),
    ):
        if len(there) > 1:
            raise WeightsError(f"{folder} holds {', '.join(path.name for path in there)}: give one of them")
        if there:
            return read_orbax(there[0]) if there[0].is_dir() else read(there[0])
    raise WeightsError(f"{folder} holds no weights: no {', '.join(FORMATS)} or {INDEX}, and no Orbax checkpoint")


def read_parts(index: Path) -> dict[str, np.ndarray]:
    """The tensors of an index `{"weight_map": {tensor: file beside it}}`."""
    try:
        files = dict(json.loads(index.read_text())["weight_map"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{index}: not an index of parts, which has a weight_map ({first_line(error)})") from error
    tensors = {}
    for name in sorted(set(files.values())):
        if name != Path(name).name or name.endswith(INDEX):
            raise WeightsError(f"{index} names {name!r}, which is no file beside it")
        if not index.with_name(name).is_file():
            raise WeightsError(f"{index.with_name(name)}: no such file, and {index.name} has tensors there; fetch it")
        tensors |= read(index.with_name(name))
    missing = sorted(files.keys() - tensors.keys())
    if missing:
        part = files[missing[0]]
        raise WeightsError(f"{index.with_name(part)} lacks {missing[0]}, which {index.name} has there; fetch it again")
    return tensors


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors as they lie in the file, which is mapped and not copied; bfloat16 is `jnp.bfloat16`."""
    try:
        with safetensors.safe_open(path, framework="numpy"):  # whether it is whole, and no tensor lies outside
            pass
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        data = np.memmap(path, np.uint8, "r") if header.keys() - {"__metadata__"} else np.empty(0, np.uint8)
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read as safetensors, is it whole? ({first_line(error)})") from error
    tensors = {}
    for name, about in header.items():
        if name == "__metadata__":
            continue
        if about["dtype"] not in DTYPES:
            raise WeightsError(f"{path}: {name} is {about['dtype']}, quantised: give a file of 16 or 32-bit floats")
        start, end = (8 + length + offset for offset in about["data_offsets"])
        tensors[name] = data[start:end].view(DTYPES[about["dtype"]]).reshape(about["shape"])
    return tensors


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an archive; a slash in a name is a dot."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name.replace("/", "."): archive[name] for name in archive.files}
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path}: cannot be read as arrays by name, unpickled ({first_line(error)})") from error


def read_msgpack(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file of `flax.serialization.to_bytes` or `msgpack_serialize`."""
    try:
        tree = serialization.msgpack_restore(path.read_bytes())
    except Exception as error:  # a dozen kinds, by where it is damaged
        raise WeightsError(f"{path}: cannot be read as Flax's msgpack ({first_line(error)})") from error
    return flatten(tree, path)


def read_orbax(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of an Orbax checkpoint."""
    try:
        return flatten(stored.read_tree(folder), folder)
    except record.RecordError as error:
        raise WeightsError(f"{error}; give an Orbax checkpoint of a nested dict of arrays") from error


def flatten(tree: Any, path: Path) -> dict[str, np.ndarray]:
    """`{"params.conv1.kernel": array}` of nested dicts and lists; a number is an array too, text is left out."""
    if not isinstance(tree, Mapping):
        raise WeightsError(f"{path}: holds no dict of arrays")
    leaves = jax.tree_util.tree_leaves_with_path(dict(tree))
    arrays = {jax.tree_util.keystr(keys, simple=True, separator="."): leaf for keys, leaf in leaves}
    return {
        name.replace("/", "."): np.asarray(leaf) for name, leaf in arrays.items() if not isinstance(leaf, str | bytes)
    }


def read_pytorch(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict, or of the one called `state_dict` in a checkpoint; nothing else is unpickled."""
    save = "safetensors.torch.save_file({}, new_file)"
    if is_torchscript(path):
        state = save.format("torch.jit.load(file).state_dict()")
        raise WeightsError(f"{path}: TorchScript, a program and not weights alone; where PyTorch is: {state}")
    try:
        import torch
    except ImportError as error:
        raise WeightsError(
            f"{path}: a PyTorch file, and PyTorch is not installed; EXTRAS=bench ./launch.sh installs it, or convert "
            f"the file where it is: {save.format('torch.load(file, weights_only=True)')}"
        ) from error
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a dozen kinds, by what is wrong and the version
        raise WeightsError(
            f"{path}: PyTorch cannot read it as weights alone; nothing in it was run. If it is a whole pickled model, "
            f"where its code is: {save.format('model.state_dict()')}"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in content.values()):
        raise WeightsError(f"{path}: holds no state dict, a tensor a name")
    return {
        name: (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
        for name, tensor in content.items()
    }


def is_torchscript(path: Path) -> bool:
    """Whether a file is an archive with a program in it."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.split("/")[1:2] == ["code"] for name in archive.namelist())


def write(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Writes safetensors, the whole file or none, with the permissions of any new file. Raises WeightsError."""
    try:
        # Not by `save_file`, whose files are for their owner alone, whatever the umask.
        record.write_atomically(path, safetensors.numpy.save(tensors))
    except (OSError, safetensors.SafetensorError) as error:
        raise WeightsError(f"{path}: cannot be written ({first_line(error)})") from error
