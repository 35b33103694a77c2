"""Flags of whatever computes with a network: its config, its devices."""

from absl import flags

flags.DEFINE_multi_string("set", [], "Change a config field, for instance --set=optim.learning_rate=0.05; repeatable.")
flags.DEFINE_integer("width", None, "Channels of the first stage.")
flags.DEFINE_float(
    "width_multiplier", None, "The paper's channels times this, in every stage; for networks with a width."
)
flags.DEFINE_enum("parallel", "auto", ["auto", "jit", "pmap"], "jit, pmap, or auto: jit on one device, else pmap.")
flags.DEFINE_integer("devices", None, "How many devices; on CPU ./launch.sh makes them. All, by default.")
flags.DEFINE_bool("progress", True, "Draw progress bars.")
