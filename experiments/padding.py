"""Without padding test error is higher; with what an image is padded makes little difference.

    ./launch.sh padding                                  # real digits on 16 pixels, minutes on two cores
    ./launch.sh padding --model=resnet20 --paddings=zero,symmetric,circular
    ./launch.sh padding --dataset=cifar10 --data_dir=DIR --epochs=20

Without padding maps shrink in every convolution, so that images must be large enough, and the last maps are smaller.
The 8x8 digits are centred on a black canvas of 16 pixels, for all values alike; --set=data.canvas=0 takes it away.
Here: the figures and tables under experiments/results/padding.
"""

from absl import flags

from cnn_jax.studies.factors import PADDING
from experiments.flags import launcher, sweep

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(sweep)
flags.DEFINE_string(
    "model", "lenet5_full", "Network: one of cnn_jax.models.MODELS, or plain or resnet and a depth 6n+2."
)
flags.DEFINE_list(
    "paddings",
    ["zero", "symmetric", "circular", "valid"],
    "What is beyond the edge: zero, symmetric, circular, or valid: nothing.",
)
FLAGS.set_default("workdir", "runs/padding")


def main() -> int:
    canvas = {"data.canvas": [16]} if FLAGS.dataset == "digits" else {}
    return sweep.run("padding", [FLAGS.model], {PADDING.field: FLAGS.paddings, **canvas})


if __name__ == "__main__":
    launcher.launch(main)
