"""What a network sees: its first filters, its maps of an image, the patches that excite a unit most.

    ./launch.sh features --model=squeezenet1_1 --weights=FILE --source=torchvision --image=cat.jpg
    ./launch.sh features --run=runs/train/NAME --units=stage3:0,stage3:1 --examples=2000

Writes filters, maps and patches (PNG, SVG) into the workdir. The first filters are those of Fig. 3 of Krizhevsky et
al. 2012 (96 of 11x11x3), the patches those of Zeiler & Fergus 2014, Fig. 2.
"""

import numpy as np
from absl import flags

from cnn_jax import features
from cnn_jax.data import picture
from cnn_jax.report.plots import save
from cnn_jax.train.record import require_writable
from experiments.flags import launcher, protocol, trained

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(trained)
flags.adopt_module_key_flags(protocol)
flags.DEFINE_string("image", None, "Image file for the maps; by default the first test image.")
flags.DEFINE_list("units", [], "Units as endpoint:channel; by default the first eight of the last map.")
flags.DEFINE_integer("examples", 1000, "Test images searched for the patches.", lower_bound=1)
flags.DEFINE_integer("maps", 12, "Maps drawn of each endpoint.", lower_bound=1)
flags.DEFINE_string("workdir", "runs/features", "Where the figures go.")


def main() -> None:
    workdir = require_writable(launcher.expand_path(FLAGS.workdir))
    network, dataset, name = trained.network_and_images()
    look, images = (
        protocol.make_preprocess(network),
        dataset.splits["test"]["image"][: FLAGS.examples] if dataset else np.empty(0),
    )
    image = (
        picture.read(launcher.expand_path(FLAGS.image), network.channels, network.decoding)
        if FLAGS.image
        else images[0]
    )
    save(features.draw_filters(features.first_filters(network.variables["params"]), name), workdir / "filters")
    maps = features.compute_maps(network.model, network.variables, look, image)
    shown = features.to_unit_range(np.asarray(look(image[None])[0]))
    save(features.draw_maps(maps, shown, FLAGS.maps, name), workdir / "maps")
    if dataset:
        units = features.parse_units(FLAGS.units) or features.default_units(maps)
        patches = features.find_patches(network.model, network.variables, look, images, units)
        indices = {patch.image for found in patches.values() for patch in found}
        pictures = {index: features.to_unit_range(np.asarray(look(images[index][None])[0])) for index in indices}
        save(features.draw_patches(patches, pictures, name), workdir / "patches")
    print("\n".join(str(path) for path in sorted(workdir.glob("*.png"))))


if __name__ == "__main__":
    launcher.launch(main)
