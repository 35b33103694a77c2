"""Flags of whatever reads a data set."""

from pathlib import Path

from absl import flags

from cnn_jax.config import Config
from cnn_jax.data import Dataset
from cnn_jax.runner import load_config_dataset
from cnn_jax.train import record

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "Folder of prepared data sets; by default TFDS's own, ~/tensorflow_datasets.")
flags.DEFINE_bool("download", False, "Download and prepare the data set where it is missing; never done without.")
flags.DEFINE_float(
    "test_share", None, "Of an image folder without images to test on, the share of each class to hold out for that."
)
flags.DEFINE_bool("skip_damaged", False, "Try every streamed image once, and leave out what cannot be decoded.")
flags.DEFINE_integer("decode_workers", 0, "Processes that decode streamed images; 0 is threads.", lower_bound=0)


def read_dataset(config: Config, run: Path | None = None) -> Dataset:
    """What a config learns from and is tested on: where --data_dir says, or else where it was for the run of a folder.

    Raises DataError, ConfigError or RecordError.
    """
    about = record.read_json(run / "manifest.json") if run else None
    data_dir = FLAGS.data_dir or (about or {}).get("data_dir")
    return load_config_dataset(config, data_dir, FLAGS.download, FLAGS.skip_damaged)
