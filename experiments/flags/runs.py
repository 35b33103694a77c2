"""Flags of what is trained, and what the pages make of them: a checked config for each cell."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from absl import flags

from cnn_jax import config, initial, plan, presets, sweep
from cnn_jax.config import Config, ConfigError, Model
from cnn_jax.data import Dataset, sources
from cnn_jax.data.sources import folder as image_folder
from cnn_jax.data.sources import tfds
from cnn_jax.models import build, cifar_depth
from cnn_jax.runner import load_config_dataset
from cnn_jax.train import devices, processes, record
from cnn_jax.train.record import require_writable
from experiments.flags import network, settings, width
from experiments.flags.numbers import parse_integers as parse_integers

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(network)
flags.adopt_module_key_flags(settings)
flags.adopt_module_key_flags(width)

flags.DEFINE_string("dataset", "digits", "Data set: digits, a TFDS name such as cifar10, or an image folder's path.")
flags.DEFINE_integer("validation", None, "Training examples held out as validation split, as the paper's 5000 of 50k.")
flags.DEFINE_string(
    "preset", "auto", f"Recipe: auto (by network and data set; of --init_from finetune), {', '.join(presets.PRESETS)}."
)
flags.DEFINE_string("config", None, "In place of a recipe, the config.json of a run, or its folder.")
flags.DEFINE_integer("batch_size", None, "Examples of a step, in place of the recipe's.", lower_bound=1)
flags.DEFINE_integer("steps", None, "Steps of a run, in place of the recipe's.", lower_bound=1)
flags.DEFINE_float("learning_rate", None, "Learning rate before any drop, in place of the recipe's.")
flags.DEFINE_float("epochs", None, "Passes over the training split, in place of the recipe's steps.")
flags.DEFINE_string("init_from", None, "Begin with the variables of a converted checkpoint or a run folder.")


def make_configs(models: Sequence[str], axes: sweep.Axes, workdir: Path) -> list[Config]:
    """One checked config for each model and cell of the axes: preset, then data set flags, then axes, then --set.

    Raises ConfigError, DataError or RecordError on whatever is wrong, before anything runs.
    """
    return make_configs_and_datasets(models, axes, workdir)[0]


def make_configs_and_datasets(
    models: Sequence[str], axes: sweep.Axes, workdir: Path, planning: bool = False
) -> tuple[list[Config], list[Dataset]]:
    """`make_configs`, and what each learns from; `planning` makes do with known sizes of sets that are not at hand."""
    if FLAGS.steps is not None and FLAGS.epochs is not None:
        raise ConfigError("--steps and --epochs: leave one out")
    named = {"batch_size": FLAGS.batch_size, "steps": FLAGS.steps, "optim.learning_rate": FLAGS.learning_rate}
    assignments = [f"{path}={value}" for path, value in named.items() if value is not None] + FLAGS.set
    start = FLAGS.init_from and str(Path(FLAGS.init_from).expanduser().absolute())
    found = []
    for model in models:
        flagged = {"data.validation": FLAGS.validation, "data.test_share": FLAGS.test_share, "init_from": start}
        flagged["model.width"] = width.choose_width(model)
        given = {path: value for path, value in flagged.items() if value is not None}
        base = config.replace_fields(choose_recipe(model), given)
        for cell in sweep.grid(initial.adopt_standardization(base) if start else base, axes):
            found.append(config.override(cell, fit_batch_norm(cell, assignments)))
    layout = settings.make_settings().layout
    for cell in found:
        build(cell.model.name)
        devices.check_batch(cell, layout)
    processes.run_on_leader(lambda: str(require_writable(workdir)))
    find = plan.load_or_known_sizes if planning else load_config_dataset
    datasets = [find(cell, FLAGS.data_dir, FLAGS.download, FLAGS.skip_damaged) for cell in found]
    epochs = FLAGS.epochs
    if epochs is None and FLAGS.steps is None and FLAGS.config is None:
        epochs = presets.PASSES.get(preset_name(models[0]))
    if epochs is not None:
        sizes = [dataset.count("train") for dataset in datasets]
        found = [sweep.set_epochs(cell, epochs, size) for cell, size in zip(found, sizes, strict=True)]
        found = [config.override(cell, FLAGS.set) for cell in found]
    resolved = [sweep.resolve(cell, layout, dataset) for cell, dataset in zip(found, datasets, strict=True)]
    return resolved, datasets


def print_recipes(models: Sequence[str]) -> None:
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


def choose_recipe(model: str) -> Config:
    """The config that the flags change, that of --config or a preset; raises ConfigError or RecordError."""
    if FLAGS.config is not None:
        return read_config(Path(FLAGS.config).expanduser(), model)
    found = presets.get(preset_name(model), FLAGS.dataset, model, pretrained=bool(FLAGS.init_from))
    return presets.add_warmup(found, cifar_depth(model))


def read_config(file: Path, model: str) -> Config:
    """The config of a file or run folder; a page's models and --dataset, if given, in place of its own.

    Raises ConfigError or RecordError.
    """
    file = file / "config.json" if file.is_dir() else file
    values = record.read_json(file)
    if not isinstance(values, dict):
        raise ConfigError(f"--config={file}: there is no config; give a run folder or its config.json")
    found = config.from_dict(values)
    if model != found.model.name and ("model" not in FLAGS or FLAGS["model"].present):
        found = replace(found, model=Model(name=model))
    return config.replace_field(found, "data.name", FLAGS.dataset) if FLAGS["dataset"].present else found


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
