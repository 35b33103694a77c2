"""What is here and what is missing: devices, versions, room, compiler, data sets, and what is slow."""

import os
import platform
import shutil
import tomllib
import zlib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
from packaging.requirements import Requirement

import cnn_jax
from cnn_jax import data
from cnn_jax.data.sources import digit_scenes, records, tfds
from cnn_jax.data.sources import folder as image_folder
from cnn_jax.layers import native
from cnn_jax.train import manifest

OK, SLOW, MISSING, BROKEN = "OK", "SLOW", "MISSING", "BROKEN"
MIN_FREE_BYTES = 2 * 2**30  # bytes; a run of a large network writes checkpoints of half a gigabyte
NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "lustre", "fuse.sshfs", "9p", "ceph", "beegfs", "gpfs")
PUBLIC = ("mnist", "cifar10", "imagenet2012")
PYPROJECT = Path(cnn_jax.__file__).parents[1] / "pyproject.toml"
REINSTALL = "delete .venv and run ./launch.sh again"
TEST_SHARE = 0.2  # of images in class folders alone, for instance
ZSTANDARD = b"\x28\xb5\x2f\xfd"
ARCHIVES = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")


class Finding(NamedTuple):
    """A line of the report: OK, SLOW, MISSING (of what not every study needs) or BROKEN."""

    state: str
    subject: str
    message: str


def examine(data_dir: str | None) -> Iterator[Finding]:
    """All findings, one after another."""
    yield from check_packages()
    yield from check_devices()
    yield from check_machine()
    folder = tfds.data_folder(data_dir)
    places = {"runs": Path.cwd(), "data": Path(folder), "cache": cache_folder()}
    for name, place in places.items():
        yield from check_disk(name, place)
    yield check_compilation_cache()
    yield from check_datasets(folder)


def check_packages(pyproject: Path = PYPROJECT) -> Iterator[Finding]:
    """What pyproject.toml asks for, and what is installed."""
    installed = ", ".join(f"{name} {version}" for name, version in manifest.versions().items())
    yield Finding(OK, "versions", installed)
    project = tomllib.loads(pyproject.read_text())["project"]
    for wanted in map(Requirement, [f"python{project['requires-python']}", *project["dependencies"]]):
        try:
            version = platform.python_version() if wanted.name == "python" else metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            yield Finding(BROKEN, wanted.name, f"not installed; {REINSTALL}")
            continue
        if version not in wanted.specifier:
            yield Finding(BROKEN, wanted.name, f"{version} is not {wanted.specifier}; {REINSTALL}")


def check_devices() -> Iterator[Finding]:
    try:
        local_devices = jax.local_devices()
    except Exception as error:  # whatever JAX raises where a plug-in or driver is missing, or others hold the device
        reason = " ".join(str(error).split()) or f"JAX has none for JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS')}"
        yield Finding(BROKEN, "devices", f"{reason}; mend that, or have the CPU alone: JAX_PLATFORMS=cpu")
        return
    kinds = [device.device_kind for device in local_devices]
    message = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    memory = (local_devices[0].memory_stats() or {}).get("bytes_limit")
    message += f", {memory / 2**30:.1f} GiB each" if memory else ""
    if local_devices[0].platform == "cpu":
        advice = "no accelerator; EXTRAS=cuda or EXTRAS=tpu ./launch.sh installs for one"
        yield Finding(SLOW, "devices", f"{message}: {advice}")
        native_kernels = native.is_available()
        instead = "XLA's own, half as fast: install g++ or clang++, or name one, CXX=...; or leave CNN_JAX_NATIVE out"
        yield Finding(
            OK if native_kernels else SLOW, "convolutions", "kernels of this package" if native_kernels else instead
        )
    else:
        yield Finding(OK, "devices", message)


def check_machine() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    message = f"{cores} cores, {memory:.1f} GiB of memory"
    yield Finding(SLOW if cores < 2 else OK, "machine", message)


def check_disk(name: str, place: Path) -> Iterator[Finding]:
    """The disk of a folder, which may not be there yet."""
    existing = next(path for path in (place.absolute(), *place.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    message = f"{place}: {free / 2**30:.1f} GiB free"
    if not os.access(existing, os.W_OK):
        yield Finding(MISSING if name == "data" else BROKEN, name, f"{place} cannot be written")
    elif free < MIN_FREE_BYTES:
        yield Finding(
            BROKEN if free < MIN_FREE_BYTES / 100 else SLOW, name, f"{message}: make room, or name another folder"
        )
    elif (kind := file_system_type(existing)) in NETWORK_FILE_SYSTEMS:
        yield Finding(SLOW, name, f"{message}, on {kind}: a file system of the network; copy what is read often")
    else:
        yield Finding(OK, name, message)


def file_system_type(place: Path) -> str:
    """Its kind, as /proc/mounts has it; empty where that is not there."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    return max(
        (mount for mount in mounts if place.is_relative_to(mount[0])), key=lambda m: len(m[0]), default=["", ""]
    )[1]


def cache_folder() -> Path:
    own = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cnn_jax"


def check_compilation_cache() -> Finding:
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return Finding(
            SLOW, "compiled programs", "are not kept: start by ./launch.sh, or set JAX_COMPILATION_CACHE_DIR"
        )
    files = [path for path in cache_folder().glob("*") if path.is_file()]
    size, truncated = sum(path.stat().st_size for path in files), [path for path in files if is_truncated(path)]
    message = f"{len(files)} files, {size / 2**20:.0f} MiB in {cache_folder()}"
    if not truncated:
        return Finding(OK, "compiled programs", message)
    for path in truncated:
        path.unlink(missing_ok=True)
    return Finding(
        SLOW, "compiled programs", f"{message}, {len(truncated)} cut off: these are deleted, and compiled anew"
    )


def is_truncated(program: Path) -> bool:
    """Whether a compiled program was written in part, by a process that was killed then or on a disk that was full.

    JAX warns of it in every run, and never writes it anew.
    """
    content = program.read_bytes()
    if not program.name.endswith("-cache") or content.startswith(ZSTANDARD):  # which Python reads from 3.14 on
        return False
    try:
        zlib.decompress(content)
        return False
    except zlib.error:
        return True


def check_datasets(folder: str) -> Iterator[Finding]:
    """Those that are in the data folder, and how to have the public ones that are not."""
    present = sorted(path.name for path in Path(folder).glob("*") if path.is_dir()) if Path(folder).is_dir() else []
    visible = (name for name in present if not name.startswith("."))
    for name in dict.fromkeys([*tfds.OWN, "digit_scenes", *PUBLIC, *visible]):
        if digit_scenes.has(name, folder):
            yield Finding(OK, name, "comes with the packages, made in memory")
            continue
        if image_folder.has(name, folder):
            yield check_image_folder(name, folder)
            continue
        try:
            builder = tfds.find(name, folder)
        except data.DataError as error:
            if any(any(Path(folder, name).glob(f"{depth}/dataset_info.json")) for depth in ("*", "*/*")):
                yield Finding(BROKEN, name, str(error))
            continue  # else a folder of something else
        if tfds.is_prepared(builder):
            yield check_prepared_dataset(name, builder)
        elif name in tfds.OWN:
            yield Finding(OK, name, "comes with the packages, prepared on first use")
        else:
            yield Finding(MISSING, name, installation_advice(name, folder))


def check_prepared_dataset(name: str, builder: Any) -> Finding:
    """A set of TFDS's, with the records that each of its files holds counted."""
    try:
        records.require_array_record(builder)
        for info in builder.info.splits.values():
            for path, expected in zip(map(str, info.filepaths), info.shard_lengths, strict=True):
                records.require_whole(path, expected, builder)
    except data.DataError as error:
        return Finding(BROKEN, name, str(error))
    sizes = ", ".join(f"{split} {info.num_examples:,}" for split, info in builder.info.splits.items())
    return Finding(OK, name, f"{builder.info.version}, {sizes}")


def check_image_folder(name: str, folder: str) -> Finding:
    layout = image_folder.find_layout(Path(folder, name))
    alone = layout is not None and layout.train == Path(folder, name)
    try:
        dataset = data.load(name, folder, streamed=True, test_share=TEST_SHARE if alone else 0.0)
    except data.DataError as error:
        return Finding(BROKEN, name, str(error))
    sizes = ", ".join(f"{split} {dataset.count(split):,}" for split in dataset.splits)
    held_out = f"; nothing to test on but what --test_share={TEST_SHARE} holds out" if alone else ""
    return Finding(OK, name, f"image folder, {dataset.num_classes} classes, {sizes}{held_out}")


def installation_advice(name: str, folder: str) -> str:
    if name != "imagenet2012":
        return tfds.command(name, folder)
    return (
        f"from image-net.org, put {' and '.join(ARCHIVES)} into {folder}/downloads/manual, then "
        f"{tfds.command(name, folder)}; or an image folder {folder}/NAME with train/<class>/ and val/<class>/"
    )
