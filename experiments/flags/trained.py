"""Flags of a trained network, other people's or our own, and of the images it is to see."""

from functools import partial
from pathlib import Path
from typing import Any

from absl import flags

from cnn_jax import data
from cnn_jax.config import ConfigError
from cnn_jax.data import Dataset, class_numbers
from cnn_jax.data.stream import squares
from cnn_jax.evaluation import networks
from cnn_jax.network import Network
from experiments.flags import data as data_flags
from experiments.flags import devices, launcher
from experiments.flags import weights as weights_flags

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(devices)
flags.adopt_module_key_flags(data_flags)
flags.adopt_module_key_flags(weights_flags)
flags.DEFINE_string("run", None, "A run folder of ours, whose newest checkpoint is tested; or give --weights.")
flags.DEFINE_string("dataset", None, "Data set: digits, a TFDS name, or an image folder's path; a run's is its own.")


def network_path() -> Path:
    """Where the network is; raises ConfigError where no flag says so, or two do."""
    if (FLAGS.run is None) == (FLAGS.weights is None):
        raise ConfigError("give a network: --run alone, or --weights, with --model and --source")
    return launcher.expand_path(FLAGS.run or FLAGS.weights)


def name() -> str:
    """What is made of the network is called by: the model and whose weights they are, or the folder that it is in."""
    return f"{FLAGS.model}_{FLAGS.source}" if FLAGS.model and FLAGS.source else network_path().resolve().name


def label() -> str:
    """The field of the data set whose classes the network tells apart."""
    return networks.read_config(network_path()).classification.label if FLAGS.run else "label"


def load_network() -> Network:
    """The network of --run, or of --weights, a file or a converted checkpoint; raises whatever a user can mend."""
    surplus, read = FLAGS.ignore_surplus, partial(data_flags.read_dataset, run=network_path())
    return networks.load(network_path(), FLAGS.model, FLAGS.source, ignore_surplus=surplus, read_dataset=read)


def network_and_data(streamed: bool = False) -> tuple[Network, Dataset, dict[str, Any]]:
    """The network, the data set, and what to print of the two; raises whatever a user can mend.

    Of a streamed data set the test images' squares are taken into memory, unless `streamed` leaves them as they are.
    """
    if FLAGS.run is None:
        network = load_network()
        if FLAGS.dataset is None:
            raise ConfigError("give --dataset, such as cifar10, or --image=FILE")
        dataset = data.load(
            FLAGS.dataset,
            FLAGS.data_dir,
            download=FLAGS.download,
            streamed=None if streamed else False,
            skip_damaged=FLAGS.skip_damaged,
            test_share=FLAGS.test_share or 0.0,
        )
        networks.require_fit(network, dataset)
        if network.class_names == class_numbers(dataset.num_classes):  # whoever trained it did not tell their names
            network = network._replace(class_names=dataset.class_names())
        about = {name: FLAGS[name].value for name in ("model", "weights", "source") if FLAGS[name].value}
        return network, dataset, about
    for name in ("weights", "model", "source", "dataset"):
        if FLAGS.flag_values_dict()[name] is not None:
            raise ConfigError(f"--{name}: a run has its own; leave it out beside --run")
    folder = launcher.expand_path(FLAGS.run)
    config = networks.read_config(folder)
    dataset = data_flags.read_dataset(config, folder)
    network, step = networks.load_run(folder, config, dataset)
    if dataset.streamed and not streamed:
        dataset = squares.load_squares(dataset, config.data.resolved_test_short_side, ["test"], FLAGS.examples)
    return network, dataset, {"model": config.model.name, "run": str(folder), "step": step}


def network_and_images() -> tuple[Network, Dataset | None, str]:
    """The network, a data set of which the images alone are wanted, if one is asked for, and what to call the network.

    Raises whatever a user can mend.
    """
    if FLAGS.run is not None:
        network, dataset, about = network_and_data()
        return network, dataset, f"{about['model']}, {about['run']} after {about['step']} steps"
    network = load_network()
    if FLAGS.dataset is None and FLAGS.image is None:
        raise ConfigError("give images: --dataset, such as cifar10, or --image=FILE, or both")
    dataset = FLAGS.dataset and data.load(FLAGS.dataset, FLAGS.data_dir, download=FLAGS.download)
    if dataset:
        networks.require_channels(network, dataset)
    return network, dataset, f"{FLAGS.model}, {FLAGS.source}" if FLAGS.model else FLAGS.weights
