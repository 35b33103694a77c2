"""Test a trained network, other people's or our own: one crop, ten, 144 or dense; a table, and a last line of JSON.

    ./launch.sh evaluate --model=resnet20 --weights=FILE --source=akamaster --dataset=cifar10 --data_dir=DIR
    ./launch.sh evaluate --run=runs/train/NAME --data_dir=DIR --split=train
    ./launch.sh evaluate --model=squeezenet1_1 --weights=FILE --source=torchvision --image=cat.jpg --crops=10

Writes the accuracy of each class, which is taken for which, and the surest mistakes into the workdir.
Published, CIFAR-10 test error: akamaster's resnet20 8.27 %, resnet32 7.37 %; a-martyn's plain20 9.69 %.
Here: 8.27, 7.37 and 9.69 % on all 10,000 images, half a minute each on two cores.
"""

from absl import flags

from cnn_jax import evaluation
from cnn_jax.config import ConfigError
from cnn_jax.evaluation import predict, printing, writing
from cnn_jax.train import devices, processes
from cnn_jax.train.record import require_writable
from experiments.flags import launcher, trained
from experiments.flags import protocol as protocol_flags

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(trained)
flags.adopt_module_key_flags(protocol_flags)
flags.DEFINE_string("split", "test", "Which split: test, train, or a run's validation.")
flags.DEFINE_integer("examples", None, "Only the first so many of the split.", lower_bound=1)
flags.DEFINE_integer("batch_size", 128, "Images the network sees at once, all crops counted.", lower_bound=1)
flags.DEFINE_bool("recompute_batch_norm", False, "Batch-norm statistics of the training split, recomputed first.")
flags.DEFINE_string("workdir", None, "Where tables, confusion and mistakes go; by default runs/evaluate/NAME_SPLIT.")
flags.DEFINE_string("image", None, "In place of a data set: print the five likeliest classes of this image file.")


def main() -> None:
    layout = devices.make_layout(FLAGS.parallel, FLAGS.devices)
    options = layout, FLAGS.batch_size, FLAGS.progress, FLAGS.decode_workers
    if FLAGS.image is not None:
        network, file = trained.load_network(), str(launcher.expand_path(FLAGS.image))
        printing.print_likeliest(predict.predict(network, [file], protocol_flags.make_protocol(network), *options))
        return
    network, dataset, about = trained.network_and_data(streamed=True)
    if FLAGS.split not in dataset.splits:
        raise ConfigError(f"--split={FLAGS.split}: {dataset.name} has {', '.join(dataset.splits)}")
    protocol = protocol_flags.make_protocol(network)
    workdir = require_writable(launcher.expand_path(FLAGS.workdir or f"runs/evaluate/{trained.name()}_{FLAGS.split}"))
    examples = dataset.first(FLAGS.split, FLAGS.examples)
    if FLAGS.recompute_batch_norm:
        if dataset.streamed:
            raise ConfigError("--recompute_batch_norm wants the training split in memory, and this one is streamed")
        train = dataset.splits["train"]["image"]
        network = evaluation.recompute_batch_norm(network, train, layout, FLAGS.batch_size, FLAGS.progress)
    answers = evaluation.answer(network, examples, protocol, *options, label=trained.label())
    names, title = network.class_names, f"{about.get('model') or trained.name()} on {dataset.name}, {FLAGS.split}"
    print(processes.run_on_leader(lambda: writing.write(workdir, answers, names, examples, title)), end="\n\n")
    about |= {"dataset": dataset.name, "split": FLAGS.split, "recomputed_batch_norm": FLAGS.recompute_batch_norm}
    printing.print_errors(about | {"parameters": network.parameters}, protocol, FLAGS.split, answers.means)


if __name__ == "__main__":
    launcher.launch(main)
