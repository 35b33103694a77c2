"""Rebuild a study's tables, figures, claims and page from its run folders alone.

    ./launch.sh report --workdir=runs/depth_sweep
    ./launch.sh report --workdir=runs/cifar10 --overlay=cifar10_fig6.csv

The folder tells which study it is. Writes results.csv, figures, claims.json and report.html into it; trains nothing.
"""

from absl import flags

from cnn_jax import studies
from cnn_jax.config import ConfigError
from experiments.flags import launcher

FLAGS = flags.FLAGS
flags.DEFINE_enum("study", None, list(studies.STUDIES), "Which study; by default the one that the workdir holds.")
flags.DEFINE_string("workdir", "runs/depth_sweep", "The folder a sweep wrote; of --study alone its own under runs.")
flags.DEFINE_string("overlay", None, "CSV of published curves to lay over Fig. 6.")


def main() -> None:
    of_study = FLAGS.study and not FLAGS["workdir"].present
    workdir = launcher.expand_path(f"runs/{FLAGS.study}" if of_study else FLAGS.workdir)
    study, there = FLAGS.study or studies.find(workdir), studies.read(workdir)
    if study != there is not None and study != "depth_diagnostics":  # its page is in a folder below a depth_sweep's
        raise ConfigError(f"--study={study}: {workdir} holds the study {there}; leave --study out")
    if FLAGS.overlay and study != "depth_sweep":
        raise ConfigError(f"--overlay is for Fig. 6 of depth_sweep; {study} has none")
    overlay = {"overlay": FLAGS.overlay} if FLAGS.overlay else {}
    print(studies.write(study, workdir, **overlay))


if __name__ == "__main__":
    launcher.launch(main)
