"""Our training step and evaluation timed beside PyTorch's, convolution by convolution, and how cost grows with depth.

    ./launch.sh benchmark --models=resnet20,resnet56,plain20                     # ours alone
    EXTRAS=bench ./launch.sh benchmark --models=resnet20 --peer=torch            # PyTorch's step in alternation
    ... --peer=torch --models=googlenet_tv,resnet18 --image_size=224 --batch_size=16 --inference    # its evaluation
    ./launch.sh benchmark --models=plain20,plain32,plain44,resnet20,resnet32,resnet44      # how cost grows
    ./launch.sh benchmark --convolutions                                         # our CPU kernels beside XLA's

Time it on a machine that does nothing else. Here: experiments/results/benchmark.
"""

import json

from absl import flags
from tqdm import tqdm

from cnn_jax.benchmark import convolutions, growth
from cnn_jax.benchmark import measure as measuring
from cnn_jax.benchmark.turns import Workload, cpu_threads, require_peer
from cnn_jax.train.record import require_writable
from experiments.flags import launcher, network

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(network)
flags.DEFINE_list("models", ["resnet20"], "Networks; beside a peer CIFAR's, lenet5_full and those of torchvision.")
flags.DEFINE_integer("batch_size", 128, "Images a step.", lower_bound=1)
flags.DEFINE_integer("image_size", 32, "Pixels a side.", lower_bound=1)
flags.DEFINE_integer("steps", 20, "Steps timed, of each side.", lower_bound=1)
flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Compute type.")
flags.DEFINE_enum("peer", None, list(measuring.PEERS), "What to time ours beside, in alternation.")
flags.DEFINE_bool("inference", False, "Evaluate, in place of training steps.")
flags.DEFINE_string("profile", None, "Folder for a trace of three steps, which TensorBoard and Perfetto open.")
flags.DEFINE_bool("convolutions", False, "Time single convolutions, ours and XLA's, in place of steps.")
flags.DEFINE_string("workdir", "runs/benchmark", "Where the table and the figure go.")


def main() -> None:
    if FLAGS.convolutions:
        print(convolutions.measure_table(FLAGS.batch_size, FLAGS.steps))
        return
    require_peer(FLAGS.peer, "benchmark", ("torch", "torchvision"))
    workdir = require_writable(launcher.expand_path(FLAGS.workdir))
    sizes = (FLAGS.batch_size, FLAGS.image_size, FLAGS.width, FLAGS.dtype, cpu_threads())
    spread = (FLAGS.parallel, FLAGS.devices, tuple(FLAGS.set))
    workloads = [Workload(name, *sizes, *spread, FLAGS.inference) for name in FLAGS.models]
    for workload in workloads:
        measuring.check(workload, FLAGS.peer)
    measured = []
    for workload in tqdm(workloads, unit="model", disable=not FLAGS.progress):
        profile = FLAGS.profile and str(launcher.expand_path(FLAGS.profile) / workload.model)
        measured.append(measuring.measure(workload, FLAGS.peer, FLAGS.steps, profile))
    title = measuring.title(workloads[0])
    print("\n".join([title, measuring.format_table(measured), *growth.write(measured, workdir, title)]))
    for m in measured:
        print(json.dumps(m._asdict()))


if __name__ == "__main__":
    launcher.launch(main)
