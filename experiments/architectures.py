"""Every family of the line on one data set under one budget: error, parameters, multiply-accumulates, time.

    ./launch.sh architectures                                            # real digits, a quarter of the width, minutes
    ./launch.sh architectures --dataset=mnist --data_dir=DIR --epochs=3
    ./launch.sh architectures --dataset=cifar10 --data_dir=DIR --width_multiplier=1 --epochs=100        # accelerators

Each takes its own recipe (presets.py) for as many epochs, and the stem for images of this size; both are recorded.
Here: the table and figure under experiments/results/architectures_*.
"""

from absl import flags

from experiments.flags import launcher, sweep

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(sweep)
FAMILIES = ["lenet5", "alexnet", "vgg11", "googlenet", "squeezenet1_1", "plain20", "resnet20", "resnet18"]
flags.DEFINE_list("models", FAMILIES, "Networks, any of cnn_jax.models.MODELS or the CIFAR family.")
FLAGS.set_default("workdir", "runs/architectures")
FLAGS.set_default("width_multiplier", 0.25)


def main() -> int:
    return sweep.run("architectures", FLAGS.models, {})


if __name__ == "__main__":
    launcher.launch(main)
