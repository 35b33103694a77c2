"""Flags of whatever computes: its devices and processes."""

from absl import flags

flags.DEFINE_enum("parallel", "auto", ["auto", "jit", "pmap"], "jit, pmap, or auto: jit on one device, else pmap.")
flags.DEFINE_integer(
    "devices", None, "How many devices of each process; on CPU ./launch.sh makes them. All, by default."
)
flags.DEFINE_bool("progress", True, "Draw progress bars.")
flags.DEFINE_integer("accumulate", 1, "Parts of each batch, one after another, where memory is short.", lower_bound=1)
flags.DEFINE_integer("processes", 1, "Processes of this run to start on this machine, to try it out.", lower_bound=1)
flags.DEFINE_bool("distributed", False, "Be one of the run's processes that SLURM, Open MPI or a TPU pod started.")
flags.DEFINE_string("coordinator_address", None, "Be one of the run's processes: host:port of process 0.")
flags.DEFINE_integer("num_processes", None, "With --coordinator_address: how many processes there are.")
flags.DEFINE_integer("process_id", None, "With --coordinator_address: which of them this is, from 0.")
flags.DEFINE_bool("deterministic", False, "Have GPUs compute the same bits each time, at some cost; it is recorded.")
