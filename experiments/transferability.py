"""Layers learned on half of the classes, moved to the other half: which transfer, and how well (Yosinski et al. 2014).

    ./launch.sh transferability                                      # real digits, 0 to 4 moved to 5 to 9, minutes
    ./launch.sh transferability --dataset=cifar10 --data_dir=DIR --model=alexnet --set=data.average_pool=2 --width=16 \\
        --steps=2000 --validation=5000 --learning_rate=0.03          # hours; the rate by the validation error
    ./launch.sh transferability --halves=0,1,2/7,8,9 --cuts=C1,C5 --kinds=BnB,AnB

Each network is cut after layer n: n layers of B's own network (BnB) or of A's (AnB), kept as they are or fine-tuned
(BnB+, AnB+), and the others drawn anew, are trained on B. Paper, ImageNet, points of top-1 against B's own network at
n = 4, 5, 7: BnB -1.9, -2.9, 0.0; AnB -2.5, -4.7, -8.3, on dissimilar halves -7.4, -12.7, -24.5; AnB+ +1.1, +1.1, +1.3.
Here: the figures and tables under experiments/results/transferability*.
"""

from absl import flags

from cnn_jax.config import ConfigError
from cnn_jax.studies.transferability import halves as halves_of_classes
from cnn_jax.studies.transferability import runs as study_runs
from experiments.flags import launcher, runs, sweep

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(sweep)
flags.DEFINE_string(
    "model", "lenet5_full", "Network: one of cnn_jax.models.MODELS, or plain or resnet and a depth 6n+2."
)
flags.DEFINE_multi_string(
    "halves",
    None,
    "similar, drawn by the seed; dissimilar, natural and man-made; or CLASSES/CLASSES; repeatable. By default those of "
    "the data set: digits 0,1,2,3,4/5,6,7,8,9, cifar10 similar and dissimilar, others similar.",
)
flags.DEFINE_list("cuts", [], "Endpoints after which the network is cut; by default one after each layer.")
flags.DEFINE_list("kinds", list(study_runs.KINDS), f"What is trained on B: {', '.join(study_runs.KINDS)}.")
FLAGS.set_default("workdir", "runs/transferability")


def main() -> int:
    seeds, workdir = runs.parse_integers("seeds"), launcher.expand_path(FLAGS.workdir)
    study_runs.check(FLAGS.kinds, seeds)
    fixed = ("task=", "init_from=", "init_until=", "optim.frozen=", "data.classes=")
    if FLAGS.init_from or any(assignment.startswith(fixed) for assignment in FLAGS.set):
        raise ConfigError(f"{', '.join(fixed).replace('=', '')}: the study sets them itself; leave them out")
    (config,), (dataset,) = runs.make_configs_and_datasets([FLAGS.model], {"seed": seeds[:1]}, workdir, FLAGS.plan)
    named, names = FLAGS.halves or halves_of_classes.DEFAULTS.get(FLAGS.dataset, ("similar",)), dataset.class_names()
    halves = {seed: [halves_of_classes.choose(one, dataset.name, names, seed) for one in named] for seed in seeds}
    cuts, kinds = study_runs.layer_cuts(config, dataset, FLAGS.cuts), FLAGS.kinds
    mean = {"data.mean": [config.data.mean or study_runs.MEAN]}

    def axes(rows: list[study_runs.Row]) -> dict:
        return mean | {study_runs.FIELDS: rows}

    stages = [
        lambda _, planned: axes(study_runs.base_rows(halves, cuts, kinds)),
        lambda folders, planned: axes(study_runs.transfer_rows(halves, cuts, kinds, folders, planned)),
    ]
    return sweep.run_stages("transferability", [FLAGS.model], stages)


if __name__ == "__main__":
    launcher.launch(main)
