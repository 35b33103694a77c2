"""Without padding test error is higher; with what an image is padded makes little difference.

    ./launch.sh padding --set=data.canvas=16                         # real digits on 16 pixels, minutes on two cores
    ./launch.sh padding --model=resnet20 --paddings=zero,symmetric,circular
    ./launch.sh padding --dataset=cifar10 --data_dir=DIR --epochs=20

Without padding maps shrink in every convolution, so that images must be large enough, and the last maps are smaller.
Here: the figures and tables under experiments/results/padding.
"""

from functools import partial

from absl import flags

from cnn_jax.report import factors
from experiments import _launcher as launcher
from experiments import _sweep

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(_sweep)
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
    study = factors.PADDING
    return _sweep.run([FLAGS.model], {study.field: FLAGS.paddings}, partial(factors.write, factor=study))


if __name__ == "__main__":
    launcher.launch(main)
