"""Rebuild a study's tables, figures, claims and page from its run folders alone.

    ./launch.sh report --workdir=runs/depth_sweep
    ./launch.sh report --study=pooling --workdir=runs/pooling
    ./launch.sh report --workdir=runs/cifar10 --overlay=cifar10_fig6.csv

Writes results.csv, the figures, claims.json and report.html into the workdir; trains nothing.
"""

from collections.abc import Callable
from functools import partial

from absl import flags

from cnn_jax.config import ConfigError
from cnn_jax.studies import architectures, degradation, factors, regularization
from cnn_jax.studies import depth as depth_diagnostics
from experiments.flags import launcher

STUDIES: dict[str, Callable[..., str]] = {"depth_sweep": degradation.write, "architectures": architectures.write}
STUDIES |= {"depth_diagnostics": depth_diagnostics.write, "regularization": regularization.write}
STUDIES |= {name: partial(factors.write, factor=factor) for name, factor in factors.FACTORS.items()}

FLAGS = flags.FLAGS
flags.DEFINE_enum("study", "depth_sweep", list(STUDIES), "Which study the folder holds.")
flags.DEFINE_string("workdir", None, "The folder a sweep wrote; by default that of the study, under runs.")
flags.DEFINE_string("overlay", None, "CSV of published curves to lay over Fig. 6.")


def main() -> None:
    workdir = launcher.path(FLAGS.workdir or f"runs/{FLAGS.study}")
    if FLAGS.overlay and FLAGS.study != "depth_sweep":
        raise ConfigError(f"--overlay is for Fig. 6 of depth_sweep; --study={FLAGS.study} has none")
    overlay = {"overlay": FLAGS.overlay} if FLAGS.overlay else {}
    print(STUDIES[FLAGS.study](workdir, **overlay))


if __name__ == "__main__":
    launcher.launch(main)
