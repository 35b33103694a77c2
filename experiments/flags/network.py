"""Flags of whatever trains a network: its config, its devices."""

from absl import flags

from experiments.flags import devices

flags.adopt_module_key_flags(devices)

flags.DEFINE_multi_string("set", [], "Change a config field, for instance --set=optim.learning_rate=0.05; repeatable.")
flags.DEFINE_integer("width", None, "Channels of the first stage.")
