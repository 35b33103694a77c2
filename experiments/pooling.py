"""Overlapping max pooling is no worse than plain, a strided convolution no worse than either, means no better.

    ./launch.sh pooling                                              # real digits, minutes on two cores
    ./launch.sh pooling --model=lenet5_full --poolings=max,mean,trainable
    ./launch.sh pooling --dataset=cifar10 --data_dir=DIR --model=vgg11 --width=16 --epochs=20

Krizhevsky et al. 2012, 3.4: overlapping takes 0.4 points from top-1 and 0.3 from top-5 error on ImageNet. Springenberg
et al. 2015, Table 3: a strided convolution in the place of each pooling, no worse on CIFAR-10. It has more parameters.
Here: the figures and tables under experiments/results/pooling.
"""

from absl import flags

from cnn_jax.studies.factors import POOLING
from experiments.flags import launcher, sweep

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(sweep)
flags.DEFINE_string("model", "vgg11", "Network: one of cnn_jax.models.MODELS, or plain or resnet and a depth 6n+2.")
flags.DEFINE_list(
    "poolings",
    ["max", "mean", "overlapping", "strided"],
    "How maps are made smaller: max, mean, overlapping, strided, or LeNet-5's trainable.",
)
FLAGS.set_default("workdir", "runs/pooling")


def main() -> int:
    return sweep.run("pooling", [FLAGS.model], {POOLING.field: FLAGS.poolings})


if __name__ == "__main__":
    launcher.launch(main)
