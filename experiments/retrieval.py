"""Pictures found by pictures: which endpoint and pooling retrieve best; an index of your own, and its answers.

    ./launch.sh retrieval            # digits 5 to 9 by networks that learnt 0 to 4: report, claims; minutes
    ./launch.sh retrieval --model=squeezenet1_1 --weights=FILE --source=torchvision --dataset=PATH/flowers17 \\
        --resize=112 --crop=96                                                  # every endpoint, on test images
    ./launch.sh retrieval --model=squeezenet1_1 --weights=FILE --source=torchvision --add=FOLDER --workdir=INDEX
    ./launch.sh retrieval --workdir=INDEX --query=photo.jpg                     # the index knows its network

Krizhevsky et al. 2012, Section 6.1; Babenko et al. 2014. Queries are test images, the database the training images.
Flowers-17 at 96 pixels: mAP 39.2 % by GeM of fire9. Here: experiments/results/retrieval.
"""

from absl import flags

from cnn_jax.retrieval import descriptors
from cnn_jax.studies import retrieval as study
from cnn_jax.studies.retrieval import sheet
from cnn_jax.studies.retrieval.measure import describe, measure
from cnn_jax.train import record
from experiments.flags import launcher
from experiments.flags import retrieval as retrieval_flags

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(retrieval_flags)


def main() -> None:
    workdir = record.require_writable(launcher.expand_path(FLAGS.workdir or "runs/retrieval"))
    if FLAGS.add or FLAGS.query:
        retrieval_flags.use_index(workdir)
        return
    networks, dataset, title = retrieval_flags.load_study(workdir)
    shapes = next(iter(networks.values())).endpoint_shapes()
    parts, options = descriptors.all_parts(shapes), retrieval_flags.options()
    found = {}
    for name, network in networks.items():
        database, queries = (describe(network, dataset, split, parts, **options) for split in ("train", "test"))
        found[name] = measure(database, queries, parts)
        sheet.write(workdir / "found.png", dataset, found[name]["chosen"]["single"], database, queries)
    about = {"title": title, "parts": list(map(str, parts)), "last": str(parts[-1]), "networks": found}
    record.write_json(workdir / study.FILE, about)
    print(study.write(workdir))


if __name__ == "__main__":
    launcher.launch(main)
