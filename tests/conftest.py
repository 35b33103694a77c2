"""Two CPU devices, a persistent compilation cache, and the real data where there is any."""

import gc
import os
import shutil
import signal
from importlib import metadata
from pathlib import Path

import numpy as np

from tests import killed
from tests.pictures import draw_picture

# Before JAX starts: it makes its devices once.
os.environ["JAX_NUM_CPU_DEVICES"] = "2"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # as in JAX's own tests: compiling takes half as long
if metadata.version("jaxlib").startswith("0.10."):  # another version may not know these flags, and would end
    faster = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=4"
    os.environ["XLA_FLAGS"] = f"{faster} {os.environ.get('XLA_FLAGS', '')}".strip()  # a quarter less again
gc.set_threshold(
    100_000, 50, 100
)  # tracing makes millions of objects that stay: a tenth of its time was looking at them
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cnn_jax" / "compiled"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax  # noqa: E402
import pytest  # noqa: E402

from cnn_jax import data  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
LONG = ["test_layouts", "test_experiments", "test_faults", "test_step", "test_resume", "test_ray", "test_soak"]


def pytest_collection_modifyitems(items):
    """The files that take minutes come first, or one of them is begun last while the other worker waits."""
    items.sort(key=lambda item: item.path.stem not in LONG)


@pytest.fixture(scope="session")
def digits_dir(tmp_path_factory):
    """A data folder with the digits prepared in it."""
    folder = tmp_path_factory.mktemp("data")
    data.load("digits", folder)
    return folder


@pytest.fixture(scope="session")
def digits(digits_dir):
    return data.load("digits", digits_dir)


@pytest.fixture(scope="session")
def insects_dir(tmp_path_factory):
    """A data folder with an image folder of three classes, each with 11 images to train on and 3 to test on."""
    root, draw = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for split, count in (("train", 11), ("val", 3)):
        for one in ("ant", "bee", "cow"):
            place = root / "insects" / split / one
            place.mkdir(parents=True)
            for number in range(count):
                image = draw_picture(draw, int(draw.integers(30, 90)), int(draw.integers(30, 90)))
                image.save(place / f"{number:02}.{'JPEG' if number % 2 else 'png'}", quality=95)
    return root


@pytest.fixture(scope="session")
def undisturbed(digits_dir, tmp_path_factory):
    """What the small run of `killed` leaves where nothing happens to it."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    killed.run(digits_dir, workdir)
    return killed.read_outcome(workdir)


@pytest.fixture(scope="session")
def _stopped(digits_dir, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("stopped")
    killed.interrupt(digits_dir, workdir, signal.SIGTERM, killed.reached(20))
    return workdir


@pytest.fixture
def stopped(_stopped, tmp_path):
    """A folder of the test's own with the small run of `killed` stopped half-way."""
    return shutil.copytree(_stopped, tmp_path / "stopped")


@pytest.fixture(scope="session")
def real_data():
    """The folder of real data, as its README describes it; a test that needs it is skipped where there is none."""
    folder = os.environ.get("CNN_JAX_DATA_DIR")
    if not folder:
        pytest.skip("CNN_JAX_DATA_DIR is not set: it names the folder that holds tfds/cifar10, curves/ and weights/")
    return Path(folder)
