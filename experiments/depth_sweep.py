"""Deeper plain networks train worse; deeper residual networks do not (He et al. 2016, Fig. 6 and Table 6).

    ./launch.sh depth_sweep                                          # real digits, minutes on two cores
    ./launch.sh depth_sweep --dataset=cifar10 --data_dir=DIR --depths=20,32,44,56,110    # the paper's: accelerators

Paper, CIFAR-10 test error %, residual: 8.75 (20)  7.51 (32)  7.17 (44)  6.97 (56)  6.43 (110).
Here: the figure and table under experiments/results/depth_sweep.
"""

from functools import partial

from absl import flags

from cnn_jax import studies
from cnn_jax.config import ConfigError, suggest
from cnn_jax.report.curves import read_overlay
from experiments.flags import launcher, runs, sweep

KINDS = {"plain": "plain", "residual": "resnet"}

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(sweep)
flags.DEFINE_list("kinds", list(KINDS), "Networks: plain, residual.")
flags.DEFINE_list("depths", ["8", "20", "44"], "Depths, each 6n+2.")
flags.DEFINE_string("overlay", None, "CSV of published curves to lay over Fig. 6.")
FLAGS.set_default("workdir", "runs/depth_sweep")


def main() -> int:
    for kind in FLAGS.kinds:
        if kind not in KINDS:
            raise ConfigError(f"--kinds: unknown kind {kind!r}; {suggest(kind, KINDS)}")
    names = [f"{KINDS[kind]}{depth}" for kind in FLAGS.kinds for depth in runs.parse_integers("depths")]
    if FLAGS.overlay:
        read_overlay(FLAGS.overlay)  # a file that cannot be drawn is told now, not after hours of training
    return sweep.run("depth_sweep", names, {}, partial(studies.write, "depth_sweep", overlay=FLAGS.overlay))


if __name__ == "__main__":
    launcher.launch(main)
