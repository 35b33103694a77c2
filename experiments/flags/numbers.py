"""Lists of numbers, as flags give them."""

from absl import flags

from cnn_jax.config import ConfigError

FLAGS = flags.FLAGS


def parse_integers(flag: str) -> list[int]:
    """The numbers of a list flag; raises ConfigError."""
    texts: list[str] = FLAGS.flag_values_dict()[flag]
    try:
        numbers = [int(text) for text in texts]
    except ValueError as error:
        raise ConfigError(f"--{flag}={','.join(texts)}: give whole numbers with commas between") from error
    if not numbers:
        raise ConfigError(f"--{flag} is empty")
    return numbers
