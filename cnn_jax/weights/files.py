"""Files of named tensors: safetensors, and PyTorch's own where PyTorch is installed, never with code in them."""

import contextlib
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from cnn_jax.weights.naming import WeightsError

PYTORCH = (".pth", ".pt", ".th", ".tar")


def read(path: Path) -> dict[str, np.ndarray]:
    """The tensors by name, those of `state_dict` where the file has one, without DataParallel's `module.`.

    Raises WeightsError.
    """
    if path.suffix not in (".safetensors", *PYTORCH):
        raise WeightsError(f"{path}: not a format of weights; give one of .safetensors, {', '.join(PYTORCH)}")
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    tensors = read_safetensors(path) if path.suffix == ".safetensors" else read_pytorch(path)
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read as safetensors, is it whole? ({first_line(error)})") from error


def read_pytorch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise WeightsError(
            f"{path}: a PyTorch file, and PyTorch is not installed; EXTRAS=bench ./launch.sh installs it, or convert "
            "the file where it is: safetensors.torch.save_file(torch.load(file, weights_only=True), new_file)"
        ) from error
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a dozen kinds, by what is wrong and the version
        raise WeightsError(f"{path}: PyTorch cannot read it as weights alone; nothing in it was run") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in content.values()):
        raise WeightsError(f"{path}: holds no state dict, a tensor a name")
    return {
        name: (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
        for name, tensor in content.items()
    }


def write(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Writes safetensors, the whole file or none. Raises WeightsError where it cannot."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        safetensors.numpy.save_file(tensors, temporary)
        os.replace(temporary, path)
    except (OSError, safetensors.SafetensorError) as error:
        raise WeightsError(f"{path}: cannot be written ({first_line(error)})") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
