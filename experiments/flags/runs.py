"""Flags of what is trained, and what the pages make of them: a checked config for each cell."""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from cnn_jax import config, initial, plan, presets, sweep
from cnn_jax.config import Config, ConfigError
from cnn_jax.data import Dataset
from cnn_jax.models import build
from cnn_jax.runner import load_config_dataset
from cnn_jax.train import devices, processes
from cnn_jax.train.record import require_writable
from experiments.flags import network, recipe, settings, width
from experiments.flags.numbers import parse_integers as parse_integers

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(network)
flags.adopt_module_key_flags(recipe)
flags.adopt_module_key_flags(settings)
flags.adopt_module_key_flags(width)

flags.DEFINE_integer("validation", None, "Training examples held out as validation split, as the paper's 5000 of 50k.")
flags.DEFINE_integer("batch_size", None, "Examples of a step, in place of the recipe's.", lower_bound=1)
flags.DEFINE_integer("steps", None, "Steps of a run, in place of the recipe's.", lower_bound=1)
flags.DEFINE_float("learning_rate", None, "Learning rate before any drop, in place of the recipe's.")
flags.DEFINE_float("epochs", None, "Passes over the training split, in place of the recipe's steps.")


def make_configs(models: Sequence[str], axes: sweep.Axes, workdir: Path) -> list[Config]:
    """One checked config for each model and cell of the axes: preset, then data set flags, then axes, then --set.

    Raises ConfigError, DataError or RecordError on whatever is wrong, before anything runs.
    """
    return make_configs_and_datasets(models, axes, workdir)[0]


def make_assignments() -> list[str]:
    """What flags say of fields in place of the recipe: `steps=100`; --set last."""
    named = {"batch_size": FLAGS.batch_size, "steps": FLAGS.steps, "optim.learning_rate": FLAGS.learning_rate}
    return [f"{path}={value}" for path, value in named.items() if value is not None] + FLAGS.set


def make_configs_and_datasets(
    models: Sequence[str], axes: sweep.Axes, workdir: Path, planning: bool = False
) -> tuple[list[Config], list[Dataset]]:
    """`make_configs`, and what each learns from; `planning` makes do with known sizes of sets that are not at hand."""
    if FLAGS.steps is not None and FLAGS.epochs is not None:
        raise ConfigError("--steps and --epochs: leave one out")
    assignments = make_assignments()
    start = FLAGS.init_from and str(Path(FLAGS.init_from).expanduser().absolute())
    found = []
    for model in models:
        flagged = {"data.validation": FLAGS.validation, "data.test_share": FLAGS.test_share, "init_from": start}
        flagged["model.width"] = width.choose_width(model)
        given = {path: value for path, value in flagged.items() if value is not None}
        base = config.replace_fields(recipe.choose(model), given)
        for cell in sweep.grid(initial.adopt_standardization(base) if start else base, axes):
            found.append(config.override(cell, recipe.fit_batch_norm(cell, assignments)))
    layout = settings.make_settings().layout
    for cell in found:
        build(cell.model.name)
        devices.check_batch(cell, layout)
    processes.run_on_leader(lambda: str(require_writable(workdir)))
    find = plan.load_or_known_sizes if planning else load_config_dataset
    datasets = [find(cell, FLAGS.data_dir, FLAGS.download, FLAGS.skip_damaged) for cell in found]
    epochs = FLAGS.epochs
    if epochs is None and FLAGS.steps is None and FLAGS.config is None:
        epochs = presets.PASSES.get(recipe.preset_name(models[0]))
    if epochs is not None:
        sizes = [dataset.count("train") for dataset in datasets]
        found = [sweep.set_epochs(cell, epochs, size) for cell, size in zip(found, sizes, strict=True)]
        found = [config.override(cell, FLAGS.set) for cell in found]
    resolved = [sweep.resolve(cell, layout, dataset) for cell, dataset in zip(found, datasets, strict=True)]
    return resolved, datasets
