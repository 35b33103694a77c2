"""What goes wrong with depth: gradients that vanish, responses of layers, lesions, and deeper nets built by hand.

    ./launch.sh depth_diagnostics --workdir=runs/depth_sweep        # the sweep's own checkpoints, which it only reads
    ./launch.sh depth_diagnostics --workdir=runs/begin --at_init=sigmoid,relu_bn,residual --depths=8,20,44,56
    ./launch.sh depth_diagnostics --weights=FILE --model=resnet20 --source=akamaster --dataset=cifar10 --data_dir=DIR

Veit et al. 2016: a residual net loses little with a block, VGG is left guessing. He et al. 2016, Section 1: a deeper
plain net need not be worse, for identities would do; Fig. 7: residual nets respond less. Writes figures and claims into
WORKDIR/diagnostics; no network is examined twice.
"""

from absl import flags

from cnn_jax.runner import load_config_dataset, load_dataset
from cnn_jax.studies import depth as depth_diagnostics
from cnn_jax.studies.depth import measure as study
from cnn_jax.train import devices
from cnn_jax.train.record import read_runs
from experiments.flags import launcher, trained
from experiments.flags.numbers import parse_integers

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(trained)
flags.DEFINE_string("workdir", None, "A sweep's folder, runs/depth_sweep; of --weights runs/depth_diagnostics.")
flags.DEFINE_list(
    "at_init", list(study.INITIAL_NETWORKS), "Networks whose gradients before training are compared, or none."
)
flags.DEFINE_list("depths", ["8", "20", "44"], "Their depths, each 6n+2.")
flags.DEFINE_list("seeds", ["0", "1", "2"], "Their seeds; a verdict needs three.")
flags.DEFINE_integer("examples", None, "Only the first so many test images, for lesions and responses.", lower_bound=1)
flags.DEFINE_integer("draws", 10, "How often several blocks are drawn to be removed together.", lower_bound=0)
flags.DEFINE_integer("batch_size", 128, "Images the network sees at once.", lower_bound=1)


def main() -> None:
    layout = devices.make_layout(FLAGS.parallel, FLAGS.devices)
    options = study.Options(layout, FLAGS.batch_size, FLAGS.examples, draws=FLAGS.draws, progress=FLAGS.progress)
    if FLAGS.weights or FLAGS.run:
        network, dataset, about = trained.network_and_data()
        name = f"{about['model']} {about.get('source') or launcher.expand_path(FLAGS.run).name}"
        file = study.diagnostics_file(launcher.expand_path(FLAGS.workdir or "runs/depth_diagnostics"))
        study.measure_network(file, name, network, dataset, options, about["model"])
    else:
        workdir = launcher.expand_path(FLAGS.workdir or "runs/depth_sweep")
        runs = read_runs(workdir) if not FLAGS.at_init or any(workdir.glob("*/config.json")) else []
        if FLAGS.at_init:
            dataset = load_dataset(FLAGS.dataset or "digits", 0, FLAGS.data_dir, FLAGS.download)
            configs = study.initial_configs(FLAGS.at_init, parse_integers("depths"), parse_integers("seeds"), dataset)
            study.measure_initial(study.diagnostics_file(workdir), configs, dataset, FLAGS.progress)
        file = study.diagnostics_file(workdir)
        study.measure_runs(file, runs, lambda run: load_config_dataset(run, FLAGS.data_dir, FLAGS.download), options)
    print(depth_diagnostics.write(file.parents[1]))


if __name__ == "__main__":
    launcher.launch(main)
