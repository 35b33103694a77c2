"""Flags of retrieval: the network's pictures, the descriptor, the index; and what the page does with them."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from absl import flags

from cnn_jax import data, presets, sweep
from cnn_jax.config import ConfigError, override
from cnn_jax.data import Dataset
from cnn_jax.data.sources import loose
from cnn_jax.evaluation import networks
from cnn_jax.network import Network
from cnn_jax.retrieval import answering, store
from cnn_jax.runner import Settings, load_config_dataset
from cnn_jax.train import devices
from experiments.flags import launcher, trained

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(trained)
flags.DEFINE_integer("resize", None, "Pixels of the short side images are resized to, in place of the network's own.")
flags.DEFINE_integer("crop", None, "Pixels a side of the middle that the network is shown, in place of its own.")
flags.DEFINE_multi_string("add", [], "Add these to the index: files, folders, patterns; a folder's name is the class.")
flags.DEFINE_multi_string("query", [], "Search the index with these pictures: files, folders, patterns.")
flags.DEFINE_string("descriptor", None, "Of a new index: endpoints with poolings, such as fire8:max+fire9:gem.")
flags.DEFINE_integer("whiten", 0, "Of a new index: the dimensions to whiten to; 0 is none.", lower_bound=0)
flags.DEFINE_float("shrinkage", 0.5, "With --whiten: from 0, whitening, to 1, PCA alone.", 0.0, 1.0)
flags.DEFINE_enum("index", "exact", ["exact", "faiss"], "How the index is searched; faiss wants EXTRAS=retrieval.")
flags.DEFINE_integer("probes", 8, "With --index=faiss: the lists that are looked at.", lower_bound=1)
flags.DEFINE_integer("neighbours", 7, "Answers to each query.", lower_bound=1)
flags.DEFINE_integer("expansion", 0, "Average each query with so many of its neighbours, and ask again.", lower_bound=0)
flags.DEFINE_integer("batch_size", 64, "Images the network sees at once, on each device.", lower_bound=1)
flags.DEFINE_string("workdir", None, "The index, or the study; by default runs/retrieval, of a study a folder in it.")

LEARNT, NEW = ("0", "1", "2", "3", "4"), ("5", "6", "7", "8", "9")
SEEDS = (0, 1, 2)


def show(network: Network) -> Network:
    """The network, shown of an image what the flags say."""
    if FLAGS.resize is None and FLAGS.crop is None:
        return network
    size = FLAGS.crop or network.size or network.model.image_size
    scale = FLAGS.resize or size
    if scale < size:
        raise ConfigError(f"--crop={size} does not fit in images of --resize={scale}: give a larger --resize")
    return network._replace(scales=(scale,), size=size, image_size=None)


def options() -> dict[str, Any]:
    """Those of `Network.stream`."""
    if jax.process_count() > 1:
        raise ConfigError("retrieval is of one process, on all of its devices: leave --processes and its like out")
    chosen = devices.make_layout(FLAGS.parallel, FLAGS.devices).devices
    return {"batch_size": FLAGS.batch_size, "devices": chosen, "skip_damaged": FLAGS.skip_damaged}


def learn_digits(workdir: Path) -> tuple[dict[str, Network], Dataset]:
    """Networks that learn the digits 0 to 4, a seed each, and the data set of 5 to 9, which they have never seen."""
    classes = ",".join(LEARNT)
    base = override(presets.get("resnet_digits"), ["model.name=resnet8", f"data.classes={classes}"])
    settings = Settings(
        data_dir=FLAGS.data_dir,
        parallel=FLAGS.parallel,
        devices=FLAGS.devices,
        progress=FLAGS.progress,
        command=shlex.join(["./launch.sh", "retrieval", *sys.argv[1:]]),
    )
    learnt = load_config_dataset(base, FLAGS.data_dir, FLAGS.download)
    configs = [sweep.resolve(config, settings.layout, learnt) for config in sweep.grid(base, {"seed": SEEDS})]
    outcomes = sweep.run(configs, workdir / "networks", settings)
    if any(outcome.error for outcome in outcomes):
        raise ConfigError(f"{outcomes[0].folder.parent}: a network failed to learn, and there is nothing to study")
    found = {
        f"seed {config.seed}": networks.load(outcome.folder) for config, outcome in zip(configs, outcomes, strict=True)
    }
    everything = data.load("digits", FLAGS.data_dir, download=FLAGS.download)
    return found, data.select_classes(everything, NEW)


def load_study(workdir: Path) -> tuple[dict[str, Network], Dataset, str]:
    """Networks by name, the data set, and what the study is called."""
    if FLAGS.run is None and FLAGS.weights is None and FLAGS.dataset is None:
        found, dataset = learn_digits(workdir)
        return found, dataset, "digits 5 to 9, by ResNet-8 that learnt 0 to 4"
    network = show(trained.load_network())
    if FLAGS.dataset is None:
        raise ConfigError("give --dataset to study, or --add=FOLDER to index pictures")
    wanted: dict[str, Any] = {"download": FLAGS.download, "skip_damaged": FLAGS.skip_damaged, "streamed": None}
    dataset = data.load(
        FLAGS.dataset, FLAGS.data_dir, decoding=network.decoding, test_share=FLAGS.test_share or 0.0, **wanted
    )
    networks.require_channels(network, dataset)
    name = FLAGS.model or Path(FLAGS.run or FLAGS.weights).name
    height, width = network.shown_size
    return {name: network}, dataset, f"{dataset.name} at {height}x{width} pixels, by {name}"


def use_index(workdir: Path) -> None:
    """Adds to the index what --add names, then answers what --query asks."""
    known = answering.read_origin(workdir)
    for flag, value in known.items():  # of an index that is there: its own network and view
        if FLAGS.flag_values_dict()[flag] is None:
            FLAGS[flag].value = value
    network = show(trained.load_network())
    origin = {name: FLAGS.flag_values_dict()[name] for name in ("run", "weights", "model", "source", "resize", "crop")}
    for name in ("run", "weights"):
        origin[name] = origin[name] and str(launcher.expand_path(origin[name]).absolute())
    asked = FLAGS.descriptor or answering.read_descriptor(workdir) or answering.default_descriptor(network)
    whitening = {"dimensions": FLAGS.whiten, "shrinkage": FLAGS.shrinkage} if FLAGS.whiten else None
    about = store.begin(
        workdir,
        {"network": store.identify(network), "descriptor": asked, "whitening": whitening, "origin": origin},
    )
    if FLAGS.add:
        print(answering.add(workdir, network, about, find(FLAGS.add), FLAGS.progress, **options()))
    if FLAGS.query:
        chosen = answering.Asked(FLAGS.neighbours, FLAGS.expansion, FLAGS.probes if FLAGS.index == "faiss" else 0)
        print(answering.answer(workdir, network, find(FLAGS.query), chosen, **options()))


def find(places: Sequence[str]) -> list[str]:
    """The picture files there, by absolute paths, which tell them apart; raises DataError."""
    return [str(Path(path).absolute()) for path in loose.find(places)]
