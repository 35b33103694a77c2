"""Flag of a network's width in proportion to its own."""

from absl import flags

from cnn_jax.config import ConfigError
from cnn_jax.models import build
from experiments.flags import network

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(network)
flags.DEFINE_float("width_multiplier", None, "The network's own channels times this.", lower_bound=0)


def choose_width(model: str) -> int | None:
    """Channels of the model's first stage by --width or --width_multiplier; None is what the recipe says."""
    if FLAGS["width"].present and FLAGS["width_multiplier"].present:
        raise ConfigError("--width and --width_multiplier: leave one out")
    if FLAGS.width is not None or FLAGS.width_multiplier is None:
        return FLAGS.width
    own = getattr(build(model), "width", None)
    return own and max(1, round(FLAGS.width_multiplier * own))
