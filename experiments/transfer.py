"""What of a trained network serves other classes, how to use it, and when not to (the lecture, Transfer learning).

    ./launch.sh transfer                                   # a network of the digits 0 to 4 meets 5 to 9: minutes
    ./launch.sh transfer --dataset=PATH/flowers17 --image_size=96 --cut=fire5,fire8 \\
        --model=squeezenet1_1 --weights=FILE --source=torchvision
    ./launch.sh transfer --dataset=PATH --init_from=RUN --unrelated=RUN --how=linear,finetune --examples=1,10

Ways: scratch, linear (a logistic regression on the features at the cut), frozen (up to the cut, the rest drawn anew),
partial (frozen up to the cut, the rest begins trained), finetune, l2sp (with decay towards the start).
"""

from pathlib import Path

from absl import flags

from cnn_jax.studies import transfer
from cnn_jax.studies.transfer import confusion, ways
from experiments.flags import launcher, runs
from experiments.flags import sweep as sweep_flags
from experiments.flags import transfer as transfer_flags

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(sweep_flags)
flags.adopt_module_key_flags(transfer_flags)
FLAGS.set_default("workdir", "runs/transfer")


def main() -> int:
    workdir = launcher.expand_path(FLAGS.workdir)
    names, counts, seeds = ways.parse(FLAGS.how), runs.parse_integers("examples"), runs.parse_integers("seeds")
    bases = transfer_flags.make_bases(workdir)
    configs, datasets = transfer_flags.make_configs(bases, names, counts, seeds)

    def report(workdir: Path) -> str:
        if ways.LINEAR in names:
            transfer_flags.fit_linear(bases, counts, seeds, workdir)
        confusion.measure(workdir, bases[0].dataset)
        return transfer.write(workdir)

    return sweep_flags.run_configs("transfer", configs, datasets, workdir, report)


if __name__ == "__main__":
    launcher.launch(main)
