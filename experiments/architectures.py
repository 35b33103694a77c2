"""Every family of the line on one data set under one budget: error, parameters, multiply-accumulates, time.

    ./launch.sh architectures                                            # real digits, a quarter of the width, minutes
    ./launch.sh architectures --dataset=mnist --data_dir=DIR --epochs=3
    ./launch.sh architectures --dataset=cifar10 --data_dir=DIR --width_multiplier=1 --epochs=100        # accelerators

Each takes its own recipe (presets.py) for as many epochs, and the stem for images of this size; both are recorded.
Here: the table and figure under experiments/results/architectures_*.
"""

from absl import flags

from cnn_jax import sweep
from cnn_jax.report import architectures
from experiments import _launcher as launcher
from experiments import _runs as runs
from experiments._settings import settings

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(runs)
FAMILIES = ["lenet5", "alexnet", "vgg11", "googlenet", "squeezenet1_1", "plain20", "resnet20", "resnet18"]
flags.DEFINE_list("models", FAMILIES, "Networks, any of cnn_jax.models.MODELS or the CIFAR family.")
flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds.")
flags.DEFINE_string("workdir", "runs/architectures", "Where the runs, the table and the figure go.")
flags.DEFINE_bool("plan", False, "Print the grid with parameters, steps and an estimate of the time; run nothing.")
FLAGS.set_default("width_multiplier", 0.25)


def main() -> int:
    workdir = launcher.path(FLAGS.workdir)
    configs = runs.configs(FLAGS.models, {"seed": runs.integers("seeds")}, workdir)
    if FLAGS.plan:
        print(sweep.plan(configs, workdir, settings()))
        return 0
    outcomes = sweep.run(configs, workdir, settings())
    print(architectures.write(workdir))
    return int(any(outcome.error for outcome in outcomes))


if __name__ == "__main__":
    launcher.launch(main)
