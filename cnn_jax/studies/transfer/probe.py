"""The linear way at every endpoint, for every number of examples and seed: measured, and kept beside the runs."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax import config as config_lib
from cnn_jax.config import Config
from cnn_jax.data import Dataset, choose_of_each_class
from cnn_jax.network import Network
from cnn_jax.studies.transfer import linear, pooled
from cnn_jax.train import record
from cnn_jax.train.record import Run

FILE = "linear.json"
ALL = "all"
"""The cut that is every endpoint's features side by side."""


def measure(
    config: Config,
    dataset: Dataset,
    network: Network,
    channels: Mapping[str, int],
    counts: Sequence[int],
    seeds: Sequence[int],
    folder: Path,
) -> dict[str, Any]:
    """What `read` makes runs of: `config`, `features_seconds`, and a row for each cut, count and seed.

    Args:
      config: complete, of a run that begins with the network.
      dataset: all that there is to learn from.
      network: with its own preprocessing.
      channels: of each endpoint, in the network's order.
      counts: examples of each class, drawn by the seed; 0 is all.
      seeds: of the draws.
      folder: where features are kept.
    """
    features = pooled.take(network, config.data, dataset, folder)
    columns, known = find_columns(channels), {}
    rows = []
    for count in counts:
        for seed in seeds:
            chosen = np.sort(choose_of_each_class(dataset, count, seed))
            for cut, own in columns.items():
                of = cut, chosen.tobytes()  # all there are, are the same for every seed
                known[of] = known.get(of) or fit_cut(features, own, chosen)
                rows.append({"cut": cut, "examples": count, "seed": seed} | known[of])
    about = {"endpoints": list(channels), "features_seconds": features.seconds}
    return {"config": config_lib.to_dict(config), **about, "rows": rows}


def find_columns(channels: Mapping[str, int]) -> dict[str, slice]:
    """Where the features of each endpoint are among all, and ALL of them."""
    ends = np.cumsum(list(channels.values())).tolist()
    starts = [0, *ends[:-1]]
    return dict(zip(channels, map(slice, starts, ends), strict=True)) | {ALL: slice(0, ends[-1])}


def fit_cut(features: pooled.Features, columns: slice, chosen: np.ndarray) -> dict[str, Any]:
    """What result.json would hold of a regression on these columns of the chosen training examples."""
    begun, labels = time.monotonic(), features.labels
    train, test = features.splits["train"][chosen][:, columns], features.splits["test"][:, columns]
    found = linear.fit(train, labels["train"][chosen], test, labels["test"])
    parameters = (train.shape[1] + 1) * (int(labels["train"].max()) + 1)  # weights and biases
    return {
        "train_error": found.train_error,
        "test_error": found.test_error,
        "held_out_error": found.held_out_error,
        "strength": found.strength,
        "parameters": parameters,
        "seconds": time.monotonic() - begun,
    }


def write(measured: Sequence[dict[str, Any]], workdir: Path) -> None:
    """Writes what `measure` found of each network into the workdir, atomically."""
    record.write_json(workdir / FILE, list(measured))


def read(workdir: Path) -> list[tuple[str, Run]]:
    """(cut, run) of each row, a run that was finished without a folder; none where nothing was measured."""
    return [pair for one in record.read_json(workdir / FILE) or [] for pair in make_runs(one, workdir)]


def make_runs(measured: Mapping[str, Any], workdir: Path) -> Iterator[tuple[str, Run]]:
    for row in measured["rows"]:
        cut, count, seed = row["cut"], row["examples"], row["seed"]
        config = measured["config"] | {"seed": seed}
        config["data"] = config["data"] | {"examples_per_class": count}
        result = {name: value for name, value in row.items() if name not in ("cut", "examples", "seed")}
        yield cut, Run(workdir / f"linear-{cut}-{count}-seed{seed}", config, [], result, None, {})
