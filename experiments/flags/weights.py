"""Flags of other people's weights."""

from absl import flags

from cnn_jax.weights import SOURCES

flags.DEFINE_string("weights", None, "Other people's weights, a file or folder; with --model and --source.")
flags.DEFINE_string("model", None, "Network of --weights, such as resnet20 or squeezenet1_1.")
flags.DEFINE_string("source", None, f"Whose --weights, for names and preprocessing: {', '.join(SOURCES)}.")
flags.DEFINE_list("ignore_surplus", [], "Tensors of --weights, or beginnings of their names, that are no layer's.")
