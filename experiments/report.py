"""Rebuild a sweep's tables, figures, claims and page from its run folders alone.

    ./launch.sh report --workdir=runs/depth_sweep
    ./launch.sh report --workdir=runs/cifar10 --overlay=cifar10_fig6.csv

Writes results.csv, fig6, error_against_depth, claims.json and report.html into the workdir; trains nothing.
"""

from absl import flags

from cnn_jax.report import degradation
from experiments import _launcher as launcher

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", "runs/depth_sweep", "The folder a sweep wrote.")
flags.DEFINE_string("overlay", None, "CSV of published curves to lay over Fig. 6.")


def main() -> None:
    print(degradation.write(launcher.path(FLAGS.workdir), FLAGS.overlay))


if __name__ == "__main__":
    launcher.launch(main)
