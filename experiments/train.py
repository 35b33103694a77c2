"""Train one network by a published recipe; the same command continues where it was stopped.

    ./launch.sh train --model=resnet20                                       # real digits, a minute on two cores
    ./launch.sh train --model=resnet110 --dataset=cifar10 --data_dir=DIR     # the paper's 64k steps: an accelerator

Paper, CIFAR-10 test error: resnet20 8.75 %, resnet110 6.43 % (He et al. 2016, Table 6).
"""

from absl import flags

from cnn_jax import runner, sweep
from cnn_jax.config import ConfigError
from experiments.flags import launcher, recipe, runs
from experiments.flags import settings as settings_flags

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(runs)
flags.DEFINE_string("model", "resnet20", "Network: one of cnn_jax.models.MODELS, or plain or resnet and a depth 6n+2.")
flags.DEFINE_integer("seed", None, "Seed of the initial values, the order of the data and the augmentation, 0.")
flags.DEFINE_string("workdir", "runs/train", "Where the run folder goes.")
flags.DEFINE_string(
    "run", None, "Name of the run folder; by default made of the config, so that another config is another run."
)


def main() -> None:
    if FLAGS.seeds_in_parallel:
        raise ConfigError("--seeds_in_parallel: this page trains one seed; leave it out, or take depth_sweep")
    workdir = launcher.expand_path(FLAGS.workdir)
    (config,) = runs.make_configs([FLAGS.model], {"seed": [FLAGS.seed]} if FLAGS["seed"].present else {}, workdir)
    settings = settings_flags.make_settings()
    folder = workdir / FLAGS.run if FLAGS.run else next(iter(sweep.run_folders([config], workdir)))
    recipe.print_names([FLAGS.model])
    print(runner.parameter_table(config, settings))
    result = runner.run_one(config, folder, settings)
    print(f"{folder}: {sweep.describe(runner.Outcome(folder, result, None))}")


if __name__ == "__main__":
    launcher.launch(main)
