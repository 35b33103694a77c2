"""Our training step timed beside PyTorch's, convolution by convolution, and how cost grows with depth.

    ./launch.sh benchmark --models=resnet20,resnet56,plain20                     # ours alone
    EXTRAS=bench ./launch.sh benchmark --models=resnet20 --peer=torch            # PyTorch's step in alternation
    ./launch.sh benchmark --models=plain20,plain32,plain44,resnet20,resnet32,resnet44      # how cost grows
    ./launch.sh benchmark --convolutions                                         # our CPU kernels beside XLA's

Time it on a machine that does nothing else. Here: experiments/results/benchmark.
"""

import importlib.util
import json
import os
import platform

from absl import flags
from tqdm import tqdm

from cnn_jax import models
from cnn_jax.benchmark import convolutions, growth
from cnn_jax.benchmark import measure as measuring
from cnn_jax.benchmark.ours import configure
from cnn_jax.benchmark.turns import Workload
from cnn_jax.config import ConfigError
from experiments import _launcher as launcher

FLAGS = flags.FLAGS
flags.DEFINE_list("models", ["resnet20"], "Networks: plain or resnet, and a depth 6n+2.")
flags.DEFINE_integer("batch_size", 128, "Images a step.", lower_bound=1)
flags.DEFINE_integer("image_size", 32, "Pixels a side.", lower_bound=1)
flags.DEFINE_integer("steps", 20, "Steps timed, of each side.", lower_bound=1)
flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Compute type.")
flags.DEFINE_enum("peer", None, ["torch"], "What to time ours beside, in alternation.")
flags.DEFINE_string("profile", None, "Folder for a trace of three steps, which TensorBoard and Perfetto open.")
flags.DEFINE_bool("convolutions", False, "Time single convolutions, ours and XLA's, in place of training steps.")
flags.DEFINE_string("workdir", "runs/benchmark", "Where the table and the figure go.")


def main() -> None:
    if FLAGS.convolutions:
        print(convolutions.table(FLAGS.batch_size, FLAGS.steps))
        return
    if FLAGS.peer == "torch" and importlib.util.find_spec("torch") is None:
        raise ConfigError("--peer=torch: PyTorch is not installed; EXTRAS=bench ./launch.sh benchmark ... installs it")
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    sizes = (FLAGS.batch_size, FLAGS.image_size, FLAGS.width or 16, FLAGS.dtype, threads, FLAGS.parallel, FLAGS.devices)
    workloads = [Workload(name, *sizes, tuple(FLAGS.set)) for name in FLAGS.models]
    for workload in workloads:
        models.parse(workload.model)
        configure(workload)
    measured = []
    for workload in tqdm(workloads, unit="model", disable=not FLAGS.progress):
        profile = FLAGS.profile and str(launcher.path(FLAGS.profile) / workload.model)
        measured.append(measuring.measure(workload, FLAGS.peer, FLAGS.steps, profile))
    machine = f"batch {FLAGS.batch_size}, {FLAGS.image_size} px, {FLAGS.dtype}, {platform.machine()}, {threads} CPUs"
    fits = growth.write(measured, launcher.path(FLAGS.workdir), machine)
    print("\n".join([machine, measuring.table(measured), *fits]))
    for m in measured:
        print(json.dumps(m._asdict()))


if __name__ == "__main__":
    launcher.launch(main)
