"""The package's own CPU kernels: the folder `cpu`, compiled for this machine when first used and kept.

Where no C++ compiler is found, or `CNN_JAX_NATIVE=0` says so, XLA's own convolutions take their place.
"""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SOURCES = Path(__file__).with_name("cpu")
FUNCTIONS = ("convolution", "input_gradient", "kernel_gradient", "max_pool", "take", "spread")
TYPES = (jnp.float32, jnp.bfloat16)
BUILD_LOCK = threading.Lock()
FLAGS = ("-std=c++20", "-O3", "-march=native", "-fPIC", "-shared", "-pthread")


class CompilerError(RuntimeError):
    """There is nothing to compile the kernels with, or it failed; the message is one line."""


@functools.cache
def is_available() -> bool:
    """Whether the kernels can be called; builds and registers them the first time, and says so where it cannot."""
    if os.environ.get("CNN_JAX_NATIVE", "1") == "0":
        return False
    try:
        with BUILD_LOCK:  # threads that trace side by side must all register one and the same library
            library = ctypes.CDLL(str(build()))
    except (CompilerError, OSError) as error:
        logging.getLogger(__name__).warning(
            "convolutions on CPU take XLA's own, about half as fast: %s; install g++ or clang++, or name one: CXX=...",
            error,
        )
        return False
    for name in FUNCTIONS:
        handler = jax.ffi.pycapsule(getattr(library, f"cnn_jax_{name}"))
        jax.ffi.register_ffi_target(f"cnn_jax_{name}", handler, platform="cpu")
    return True


def takes(*arguments: Any) -> bool:
    """Whether the kernels compute on these: on CPU, float32 or bfloat16, of sizes that are known.

    Those of an exported program may be symbols.
    """
    known = all(isinstance(size, int) for argument in arguments for size in argument.shape)
    return known and arguments[0].dtype in TYPES and jax.default_backend() == "cpu" and is_available()


def call(name: str, results: Any, *arguments: jax.Array, **sizes: int) -> Any:
    """Calls one of FUNCTIONS; `results` are their shapes and types. See cpu/kernels.cc for each one's arguments."""
    attributes: dict[str, Any] = {key: np.int64(value) for key, value in sizes.items()}
    return jax.ffi.ffi_call(f"cnn_jax_{name}", results)(*arguments, **attributes)


def build() -> Path:
    """The compiled library, kept for each source, compiler, JAX and processor. Raises CompilerError, OSError."""
    names = [os.environ["CXX"]] if "CXX" in os.environ else ["c++", "g++", "clang++"]
    compiler = next(filter(None, map(shutil.which, names)), None)
    if compiler is None:
        raise CompilerError(f"no C++ compiler found ({', '.join(names)})")
    command = [compiler, *FLAGS, f"-I{jax.ffi.include_dir()}", str(SOURCES / "kernels.cc")]
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    sources = [path.read_text() for path in sorted(SOURCES.iterdir())]
    identity = "\n".join([*sources, version, jax.lib.__version__, cpu_features(), *FLAGS])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cnn_jax" / "native"
    library = cache / f"kernels-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.so"
    if not library.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            output = Path(folder) / library.name
            completed = subprocess.run([*command, "-o", str(output)], capture_output=True, text=True, check=False)
            if completed.returncode:
                reason = next((line for line in completed.stderr.splitlines() if "error" in line), f"{compiler} failed")
                raise CompilerError(reason)
            output.replace(library)
    return library


def cpu_features() -> str:
    """What instructions this machine has; a cache folder may be shared with another kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    return platform.machine() + next((line for line in lines if line.startswith(("flags", "Features"))), "")
