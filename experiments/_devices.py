"""Flags of whatever computes: its devices."""

from absl import flags

flags.DEFINE_enum("parallel", "auto", ["auto", "jit", "pmap"], "jit, pmap, or auto: jit on one device, else pmap.")
flags.DEFINE_integer("devices", None, "How many devices; on CPU ./launch.sh makes them. All, by default.")
flags.DEFINE_bool("progress", True, "Draw progress bars.")
