"""Other people's weights as a checkpoint that every experiment begins with, and back.

    ./launch.sh convert --model=resnet20 --weights=FILE --source=akamaster --workdir=runs/akamaster20
    ./launch.sh train --model=resnet20 --dataset=cifar10 --data_dir=DIR --init_from=runs/akamaster20
    ./launch.sh convert --model=resnet20 --back=runs/train/NAME --source=akamaster --weights=new.safetensors

The tensors and their preprocessing (mean and deviation) go over unchanged; --back writes what a checkpoint or a run of
ours holds as safetensors, under the source's names.
"""

import hashlib

from absl import flags

from cnn_jax import weights
from cnn_jax.config import ConfigError
from cnn_jax.evaluation import networks
from cnn_jax.train.record import require_writable
from experiments.flags import data as data_flags
from experiments.flags import launcher
from experiments.flags import weights as weights_flags

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(weights_flags)
flags.adopt_module_key_flags(data_flags)
flags.DEFINE_string("back", None, "A converted checkpoint or a run folder to write as --weights.")
flags.DEFINE_string("workdir", "runs/converted", "The checkpoint's folder, a new one.")


def main() -> None:
    if None in (FLAGS.model, FLAGS.weights, FLAGS.source):
        raise ConfigError("give --model, --weights and --source")
    file, folder = launcher.expand_path(FLAGS.weights), launcher.expand_path(FLAGS.workdir)
    if FLAGS.back is not None:
        network = networks.load(launcher.expand_path(FLAGS.back), read_dataset=data_flags.read_dataset)
        weights.save(file, FLAGS.model, FLAGS.source, network)
        print(file)
        return
    network = networks.load(file, FLAGS.model, FLAGS.source, ignore_surplus=FLAGS.ignore_surplus)
    about = {"source": FLAGS.source, "file": file.name}
    about |= {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()} if file.is_file() else {}
    require_writable(folder.parent)
    networks.save(folder, FLAGS.model, network, about)
    print(folder)


if __name__ == "__main__":
    launcher.launch(main)
