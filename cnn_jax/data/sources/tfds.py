"""TFDS datasets found in their folder, or prepared there: without TensorFlow, and without a hidden download."""

import contextlib
import difflib
import io
import os
import re
import tempfile
from collections.abc import Generator

import tensorflow_datasets as tfds
from absl import logging
from google.protobuf import json_format
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from tensorflow_datasets.core.download.extractor import ExtractError
from tensorflow_datasets.core.download.util import DownloadError

from cnn_jax.data.dataset import DataError
from cnn_jax.data.sources.digits import Digits

OWN = {"digits": Digits}
"""Our own builders, prepared on first use without a network; every other name is TFDS's."""
_NAME = re.compile(r"(\w+)(/[\w.\-]+)?(:(\d+|\*)(\.(\d+|\*)){2})?")


def data_folder(data_dir: str | os.PathLike | None) -> str:
    """The folder of prepared datasets, absolute; None is TFDS's own, $TFDS_DATA_DIR or ~/tensorflow_datasets."""
    default = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    return os.path.abspath(os.path.expanduser(default if data_dir is None else data_dir))


def command(name: str, data_dir: str) -> str:
    """The command that prepares a dataset."""
    return f".venv/bin/python -m cnn_jax.data --dataset={name} --data_dir={data_dir}"


def first_line(error: BaseException) -> str:
    """The first line that says something in the error at the root of a chain of TFDS's rewordings, or its type."""
    error = _root(error)
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _root(error: BaseException) -> BaseException:
    return _root(error.__cause__) if error.__cause__ else error


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Keeps TFDS's prints, warnings and bars off the screen, for work that the user did not ask for by name."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)


def find(name: str, folder: str) -> tfds.core.DatasetBuilder:
    """The builder of `name[/config][:version]` in `folder`, prepared or not; touches no network.

    A dataset whose code TFDS does not have is found by its files, if it is prepared.

    Raises:
      DataError: malformed or unknown name, config or version; unreadable metadata.
    """
    match = _NAME.fullmatch(name)
    if not match:  # also keeps out `namespace:name`, which asks the network
        raise DataError(f"dataset name {name!r} is not of the form name, name/config or name:1.2.3")
    try:
        with quiet():
            return tfds.builder(name, data_dir=folder)
    except tfds.core.DatasetNotFoundError:
        raise DataError(_unknown(name, match[1], folder)) from None
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise DataError(
            f"dataset_info.json of {name!r} under {folder}/{match[1]} is damaged ({first_line(error)}); delete that "
            f"folder and run: {command(name, folder)}"
        ) from error
    except ImportError as error:
        raise DataError(_missing_import(name, error)) from error
    except (AssertionError, ValueError, KeyError, OSError) as error:  # TFDS's refusals: version, config, permissions
        reason = " ".join(str(_root(error)).split())
        raise DataError(f"TFDS cannot open dataset {name!r} in {folder}: {reason}") from error


def _unknown(name: str, base: str, folder: str) -> str:
    if os.path.isdir(os.path.join(folder, base)):
        return (
            f"dataset {name!r} is unknown to TFDS, and {os.path.join(folder, base)} holds no prepared version of it "
            "(VERSION/dataset_info.json and VERSION/features.json), nor images in train/<class>/ or in <class>/"
        )
    if os.path.isdir(base):
        return (
            f"unknown dataset {name!r}, and {folder} has none of that name; of the folder here it is --dataset=./{base}"
        )
    near = difflib.get_close_matches(base.lower(), tfds.list_builders(with_community_datasets=False), n=4)
    hint = f"did you mean {', '.join(near)}?" if near else "see https://www.tensorflow.org/datasets/catalog"
    return f"unknown dataset {name!r}, and nothing of that name is prepared in {folder}; {hint}"


def _missing_import(name: str, error: ImportError) -> str:
    module = (getattr(_root(error), "name", None) or first_line(error)).split(".")[0]
    return (
        f"TFDS needs {module} to prepare {name!r}; run once: .venv/bin/pip install {module}, then this command again "
        "(reading what is prepared does not need it)"
    )


def is_prepared(builder: tfds.core.DatasetBuilder) -> bool:
    """Whether the builder's version folder is there and complete; TFDS renames it into place when it is."""
    return os.path.isfile(os.path.join(builder.data_dir, "dataset_info.json"))


def find_prepared(name: str, folder: str, download: bool) -> tfds.core.DatasetBuilder:
    """The builder of a dataset that is prepared in `folder`.

    Args:
      name: `name[/config][:version]` as in TFDS.
      folder: of prepared datasets.
      download: prepare what is not prepared, over the network. Our own datasets need none and are always prepared.

    Raises:
      DataError: unknown name, not prepared and not to be downloaded, or preparing failed.
    """
    builder = find(name, folder)
    if is_prepared(builder):
        return builder
    if builder.name in OWN:
        return prepare_offline(builder)
    if download:
        return download_and_prepare(builder)
    raise DataError(
        f"dataset {name!r} is not prepared: no dataset_info.json in {builder.data_dir}; add --download to this "
        f"command, or run: {command(name, folder)}"
    )


def download_and_prepare(builder: tfds.core.DatasetBuilder) -> tfds.core.DatasetBuilder:
    """Downloads and prepares a dataset as array_record, with TFDS's progress bars; returns the builder.

    Raises:
      DataError: no network, a missing package such as TensorFlow, files to fetch by hand, no room on the disk.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints banners; its bars go to stderr
            builder.download_and_prepare(file_format="array_record")
    except ImportError as error:
        raise DataError(_missing_import(builder.name, error)) from error
    except (OSError, DownloadError, ExtractError, NonMatchingChecksumError) as error:
        raise DataError(
            f"could not download and prepare {builder.name!r} into {builder.data_dir}: {type(error).__name__}: "
            f"{first_line(error)}; check the network, the disk and the folder, then try again"
        ) from error
    except (AssertionError, ValueError) as error:  # e.g. ImageNet, whose archives must be fetched by hand
        raise DataError(f"TFDS cannot prepare {builder.name!r}: {' '.join(str(error).split())}") from error
    return builder


def prepare_offline(builder: tfds.core.DatasetBuilder) -> tfds.core.DatasetBuilder:
    """Prepares a dataset of ours, which needs no download, without a word; returns the builder to read it with.

    It is made in a folder of its own and renamed into place, so processes that prepare it at the same time cannot meet:
    the first rename wins and the others read its files. (TFDS's own temporary names come from `random`, which runs
    that set the same seed share.)

    Raises:
      DataError: the data folder cannot be written.
    """
    target, root = builder.data_dir, str(builder.data_dir_root)
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".preparing_", dir=root) as scratch, quiet():
            made = type(builder)(data_dir=scratch)
            made.download_and_prepare(file_format="array_record")
            with contextlib.suppress(OSError):  # the folder is there: made meanwhile, or in the way, told apart below
                os.rename(made.data_dir, target)
    except OSError as error:
        raise DataError(
            f"cannot prepare {builder.name!r} in {root} ({error.strerror or first_line(error)}); pass a folder you "
            "can write, as --data_dir=DIR or in the environment as TFDS_DATA_DIR"
        ) from error
    if not is_prepared(builder):
        raise DataError(f"{target} is in the way and is not a prepared dataset; delete it and try again")
    with quiet():
        return type(builder)(data_dir=root)


def again(builder: tfds.core.DatasetBuilder) -> str:
    """What to do about a prepared dataset that is damaged."""
    if builder.name not in tfds.list_builders(with_community_datasets=False):  # only its files are known
        return f"replace {builder.data_dir} by a whole copy"
    return f"delete {builder.data_dir} and run: {command(builder.info.full_name, str(builder.data_dir_root))}"
