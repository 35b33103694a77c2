"""Flags of whatever reads a data set."""

from absl import flags

flags.DEFINE_string("data_dir", None, "Folder of prepared data sets; by default TFDS's own, ~/tensorflow_datasets.")
flags.DEFINE_bool("download", False, "Download and prepare the data set where it is missing; never done without.")
