"""Two CPU devices, a persistent compilation cache, and the real data where there is any."""

import functools
import gc
import json
import os
import shutil
import signal
from importlib import metadata
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

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
from tests import killed  # noqa: E402
from tests.pictures import draw_picture  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
LONG = ["test_layouts", "test_experiments", "test_faults", "test_step", "test_resume", "test_ray"]


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
def undisturbed_dir(digits_dir, tmp_path_factory):
    """Where the small run of `killed` lies as its page left it, nothing having happened to it."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    killed.run(digits_dir, workdir)
    return workdir


@pytest.fixture(scope="session")
def undisturbed(undisturbed_dir):
    """What that run left."""
    return killed.read_outcome(undisturbed_dir)


@pytest.fixture
def go_on(digits_dir, undisturbed_dir):
    """Has the small run of `killed` in a workdir go on, in this process."""
    return functools.partial(killed.go_on, digits_dir, undisturbed=undisturbed_dir)


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


@pytest.fixture(scope="session")
def part_of_cifar10(real_data, tmp_path_factory):
    """A data folder with CIFAR-10's first 100 training and 1,000 test images: to decode all takes fifteen seconds."""
    whole = real_data / "tfds" / "cifar10" / "3.0.2"
    part = tmp_path_factory.mktemp("part") / "cifar10" / "3.0.2"
    shutil.copytree(whole, part, ignore=shutil.ignore_patterns("*.array_record*"))
    info = json.loads((part / "dataset_info.json").read_text())
    for split, count in zip(info["splits"], (100, 1000), strict=True):
        file = f"cifar10-{split['name']}.array_record-00000-of-00001"
        reader, writer = ArrayRecordReader(str(whole / file)), ArrayRecordWriter(str(part / file))
        for record in reader.read(0, count):
            writer.write(record)
        writer.close()
        reader.close()
        split["shardLengths"] = [str(count)]
    (part / "dataset_info.json").write_text(json.dumps(info))
    return part.parents[1]
