"""L1 drives weights sparse, L2 leaves them small and diffuse, and is usually better (Goodfellow et al. 2016, 7.1).

    ./launch.sh regularization                                       # real digits, resnet20, half an hour on two cores
    ./launch.sh regularization --methods=none,l1,l2 --strengths=l1=1e-4,1e-3 --train_examples=100,300
    ./launch.sh regularization --dataset=cifar10 --data_dir=DIR --model=resnet8 --train_examples=2000 --validation=2000

One regulariser at a time, from a recipe without any. The strength of each is chosen on the validation split.
Here: the figures and tables under experiments/results/regularization_*.
"""

from pathlib import Path

from absl import flags

from cnn_jax import runner, sweep
from cnn_jax.config import ConfigError
from cnn_jax.evaluation import networks
from cnn_jax.models import get_constructor, model_fields
from cnn_jax.studies import regularization
from cnn_jax.studies.regularization import methods as regularizers
from cnn_jax.studies.regularization import weights
from experiments.flags import launcher, runs
from experiments.flags import sweep as sweep_flags

METHODS = ["none", "l1", "l2", "elastic_net", "l1_proximal", "dropout", "label_smoothing"]
FLAGS = flags.FLAGS
flags.adopt_module_key_flags(sweep_flags)
flags.DEFINE_string("model", "resnet20", "Network: one of cnn_jax.models.MODELS, or plain or resnet and a depth 6n+2.")
flags.DEFINE_list("methods", METHODS, f"Regularisers: {', '.join(regularizers.REGULARIZERS)}.")
flags.DEFINE_multi_string("strengths", [], "Strengths of a method in place of its own: l1=1e-5,1e-4; repeatable.")
flags.DEFINE_list("train_examples", ["100", "300", "0"], "Examples to learn from, drawn by the seed; 0 is all.")
FLAGS.set_default("workdir", "runs/regularization")
FLAGS.set_default("validation", 237)


def measure(folder: Path) -> dict:
    config = networks.read_config(folder)
    dataset = runner.load_config_dataset(config, FLAGS.data_dir, FLAGS.download)
    return weights.measure(networks.load_run(folder, config, dataset)[0], dataset.splits["test"])


def report(workdir: Path) -> str:
    sweep.measure_runs(workdir, measure, FLAGS.progress)
    return regularization.write(workdir)


def main() -> int:
    if any(assignment.startswith("task=") for assignment in FLAGS.set):
        raise ConfigError("--set=task: what regularisation does is measured of classifiers; leave it out")
    cells = [regularizers.config_fields(*cell) for cell in regularizers.parse_methods(FLAGS.methods, FLAGS.strengths)]
    if "dropout" not in model_fields(get_constructor(FLAGS.model)):
        cells = [cell | {"model.dropout": cell["model.dropout"] or None} for cell in cells]
    regularized = {tuple(regularizers.DISABLED): [tuple(cell.values()) for cell in cells]}
    axes = regularized | {"data.flip": [False], "data.train_examples": runs.parse_integers("train_examples")}
    return sweep_flags.run("regularization", [FLAGS.model], axes, report)


if __name__ == "__main__":
    launcher.launch(main)
