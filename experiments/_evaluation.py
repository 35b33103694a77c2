"""Flags of an evaluation: which network, on what, shown how; and how its results are printed."""

import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from cnn_jax import data, evaluation
from cnn_jax.config import ConfigError
from cnn_jax.data import Dataset
from cnn_jax.evaluation import networks
from cnn_jax.evaluation.networks import Network
from cnn_jax.train import devices
from cnn_jax.train.devices import Layout
from cnn_jax.train.record import finite
from cnn_jax.weights import SOURCES
from experiments import _data, _devices
from experiments import _launcher as launcher

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(_devices)
flags.adopt_module_key_flags(_data)
flags.DEFINE_string("run", None, "A run folder of ours, whose newest checkpoint is tested; or give --weights.")
flags.DEFINE_string("weights", None, "A file of other people's weights; with --model and --source.")
flags.DEFINE_string("model", None, "Network of --weights, such as resnet20 or squeezenet1_1.")
flags.DEFINE_string("source", None, f"Whose --weights, for names and preprocessing: {', '.join(SOURCES)}.")
flags.DEFINE_string("dataset", None, "Data set: digits, or a TFDS name such as cifar10 or mnist; a run's is its own.")
flags.DEFINE_integer("crops", 1, "1, the middle; 10 (Krizhevsky et al. 2012); or 144 (Szegedy et al. 2015).")
flags.DEFINE_bool("dense", False, "The network slid over the whole image and its mirror image (VGG, 3.2).")
flags.DEFINE_integer("resize", None, "Pixels of the short side images are resized to, in place of the network's own.")
flags.DEFINE_list("scales", [], "Several such sizes, for instance 256,384,512, averaged over.")
flags.DEFINE_integer("crop", None, "Pixels a side of a crop, in place of the network's own.")


def of_weights() -> Network:
    """The network of --weights; raises ConfigError or WeightsError."""
    if FLAGS.run is not None or None in (FLAGS.weights, FLAGS.model, FLAGS.source):
        raise ConfigError("give a network: --weights, --model and --source, or on a data set --run alone")
    return networks.of_weights(launcher.path(FLAGS.weights), FLAGS.model, FLAGS.source)


def network_and_data(layout: Layout) -> tuple[Network, Dataset, dict[str, Any]]:
    """The network, the data set, and what to print of the two; raises whatever a user can mend."""
    if FLAGS.run is None:
        network = of_weights()
        if FLAGS.dataset is None:
            raise ConfigError("give --dataset, such as cifar10, or --image=FILE")
        dataset = data.load(FLAGS.dataset, FLAGS.data_dir, download=FLAGS.download)
        networks.require_fit(network, dataset)
        return network, dataset, {"model": FLAGS.model, "weights": FLAGS.weights, "source": FLAGS.source}
    for name in ("weights", "model", "source", "dataset"):
        if FLAGS.flag_values_dict()[name] is not None:
            raise ConfigError(f"--{name}: a run has its own; leave it out beside --run")
    folder = launcher.path(FLAGS.run)
    config = networks.read_config(folder)
    held_out = config.data.validation
    dataset = data.load(config.data.name, FLAGS.data_dir, validation=held_out, download=FLAGS.download)
    network, step = networks.of_run(folder, config, dataset, layout)
    return network, dataset, {"model": config.model.name, "run": str(folder), "step": step}


def network_and_images() -> tuple[Network, Dataset | None, str]:
    """The network, a data set of which the images alone are wanted, if one is asked for, and what to call the network.

    Raises whatever a user can mend.
    """
    if FLAGS.run is not None:
        network, dataset, about = network_and_data(devices.choose(FLAGS.parallel, FLAGS.devices))
        return network, dataset, f"{about['model']}, {about['run']} after {about['step']} steps"
    network = of_weights()
    if FLAGS.dataset is None and FLAGS.image is None:
        raise ConfigError("give images: --dataset, such as cifar10, or --image=FILE, or both")
    dataset = FLAGS.dataset and data.load(FLAGS.dataset, FLAGS.data_dir, download=FLAGS.download)
    if dataset:
        networks.require_channels(network, dataset)
    return network, dataset, f"{FLAGS.model}, {FLAGS.source}"


def look(network: Network) -> Callable[[Any], jax.Array]:
    """What turns uint8 images into what the network is shown under the protocol of the flags, one view of each."""
    shown = protocol(network._replace(scales=network.scales or (network.model.image_size,)))
    if shown.crops > 1 or shown.dense or len(shown.scales) > 1:
        raise ConfigError("one view of each image is looked at: leave --crops, --dense and --scales out")
    return lambda image: evaluation.views(network.images(jnp.asarray(image)), shown)[0][:, 0]


def protocol(network: Network) -> evaluation.Protocol:
    """The protocol of the flags; raises ConfigError."""
    if FLAGS.resize is not None and FLAGS.scales:
        raise ConfigError("--resize is one scale, --scales are several: leave one out")
    texts = FLAGS.scales or ([] if FLAGS.resize is None else [str(FLAGS.resize)])
    for text in (*texts, *([] if FLAGS.crop is None else [str(FLAGS.crop)])):
        if not text.isdecimal() or int(text) < 1:
            raise ConfigError(f"{text!r} is no size: --resize, --scales and --crop are pixels, 1 or more")
    return evaluation.choose(network, FLAGS.crops, FLAGS.crop, tuple(map(int, texts)), FLAGS.dense)


def show_errors(about: dict[str, Any], shown: evaluation.Protocol, split: str, result: dict[str, Any]) -> None:
    """Prints a table of it all, then one line of JSON, errors as fractions."""
    named = {f"{split}_{name}" if name in ("loss", "error") else name: value for name, value in result.items()}
    errors = {name: f"{100 * value:.2f} %" for name, value in named.items() if name.endswith("error")}
    rest = {name: f"{value:,.6g}" for name, value in named.items() if name not in errors}
    table = about | {"parameters": f"{about['parameters']:,}", "protocol": str(shown)} | errors | rest
    print("\n".join(f"{name.replace('_', ' '):<30} {value}" for name, value in table.items()))
    how = {"crops": shown.crops, "crop": shown.size, "scales": shown.scales, "dense": shown.dense}
    print(json.dumps(about | {"protocol": how} | finite(named), allow_nan=False))


def show_classes(likeliest: list[tuple[int, float]], image: str) -> None:
    """Prints class numbers with their probabilities, then the same in one line of JSON."""
    print("\n".join(f"class {index:>5} {100 * probability:8.3f} %" for index, probability in likeliest))
    print(json.dumps({"image": image, "top5": [{"class": index, "probability": p} for index, p in likeliest]}))
