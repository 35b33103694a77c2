"""All diagnostics of a study in one file: each network's computed once, and kept as long as it is the same one."""

import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from cnn_jax import config, evaluation, models, presets, tasks
from cnn_jax.config import Config, ConfigError, suggest
from cnn_jax.data import Dataset
from cnn_jax.evaluation import networks
from cnn_jax.network import Network
from cnn_jax.studies.depth.blocks import block_names, has_blocks
from cnn_jax.studies.depth.construction import deepen, identity_obstacle
from cnn_jax.studies.depth.gradients import gradient_norms
from cnn_jax.studies.depth.lesions import lesions
from cnn_jax.studies.depth.responses import deviations
from cnn_jax.train import record
from cnn_jax.train.checkpoint import digest
from cnn_jax.train.devices import Layout
from cnn_jax.train.record import Run

# The networks whose gradients are compared before training: the letters of their names, and what of them is changed.
# Sigmoid and tanh begin as their paper has it (Glorot & Bengio 2010), ReLU as its own (He et al. 2015).
INITIAL_NETWORKS: dict[str, tuple[str, dict[str, str]]] = {
    "sigmoid": ("plain", {"activation": "sigmoid", "normalization": "none", "initialization": "glorot"}),
    "tanh": ("plain", {"activation": "tanh", "normalization": "none", "initialization": "glorot"}),
    "relu": ("plain", {"normalization": "none"}),
    "relu_bn": ("plain", {}),
    "residual": ("resnet", {}),
}


class Options(NamedTuple):
    """How networks are examined.

    Attributes:
      layout: the devices.
      batch_size: images in a batch.
      examples: of the test split, the first so many, for lesions and responses; None is all.
      several: how many blocks are removed together.
      draws: how often so many are drawn.
      progress: whether to draw progress bars.
    """

    layout: Layout
    batch_size: int = 128
    examples: int | None = None
    several: tuple[int, ...] = (2, 3, 4, 6, 8)
    draws: int = 10
    progress: bool = False


def measure_once(
    file: Path, part: str, name: str, about: dict[str, Any], compute: Callable[[], dict[str, Any]]
) -> None:
    """Has `name` in a part of the file, `initial` or `networks`; computes it where what is there is about another."""
    content = record.read_json(file) or {"initial": {}, "networks": {}}
    about = json.loads(json.dumps(about))
    if content[part].get(name, {}).get("about") != about:
        content[part][name] = {"about": about} | compute()
        record.write_json(file, content)


def diagnostics_file(workdir: Path) -> Path:
    """The path of diagnostics.json, in a folder made for it and its figures; raises RecordError."""
    return record.require_writable(workdir / "diagnostics") / "diagnostics.json"


def initial_configs(
    kinds: Sequence[str], depths: Sequence[int], seeds: Sequence[int], dataset: Dataset
) -> list[tuple[str, Config]]:
    """Each kind of INITIAL_NETWORKS at each depth and seed, in the recipe of its data set; raises ConfigError."""
    out = []
    for kind, depth, seed in itertools.product(kinds, depths, seeds):
        if kind not in INITIAL_NETWORKS:
            raise ConfigError(f"--at_init: unknown network {kind!r}; {suggest(kind, INITIAL_NETWORKS)}")
        letters, changes = INITIAL_NETWORKS[kind]
        initial = config.replace_field(presets.get("auto", dataset.name, f"{letters}{depth}"), "seed", seed)
        for field, value in changes.items():
            initial = config.replace_field(initial, f"model.{field}", value)
        out.append((kind, tasks.complete(initial, dataset)))
    return out


def measure_initial(file: Path, configs: Sequence[tuple[str, Config]], dataset: Dataset, progress: bool) -> None:
    """Keeps the gradient norms of `initial_configs`."""
    for kind, one in tqdm(configs, "before training", unit="net", disable=not progress):
        about = {"kind": kind, "model": one.model.name, "config": config.to_dict(one), **identify_dataset(dataset)}
        name = f"{kind}-{one.model.name}-seed{one.seed}"
        measure_once(file, "initial", name, about, lambda one=one: measure_gradients(one, dataset))


def measure_gradients(one: Config, dataset: Dataset, variables: Any = None) -> dict[str, Any]:
    """`gradient_norms`, None of what is not finite."""
    return {"gradient_norms": record.replace_nonfinite(gradient_norms(one, dataset, variables))}


def identify_dataset(dataset: Dataset) -> dict[str, str]:
    return {"dataset": dataset.name, "fingerprint": dataset.fingerprint}


def measure_network(
    file: Path,
    name: str,
    network: Network,
    dataset: Dataset,
    options: Options,
    model: str,
    run: Config | None = None,
    result: dict[str, Any] | None = None,
    depths: Sequence[int] = (),
) -> None:
    """Keeps all that there is to know of a trained network.

    Args:
      file: diagnostics.json.
      name: what it is called there, a run folder's name or other people's network.
      network: see Network.
      dataset: what it was trained on.
      options: see Options.
      model: its name, such as plain20.
      run: the config it was trained with; of None there are no gradients.
      result: the run's.
      depths: at which deeper networks are built from it.

    Raises:
      ConfigError: a network that has nothing to examine, or that cannot be built deeper.
    """
    if run is None:
        block_names(network)  # there has to be something to examine
    examined = {name: getattr(options, name) for name in ("examples", "several", "draws")}
    identified = {"digest": digest(network.variables), **identify_dataset(dataset), "options": examined}
    about = {"model": model, "config": run and config.to_dict(run), "depths": sorted(depths)} | identified
    errors = {f"{split}_error": (result or {}).get(f"{split}_error") for split in ("train", "test")}

    def compute() -> dict[str, Any]:
        found = {} if run is None else measure_gradients(run, dataset, network.variables)
        return (
            errors | found | (measure_blocks(network, dataset, options, sorted(depths)) if has_blocks(network) else {})
        )

    measure_once(file, "networks", name, about, compute)


def measure_runs(file: Path, runs: Sequence[Run], load: Callable[[Config], Dataset], options: Options) -> None:
    """Keeps what there is to know of the finished runs, each plain net's also built at the depths of the deeper ones.

    `load` gives the data set of a run. Raises RecordError where there are runs and none is finished, or a checkpoint
    cannot be read.
    """
    finished = [(run, config.from_dict(run.config)) for run in runs if run.result is not None]
    if runs and not finished:
        raise record.RecordError(f"{runs[0].folder.parent} holds no finished run")
    drop_missing_runs(file, [run.folder.name for run, _ in finished])
    names = {trained.model.name for _, trained in finished}
    for run, trained in tqdm(finished, "trained", unit="net", disable=not options.progress):
        dataset, name = load(trained), trained.model.name
        network, _ = networks.load_run(run.folder, trained, dataset)
        depths = [] if identity_obstacle(network) else deeper_plain_depths(name, names)
        examined = options._replace(progress=False)
        measure_network(file, run.folder.name, network, dataset, examined, name, trained, run.result, depths)


def drop_missing_runs(file: Path, present: Sequence[str]) -> None:
    """Drops from the file the networks of runs that are there no longer."""
    content = record.read_json(file)
    if content is not None:
        content["networks"] = {
            name: network
            for name, network in content["networks"].items()
            if name in present or not network["about"]["config"]
        }
        record.write_json(file, content)


def deeper_plain_depths(name: str, names: Iterable[str]) -> list[int]:
    """The depths of those names that are of deeper plain nets of the same family; none of a residual net."""
    if not name.startswith("plain"):
        return []
    plain = {other: models.model_class(models.get_constructor(other)) for other in names if other.startswith("plain")}
    depths = [int(other.removeprefix("plain")) for other in plain if plain[other] is plain[name]]
    return sorted(depth for depth in depths if depth > int(name.removeprefix("plain")))


def measure_blocks(network: Network, dataset: Dataset, options: Options, depths: Sequence[int]) -> dict[str, Any]:
    """`deviations` and `lesions` on the test split; `constructions` at the depths, see `measure_construction`."""
    test = {field: array[: options.examples] for field, array in dataset.splits["test"].items()}
    layout, batch_size = options.layout, options.batch_size
    return {
        "deviations": deviations(network, test, layout, batch_size),
        "lesions": lesions(
            network, test, layout, batch_size, options.several, options.draws, progress=options.progress
        ),
        "constructions": [measure_construction(network, depth, dataset, options) for depth in depths],
    }


def measure_construction(network: Network, depth: int, dataset: Dataset, options: Options) -> dict[str, Any]:
    """The network that `deepen` builds: `depth`, `train_error` and `test_error` over the whole splits, fractions, and
    `difference`, the largest between its logits and the trained network's on one batch of test images."""
    deeper = deepen(network, depth)
    errors: dict[str, float] = {}
    for split in ("train", "test"):
        protocol = evaluation.choose_protocol(deeper)
        means = evaluation.evaluate(deeper, dataset.splits[split], protocol, options.layout, options.batch_size)
        errors[f"{split}_error"] = means["error"]
    image = dataset.splits["test"]["image"][: options.batch_size]
    ours, theirs = (logits(one, image) for one in (deeper, network))
    return {"depth": depth, **errors, "difference": float(np.abs(ours - theirs).max())}


def logits(network: Network, image: np.ndarray) -> np.ndarray:
    apply: Any = jax.jit(lambda variables, image: network.model.apply(variables, network.preprocess(image))[0])
    return np.asarray(apply(network.variables, image), np.float64)
