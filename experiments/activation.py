"""Networks with ReLU train faster than those with saturating nonlinearities: lower training error in as many steps.

    ./launch.sh activation                                           # real digits, minutes on two cores
    ./launch.sh activation --model=plain20 --activations=tanh,relu
    ./launch.sh activation --dataset=cifar10 --data_dir=DIR --epochs=20

Krizhevsky et al. 2012, 3.1 and Fig. 1: ReLU reaches 25 % training error on CIFAR-10 in a sixth of the epochs of tanh.
One recipe and one initialisation for all; theirs chose a learning rate for each.
Here: the figures and tables under experiments/results/activation.
"""

from absl import flags

from cnn_jax.studies.factors import ACTIVATION
from experiments.flags import launcher, sweep

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(sweep)
flags.DEFINE_string(
    "model", "lenet5_full", "Network: one of cnn_jax.models.MODELS, or plain or resnet and a depth 6n+2."
)
flags.DEFINE_list(
    "activations", ["sigmoid", "tanh", "scaled_tanh", "relu"], "The nonlinearity: sigmoid, tanh, scaled_tanh, relu."
)
FLAGS.set_default("workdir", "runs/activation")


def main() -> int:
    return sweep.run("activation", [FLAGS.model], {ACTIVATION.field: FLAGS.activations})


if __name__ == "__main__":
    launcher.launch(main)
