"""Flags of what of an image a network is shown."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from cnn_jax.config import ConfigError
from cnn_jax.evaluation import Protocol, choose_protocol, make_views
from cnn_jax.network import Network

FLAGS = flags.FLAGS
flags.DEFINE_integer("crops", 1, "1, the middle; 10 (Krizhevsky et al. 2012); or 144 (Szegedy et al. 2015).")
flags.DEFINE_bool("dense", False, "The network slid over the whole image and its mirror image (VGG, 3.2).")
flags.DEFINE_integer("resize", None, "Pixels of the short side images are resized to, in place of the network's own.")
flags.DEFINE_list("scales", [], "Several such sizes, for instance 256,384,512, averaged over.")
flags.DEFINE_integer("crop", None, "Pixels a side of a crop, in place of the network's own.")


def make_protocol(network: Network) -> Protocol:
    """The protocol of the flags; raises ConfigError."""
    if FLAGS.resize is not None and FLAGS.scales:
        raise ConfigError("--resize is one scale, --scales are several: leave one out")
    texts = FLAGS.scales or ([] if FLAGS.resize is None else [str(FLAGS.resize)])
    for text in (*texts, *([] if FLAGS.crop is None else [str(FLAGS.crop)])):
        if not text.isdecimal() or int(text) < 1:
            raise ConfigError(f"{text!r} is no size: --resize, --scales and --crop are pixels, 1 or more")
    return choose_protocol(network, FLAGS.crops, FLAGS.crop, tuple(map(int, texts)), FLAGS.dense)


def make_preprocess(network: Network) -> Callable[[Any], jax.Array]:
    """What turns uint8 images into what the network is shown under the protocol of the flags, one view of each."""
    protocol_of_one_view = make_protocol(network._replace(scales=network.scales or (network.model.image_size,)))
    if protocol_of_one_view.crops > 1 or protocol_of_one_view.dense or len(protocol_of_one_view.scales) > 1:
        raise ConfigError("one view of each image is looked at: leave --crops, --dense and --scales out")
    return lambda image: make_views(network.preprocess(jnp.asarray(image)), protocol_of_one_view)[0][:, 0]
