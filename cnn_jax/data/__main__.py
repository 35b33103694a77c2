"""Prepares a dataset: .venv/bin/python -m cnn_jax.data --dataset=cifar10 [--data_dir=DIR]"""

import sys

from absl import app, flags

from cnn_jax.data import DataError
from cnn_jax.data.sources import find, records, tfds

_DATASET = flags.DEFINE_string(
    "dataset", None, "Dataset to prepare: digits, or any TFDS name[/config][:version].", required=True
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Folder of prepared datasets. Default: $TFDS_DATA_DIR, or else ~/tensorflow_datasets."
)


def main(argv: list[str]) -> int:
    if len(argv) > 1:
        print(f"unexpected argument {argv[1]!r}; name the dataset with --dataset=NAME", file=sys.stderr)
        return 1
    name, folder = _DATASET.value, tfds.data_folder(_DATA_DIR.value)
    if find(name, folder) is not records:
        print(f"{name} needs no preparing")
        return 0
    try:
        builder = tfds.find_prepared(name, folder, download=True)
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    sizes = ", ".join(f"{name} {split.num_examples}" for name, split in builder.info.splits.items())
    print(f"{builder.info.full_name} is prepared in {builder.data_dir}: {sizes}")
    return 0


if __name__ == "__main__":
    app.run(main)
