"""Flags of what a run begins with: its recipe, or the config of another run; the data set; trained variables."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from absl import flags

from cnn_jax import config, presets
from cnn_jax.config import Config, ConfigError, Model
from cnn_jax.data import sources
from cnn_jax.data.sources import folder as image_folder
from cnn_jax.data.sources import tfds
from cnn_jax.models import cifar_depth
from cnn_jax.train import processes, record

FLAGS = flags.FLAGS
flags.DEFINE_string("dataset", "digits", "Data set: digits, a TFDS name such as cifar10, or an image folder's path.")
flags.DEFINE_string(
    "preset", "auto", f"Recipe: auto (by network and data set; of --init_from finetune), {', '.join(presets.PRESETS)}."
)
flags.DEFINE_string("config", None, "In place of a recipe, the config.json of a run, or its folder.")
flags.DEFINE_string("init_from", None, "Begin with the variables of a converted checkpoint or a run folder.")


def print_names(models: Sequence[str]) -> None:
    """Prints whose recipes the configs are made of, as a user does not always name them."""
    for model in models if FLAGS.config is None else ():
        processes.print_once(f"recipe of {model} on {FLAGS.dataset}: {preset_name(model)}")


def preset_name(model: str) -> str:
    """--preset, or what auto stands for: what begins with trained variables is fine-tuned."""
    if FLAGS.preset != "auto":
        return FLAGS.preset
    return "finetune" if FLAGS.init_from else presets.choose(FLAGS.dataset, model, is_folder())


def is_folder() -> bool:
    """Whether --dataset is an image folder."""
    return sources.find(FLAGS.dataset, tfds.data_folder(FLAGS.data_dir)) is image_folder


def choose(model: str) -> Config:
    """The config that the flags change, that of --config or a preset; raises ConfigError or RecordError."""
    if FLAGS.config is not None:
        if FLAGS["preset"].present:
            raise ConfigError("--config and --preset: leave one out")
        return read_config(Path(FLAGS.config).expanduser(), model)
    found = presets.get(preset_name(model), FLAGS.dataset, model, pretrained=bool(FLAGS.init_from))
    return presets.add_warmup(found, cifar_depth(model))


def read_config(file: Path, model: str) -> Config:
    """The config of a file or run folder; a page's models and --dataset, if given, in place of its own.

    Raises ConfigError or RecordError.
    """
    file = file / "config.json" if file.is_dir() else file
    values, manifest = record.read_json(file), record.read_json(file.with_name("manifest.json"))
    if not isinstance(values, dict):
        raise ConfigError(f"--config={file}: there is no config; give a run folder or its config.json")
    found = config.from_dict(values)
    if model != found.model.name and ("model" not in FLAGS or FLAGS["model"].present):
        found = replace(found, model=Model(name=model))
    if FLAGS["dataset"].present:
        return config.replace_field(found, "data.name", FLAGS.dataset)
    FLAGS.data_dir = FLAGS.data_dir or (manifest or {}).get("data_dir")  # where the run's own data set was
    return found


def fit_batch_norm(cell: Config, assignments: Sequence[str]) -> list[str]:
    """The assignments, with the groups of batch norm made no larger than the batch that they ask for, unless they say.

    A group is then the largest divisor of the batch up to the recipe's; of fewer than eight examples it is left to be
    refused.
    """
    values = {path: value for path, _, value in (assignment.partition("=") for assignment in assignments)}
    batch, group = values.get("batch_size", ""), cell.model.bn_group
    if "model.bn_group" in values or not isinstance(group, int) or not batch.isdecimal():
        return list(assignments)
    fitting = [size for size in range(min(8, group), group + 1) if int(batch) and int(batch) % size == 0]
    return [*assignments, f"model.bn_group={fitting[-1]}"] if fitting else list(assignments)
