"""Flags of a network that is to serve other classes, and what the pages make of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from cnn_jax import config as config_lib
from cnn_jax import presets, sweep
from cnn_jax.config import Config, ConfigError
from cnn_jax.data import Dataset, draw_of_each_class
from cnn_jax.evaluation import networks
from cnn_jax.studies.transfer import probe, ways
from cnn_jax.studies.transfer import source as sources
from cnn_jax.tasks.images import SHOWN
from cnn_jax.train import variables as stored
from experiments.flags import launcher, recipe, runs
from experiments.flags import weights as weights_flags
from experiments.flags.settings import make_settings

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(weights_flags)
flags.DEFINE_list("how", list(ways.WAYS), f"Ways to use the network: {', '.join(ways.WAYS)}.")
flags.DEFINE_list("cut", [], "Endpoints up to which it is frozen; the linear way is tried at every one.")
flags.DEFINE_list("examples", ["1", "5", "20", "60"], "Training examples of each class, drawn by the seed; 0 is all.")
flags.DEFINE_list(
    "image_size",
    [],
    "Pixels a side that images of any size are shown at: 96, or 96,160,224; the linear way is tried at every one, "
    "trained ways at the first.",
)
flags.DEFINE_string("unrelated", None, "A run or converted checkpoint of a task far from this, fine-tuned beside it.")

FEW, MANY = tuple("01234"), tuple("56789")
DIGITS_NETWORK = "lenet5_full"


class Base(NamedTuple):
    """A network, and the config of a run that begins with all of it.

    Attributes:
      config: complete.
      enlarged: the same, at the further sizes of --image_size.
      dataset: all that there is to learn from.
      network: what is known of it.
    """

    config: Config
    enlarged: list[Config]
    dataset: Dataset
    network: ways.Network


def make_bases(workdir: Path) -> list[Base]:
    """That of the network to be transferred, and where --unrelated names one that of it too.

    The network is that of --init_from or --weights; without either it is one that learns the digits 0 to 4 first, and
    then meets 5 to 9. Raises whatever a user can mend.
    """
    axes: dict[Any, Sequence[Any]] = {}
    if FLAGS.weights:
        folder = launcher.expand_path(FLAGS.weights), FLAGS.model, FLAGS.source, FLAGS.ignore_surplus
        start = sources.convert(*folder, workdir / "source")
    elif FLAGS.init_from:
        start = launcher.expand_path(FLAGS.init_from)
    elif FLAGS.dataset == "digits":
        start = learn_digits(workdir / "source")
        axes["data.classes"] = [MANY]
    else:
        raise ConfigError("give the network that is transferred: --init_from, or --weights with --model and --source")
    sides = runs.parse_integers("image_size") if FLAGS.image_size else []
    if any(side < 8 for side in sides):
        raise ConfigError(f"--image_size={','.join(FLAGS.image_size)}: give 8 pixels or more, 96 or 96,160,224")
    if sides:
        shown = [(side, (side, round(side / SHOWN)), side) for side in dict.fromkeys(sides)]
        axes["data.crop", "data.short_side", "data.test_short_side"] = shown
    others = [launcher.expand_path(FLAGS.unrelated)] if FLAGS.unrelated else []
    return [make_base(folder, axes, workdir) for folder in (start, *others)]


def make_base(folder: Path, axes: sweep.Axes, workdir: Path) -> Base:
    """The base that begins with the variables of the folder."""
    FLAGS.init_from = str(folder)
    model = stored.describe(folder)["model"]["name"]
    (config, *enlarged), (dataset, *_) = runs.make_configs_and_datasets([model], axes, workdir)
    own = presets.PRESETS[presets.choose(FLAGS.dataset, model, recipe.is_folder())]
    return Base(config, enlarged, dataset, sources.describe(config, dataset, own))


def learn_digits(workdir: Path) -> Path:
    """The run folder of a network that has learned the digits 0 to 4; trained where it is not there yet."""
    configs = runs.make_configs([DIGITS_NETWORK], {"data.classes": [FEW], "data.validation": [0]}, workdir)
    (outcome,) = sweep.run(configs, workdir, make_settings())
    if outcome.error:
        raise ConfigError(f"the network of the digits 0 to 4 could not be trained: {outcome.error}")
    return outcome.folder


def make_configs(
    bases: Sequence[Base], names: Sequence[str], counts: Sequence[int], seeds: Sequence[int]
) -> tuple[list[Config], list[Dataset]]:
    """Every way at every cut on every number of examples a class with every seed, and of another base fine-tuning.

    Raises ConfigError or DataError, before anything runs.
    """
    layout, assignments, found = make_settings().layout, runs.make_assignments(), []
    for base in bases:
        for count in counts:
            if count:
                draw_of_each_class(base.dataset, count, 0)  # a class with fewer is told now
        own = names if base is bases[0] else [name for name in names if name == "finetune"]
        cells = ways.make_cells(base.config, own, choose_cuts(base), base.network)
        cells = [sweep.resolve(cell, layout, base.dataset) for cell in cells]
        sizes = {count: count * base.dataset.num_classes or base.dataset.count("train") for count in counts}
        spread = ways.spread_cells(cells, sizes, seeds, FLAGS.epochs or choose_passes(base))
        found += [config_lib.override(cell, recipe.fit_batch_norm(cell, assignments)) for cell in spread]
    return found, [bases[0].dataset] * len(found)


def choose_passes(base: Base) -> float:
    """Of images of a few pixels, which are seen fast, as many as networks drawn anew want; of others fewer."""
    return ways.SMALL_PASSES if base.network.small else ways.PASSES


def fit_linear(bases: Sequence[Base], counts: Sequence[int], seeds: Sequence[int], workdir: Path) -> None:
    """Measures the linear way of each base at every endpoint and size, and writes it into the workdir.

    Raises DataError.
    """
    measured = []
    for base in bases:
        channels = {name: shape[-1] for name, shape in sources.endpoint_shapes(base.config, base.dataset).items()}
        network, folder = networks.load(base.network.folder), workdir / "features"
        for config in (base.config, *base.enlarged):
            measured.append(probe.measure(config, base.dataset, network, channels, counts, seeds, folder))
            probe.write(measured, workdir)
            print(f"{base.network.folder}: features taken in {measured[-1]['features_seconds']:.1f} s", flush=True)


def choose_cuts(base: Base) -> list[str]:
    """--cut, or a late one of the network's endpoints that are maps."""
    return FLAGS.cut or [sources.choose_cut(base.config, base.dataset)]
