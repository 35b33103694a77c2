"""Images a second that our loader decodes and crops, beside PyTorch's DataLoader with torchvision, in alternation.

    ./launch.sh input_benchmark --dataset=flowers17 --data_dir=DIR                            # ours alone
    EXTRAS=bench ./launch.sh input_benchmark --dataset=flowers17 --data_dir=DIR --peer=torch

DIR holds an image folder, flowers17/train/<class>/*. Time it on a machine that does nothing else.
Here: experiments/results/input_benchmark.
"""

import shlex
import sys
from pathlib import Path

from absl import flags

from cnn_jax.benchmark import input as loading
from cnn_jax.benchmark.turns import InputWorkload, require_peer
from cnn_jax.config import ConfigError
from cnn_jax.data import load
from cnn_jax.data.sources import folder as image_folder
from cnn_jax.data.sources import tfds
from cnn_jax.train.record import require_writable
from experiments.flags import launcher
from experiments.flags.numbers import parse_integers

FLAGS = flags.FLAGS
flags.DEFINE_string("dataset", None, "An image folder in data_dir.", required=True)
flags.DEFINE_string("data_dir", None, "The folder that it is in; by default TFDS's own, ~/tensorflow_datasets.")
flags.DEFINE_integer("size", 224, "Pixels a side of the crops.", lower_bound=1)
flags.DEFINE_integer("batch_size", 64, "Images a batch.", lower_bound=1)
flags.DEFINE_list(
    "workers", ["0", "1", "2"], "Processes that decode, each number a row; ours has threads where it is 0."
)
flags.DEFINE_list("pixels", ["uint8", "normalized"], "As they come, or float32, less the mean, by the deviation.")
flags.DEFINE_integer("batches", 60, "Batches timed in a turn.", lower_bound=1)
flags.DEFINE_integer("rounds", 5, "Turns of each side.", lower_bound=1)
flags.DEFINE_enum("peer", None, list(loading.PEERS), "What to time ours beside, in alternation.")
flags.DEFINE_bool("progress", True, "Draw progress bars.")
flags.DEFINE_string("workdir", "runs/input_benchmark", "Where the table goes.")


def main() -> None:
    require_peer(FLAGS.peer, "input_benchmark", ("torch", "torchvision"))
    folder = Path(tfds.data_folder(FLAGS.data_dir), FLAGS.dataset)
    if not image_folder.has(folder.name, str(folder.parent)) or not set(FLAGS.pixels) <= {"uint8", "normalized"}:
        raise ConfigError(
            f"--dataset={FLAGS.dataset} is no image folder of --data_dir, or --pixels is not uint8, normalized"
        )
    load(folder.name, folder.parent, streamed=True)
    workdir = require_writable(launcher.expand_path(FLAGS.workdir))
    settings = [(workers, pixels) for pixels in FLAGS.pixels for workers in parse_integers("workers")]
    workloads = [InputWorkload(str(folder), FLAGS.batch_size, FLAGS.size, *setting) for setting in settings]
    rows = loading.measure(workloads, FLAGS.peer, FLAGS.rounds, FLAGS.batches, FLAGS.progress)
    command = shlex.join(["./launch.sh", "input_benchmark", *sys.argv[1:]])
    print(loading.write(rows, workloads[0], FLAGS.peer, command, workdir))


if __name__ == "__main__":
    launcher.launch(main)
