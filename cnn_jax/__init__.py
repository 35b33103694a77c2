"""The laboratory for the classic convolutional line, in JAX and Flax, written as pure functions.

Networks exact to their papers, one training engine, sweeps that skip what is finished and resume bit-exactly what is
not, and reports rebuilt from the run folders alone. The way of the data is the order of the packages: `config`, `data`,
`models`, `train`, `tasks`, `sweep`, `studies`; `load` gives a trained network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from cnn_jax.network import Network

__version__ = "0.1.0"


def load(
    path: str | PathLike[str],
    model: str | None = None,
    source: str | None = None,
    *,
    data_dir: str | None = None,
    ignore_surplus: Sequence[str] = (),
) -> Network:
    """A trained network with its preprocessing and class names, from a run folder, a converted checkpoint or a file.

        network = cnn_jax.load("runs/train/NAME")                                        # our own run
        network = cnn_jax.load("resnet50.safetensors", "resnet50", "torchvision")        # other people's weights
        print(network.classify("daisy.jpg")[0])                                          # [("daisy", 0.93), ...]

    Args:
      path: the run folder, converted checkpoint, or file or folder of weights (formats: `weights.files.read`).
      model: of other people's weights alone: the network, such as resnet50.
      source: of other people's weights alone: whose they are, torchvision, akamaster or amartyn.
      data_dir: where the data set of a run is that version 0.1.0 made, which did not keep what belongs to its network.
      ignore_surplus: names of tensors, or their beginnings, that are no layer's and are to be left out.

    Raises:
      WeightsError, RecordError, ConfigError, DataError: what is wrong, in one line; all are ValueErrors.
    """
    from cnn_jax.evaluation import networks  # they import JAX, and take seconds
    from cnn_jax.runner import load_config_dataset

    return networks.load(
        path,
        model,
        source,
        ignore_surplus=ignore_surplus,
        read_dataset=None if data_dir is None else lambda config: load_config_dataset(config, data_dir, False),
    )
