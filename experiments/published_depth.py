"""Other people's plain and residual networks, given as files: what they err against depth.

    ./launch.sh published_depth --dataset=cifar10 --data_dir=DIR \\
        --nets=plain20:amartyn:plain20.safetensors,plain32:amartyn:plain32.safetensors,resnet20:akamaster:...

Each is model:source:file. Paper, CIFAR-10 test error %, residual: 8.75 (20)  7.51 (32)  7.17 (44)  6.97 (56).
Here: the table and figure under experiments/results/published_depth.
"""

from absl import flags

from cnn_jax import data, evaluation
from cnn_jax.config import ConfigError
from cnn_jax.evaluation import networks
from cnn_jax.studies import published_depth as published
from cnn_jax.train import devices
from cnn_jax.train.record import require_writable
from experiments.flags import data as data_flags
from experiments.flags import devices as devices_flags
from experiments.flags import launcher

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(data_flags)
flags.adopt_module_key_flags(devices_flags)
flags.DEFINE_list("nets", [], "Networks, each as model:source:file.")
flags.DEFINE_string("dataset", "cifar10", "Data set whose test split they are tested on.")
flags.DEFINE_integer("batch_size", 250, "Images a network sees at once.", lower_bound=1)
flags.DEFINE_string("workdir", "runs/published_depth", "Where the table and the figure go.")


def main() -> None:
    nets = [tuple(net.split(":", 2)) for net in FLAGS.nets]
    if not nets or any(len(net) < 3 for net in nets):
        raise ConfigError(
            f"--nets={','.join(FLAGS.nets)}: write model:source:file, for instance resnet20:akamaster:FILE"
        )
    loaded = [networks.load(launcher.expand_path(file), model, source) for model, source, file in nets]
    workdir, layout = (
        require_writable(launcher.expand_path(FLAGS.workdir)),
        devices.make_layout(FLAGS.parallel, FLAGS.devices),
    )
    dataset = data.load(FLAGS.dataset, FLAGS.data_dir, download=FLAGS.download)
    evaluated = []
    for (model, source, _), network in zip(nets, loaded, strict=True):
        networks.require_fit(network, dataset)
        protocol, test = evaluation.choose_protocol(network), dataset.splits["test"]
        result = evaluation.evaluate(network, test, protocol, layout, FLAGS.batch_size, FLAGS.progress)
        facts = (FLAGS.dataset, len(test["label"]), network.parameters, result["error"])
        evaluated.append(published.Evaluated(model, source, *facts))
    print(published.write(evaluated, workdir))


if __name__ == "__main__":
    launcher.launch(main)
