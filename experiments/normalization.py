"""Batch norm trains better than nothing; local response normalisation contributes little.

    ./launch.sh normalization                                        # real digits, minutes on two cores
    ./launch.sh normalization --model=resnet20 --workdir=runs/normalization_resnet20
    ./launch.sh normalization --dataset=cifar10 --data_dir=DIR --model=plain20 --epochs=20

One network with no normalisation, with LRN and with batch norm, all else alike: the learning rate too, which is the
recipe's, found with the network's own. A network that does not train without is what batch norm is for, and is shown.
Krizhevsky et al. 2012, 3.3: LRN takes 2 points from the test error on CIFAR-10 (13 % to 11 %). Simonyan and Zisserman
2015, 4.1: LRN improves nothing. Ioffe and Szegedy 2015: batch norm needs a fourteenth of the steps.
Here: the figures and tables under experiments/results/normalization.
"""

from absl import flags

from cnn_jax.studies.factors import NORMALIZATION
from experiments.flags import launcher, sweep

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(sweep)
flags.DEFINE_string("model", "vgg11", "Network: one of cnn_jax.models.MODELS, or plain or resnet and a depth 6n+2.")
flags.DEFINE_list("normalizations", ["none", "lrn", "bn"], "What convolutions are followed by: none, lrn, bn.")
FLAGS.set_default("workdir", "runs/normalization")


def main() -> int:
    return sweep.run("normalization", [FLAGS.model], {NORMALIZATION.field: FLAGS.normalizations})


if __name__ == "__main__":
    launcher.launch(main)
