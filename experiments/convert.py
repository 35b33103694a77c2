"""Other people's weights as a checkpoint that every experiment begins with, and back.

    ./launch.sh convert --model=resnet20 --weights=FILE --source=akamaster --workdir=runs/akamaster20
    ./launch.sh train --model=resnet20 --dataset=cifar10 --data_dir=DIR --init_from=runs/akamaster20
    ./launch.sh convert --model=resnet20 --back=runs/train/NAME --source=akamaster --weights=new.safetensors

The tensors and their preprocessing (mean and deviation) go over unchanged; --back writes what a checkpoint or a run of
ours holds as safetensors, under the source's names.
"""

import hashlib
from dataclasses import asdict, replace

from absl import flags

from cnn_jax import models, weights
from cnn_jax.config import ConfigError, Model
from cnn_jax.models.residual import unstack_blocks
from cnn_jax.train import variables as stored
from cnn_jax.train.record import require_writable
from experiments.flags import launcher

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "Network, such as resnet20 or squeezenet1_1.")
flags.DEFINE_string("weights", None, "File of weights; with --back the one to write, safetensors.")
flags.DEFINE_string("source", None, f"Whose names: {', '.join(weights.SOURCES)}.")
flags.DEFINE_string("back", None, "A converted checkpoint or a run folder to write as --weights.")
flags.DEFINE_string("workdir", "runs/converted", "The checkpoint's folder, a new one.")


def main() -> None:
    if None in (FLAGS.model, FLAGS.weights, FLAGS.source):
        raise ConfigError("give --model, --weights and --source")
    file, folder = launcher.expand_path(FLAGS.weights), launcher.expand_path(FLAGS.workdir)
    if FLAGS.back is not None:
        variables, about = stored.load(launcher.expand_path(FLAGS.back))
        if about["model"]["name"] != FLAGS.model:
            raise ConfigError(f"--back={FLAGS.back} is a {about['model']['name']}, not a {FLAGS.model}")
        weights.save(file, FLAGS.model, FLAGS.source, unstack_blocks(variables))
        print(file)
        return
    variables, preprocess = weights.load(file, FLAGS.model, FLAGS.source)
    settings = replace(Model(name=FLAGS.model), **weights.options(FLAGS.model, FLAGS.source))
    model = models.complete(settings, models.build(FLAGS.model).image_size)
    about = {"source": FLAGS.source, "file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    require_writable(folder.parent)
    stored.save(folder, variables, about | {"model": asdict(model), "preprocess": preprocess._asdict()})
    print(folder)


if __name__ == "__main__":
    launcher.launch(main)
