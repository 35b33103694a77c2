"""What a data set holds: its fields, classes and counts in words, and a sheet of examples as a picture.

    ./launch.sh dataset --dataset=digit_scenes
    ./launch.sh dataset --dataset=cifar10 --data_dir=DIR --fields=label --split=test --examples=24
    ./launch.sh dataset --dataset=photographs/flowers17               # an image folder: the middles of its images

Writes examples.png, drawn by --seed, into the workdir. Seconds. Here: experiments/results/digit_scenes.
"""

from dataclasses import replace

import numpy as np
from absl import flags

from cnn_jax import data
from cnn_jax.config import ConfigError
from cnn_jax.data.dataset import select
from cnn_jax.data.stream import squares
from cnn_jax.report import examples
from cnn_jax.train.record import require_writable
from experiments.flags import data as data_flags
from experiments.flags import launcher

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(data_flags)
flags.DEFINE_string("dataset", "digit_scenes", "Data set: digits, digit_scenes, a TFDS name, or an image folder.")
flags.DEFINE_list("fields", None, "Fields to load beside the image; by default all that there are.")
flags.DEFINE_string("split", "train", "Which split the examples are of.")
flags.DEFINE_integer("examples", 12, "How many are drawn.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Which they are.", lower_bound=0)
flags.DEFINE_integer("size", 128, "Pixels a side of the middles of streamed images.", lower_bound=8)
flags.DEFINE_string("workdir", "runs/dataset", "Where examples.png goes.")


def main() -> None:
    workdir, split = require_writable(launcher.expand_path(FLAGS.workdir)), FLAGS.split
    fields = FLAGS.fields and list(dict.fromkeys(["image", *FLAGS.fields]))
    dataset = data.load(
        FLAGS.dataset,
        FLAGS.data_dir,
        fields=fields,
        download=FLAGS.download,
        streamed=None,
        skip_damaged=FLAGS.skip_damaged,
        test_share=FLAGS.test_share or 0.0,
    )
    if split not in dataset.splits:
        raise ConfigError(f"--split={split}: {dataset.name} has {', '.join(dataset.splits)}")
    print(examples.summarize(dataset))
    order = np.random.default_rng(FLAGS.seed).permutation(dataset.count(split))[: FLAGS.examples]
    shown = replace(dataset, splits={split: select(dataset.splits[split], order)})
    if shown.streamed:
        shown = squares.load_squares(shown, FLAGS.size, [split])
    title = f"{dataset.name}, {len(order)} of {dataset.count(split):,} examples of {split}, seed {FLAGS.seed}"
    examples.save(examples.draw(shown.splits[split], shown.fields, title), workdir / "examples.png")
    print(workdir / "examples.png")


if __name__ == "__main__":
    launcher.launch(main)
