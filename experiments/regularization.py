"""L1 drives weights sparse, L2 leaves them small and diffuse, and is usually better (Goodfellow et al. 2016, 7.1).

    ./launch.sh regularization                                       # real digits, resnet20, half an hour on two cores
    ./launch.sh regularization --methods=none,l1,l2 --strengths=l1=1e-4,1e-3 --train_examples=100,300
    ./launch.sh regularization --dataset=cifar10 --data_dir=DIR --model=resnet8 --train_examples=2000 --validation=2000

One regulariser at a time, from a recipe without any. The strength of each is chosen on the validation split.
Here: the figures and tables under experiments/results/regularization_*.
"""

from absl import flags

from cnn_jax import sweep
from cnn_jax.models import fields, find
from cnn_jax.train import regularizers
from experiments import _launcher as launcher
from experiments import _runs as runs
from experiments._settings import settings

METHODS = ["none", "l1", "l2", "elastic_net", "l1_proximal", "dropout", "label_smoothing"]

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(runs)
flags.DEFINE_string("model", "resnet20", "Network: one of cnn_jax.models.MODELS, or plain or resnet and a depth 6n+2.")
flags.DEFINE_list("methods", METHODS, f"Regularisers: {', '.join(regularizers.REGULARIZERS)}.")
flags.DEFINE_multi_string("strengths", [], "Strengths of a method in place of its own: l1=1e-5,1e-4; repeatable.")
flags.DEFINE_list("train_examples", ["100", "300", "0"], "Examples to learn from, drawn by the seed; 0 is all.")
flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds.")
flags.DEFINE_string("workdir", "runs/regularization", "Where the runs go.")
flags.DEFINE_bool("plan", False, "Print")
FLAGS.set_default("validation", 237)


def main() -> int:
    workdir = launcher.path(FLAGS.workdir)
    cells = [regularizers.assign(*cell) for cell in regularizers.parse(FLAGS.methods, FLAGS.strengths)]
    if "dropout" not in FLAGS.methods and "dropout" not in fields(find(FLAGS.model)):
        cells = [cell | {"model.dropout": None} for cell in cells]
    axes = {
        tuple(regularizers.OFF): [tuple(cell.values()) for cell in cells],
        "data.flip": [False],
        "data.train_examples": runs.integers("train_examples"),
        "seed": runs.integers("seeds"),
    }
    configs = runs.configs([FLAGS.model], axes, workdir)
    outcomes = sweep.run(configs, workdir, settings())
    return int(any(outcome.error for outcome in outcomes))


if __name__ == "__main__":
    launcher.launch(main)
