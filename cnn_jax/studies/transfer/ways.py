"""The ways to use a trained network for other classes, as fields of a Config."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cnn_jax import config as config_lib
from cnn_jax.config import Config, ConfigError, flatten, suggest


class Way(NamedTuple):
    """How a network is used.

    Attributes:
      about: what is done, a clause.
      cut: whether it is used up to an endpoint, the cut.
      fields: dotted fields of the config that make it this way; CUT stands for the endpoint.
    """

    about: str
    cut: bool = False
    fields: Mapping[str, Any] = {}


CUT = "the cut"
LINEAR = "linear"
WAYS = {
    "scratch": Way("all drawn anew, nothing transferred"),
    LINEAR: Way("logistic regression on the features at the cut", cut=True),
    "frozen": Way(
        "frozen up to the cut, the rest drawn anew",
        cut=True,
        fields={"optim.frozen": CUT, "init_until": CUT},
    ),
    "partial": Way("frozen up to the cut, the rest begins trained", cut=True, fields={"optim.frozen": CUT}),
    "finetune": Way("all begins trained, and is trained on"),
    # Li et al. 2018 (https://arxiv.org/abs/1802.01483) in place of decay to zero; 0.01 is Transfer-Learning-Library's.
    "l2sp": Way(
        "the same, with decay towards the start", fields={"penalty.towards_start": 0.01, "optim.weight_decay": 0.0}
    ),
}
AXES = (
    "data.crop",
    "data.examples_per_class",
    "data.mean",
    "data.short_side",
    "data.std",
    "data.test_short_side",
    "init_digest",
    "init_from",
    "init_new_head",
    "init_until",
    "model.initialization",
    "optim.clip_norm",
    "optim.frozen",
    "optim.learning_rate",
    "optim.rates",
    "optim.warmup_learning_rate",
    "optim.weight_decay",
    "penalty.towards_start",
    "steps",
    "evaluations",
)
"""What the study varies on purpose, beside the seed."""

HEAD_RATE = 10
"""What a new head's learning rate is a multiple of, that of layers that begin trained, in a network with batch norm.

In one without it features are large enough for a head to keep up at the same rate: a SqueezeNet tuned on 20 images a
class of Flowers-17 errs on 16.5 % of 170 training images held out.
"""
TRAINED_RATE, SMALL_TRAINED_RATE = 0.1, 0.3
"""The learning rate of all ways that begin trained, as a part of what the network's recipe has where all is drawn:
of photographs, and of small images in memory. LeNet-5 of the digits 0 to 4, tuned on 20 each of 5 to 9 at its recipe's
0.03, 0.01 and 0.003, errs on 9.0, 8.7 and 12.3 % of 150 training images held out, mean of two seeds."""
CLIP = 1.0
"""The longest gradient, as in big_vision's transfer recipe: without a bound the first ones of a layer drawn anew on
trained features, which are large, end SqueezeNet at chance (loss 16 in the third step, then ln 17 for good)."""
LEAST_STEPS = 60
PASSES, SMALL_PASSES = 10.0, 60.0
"""Over the examples there are, but no fewer than LEAST_STEPS steps: of photographs, and of small images in memory."""


class Network(NamedTuple):
    """What is known of the network that is used.

    Attributes:
      folder: of its variables, see `Config.init_from`.
      heads: see `models.heads.find_heads`.
      normalized: whether it has batch norm.
      rate: the learning rate of its own recipe, which draws all anew.
      initialization: `Model.initialization` of that recipe.
      small: whether the images it is to serve are small ones, all in memory, rather than photographs.
    """

    folder: str
    heads: tuple[str, ...]
    normalized: bool
    rate: float
    initialization: str | None
    small: bool


def parse(names: Sequence[str]) -> list[str]:
    """The ways by these names; raises ConfigError."""
    for name in names:
        if name not in WAYS:
            raise ConfigError(f"--how={name}: no such way; {suggest(name, WAYS)}")
    if not names:
        raise ConfigError(f"--how is empty; choose from {', '.join(WAYS)}")
    return list(dict.fromkeys(names))


def config_fields(name: str, cut: str, network: Network) -> dict[str, Any]:
    """The fields that make a config this way of using the network."""
    fields = {field: cut if value is CUT else value for field, value in WAYS[name].fields.items()}
    rate = network.rate * (1.0 if name == "scratch" else SMALL_TRAINED_RATE if network.small else TRAINED_RATE)
    fields |= {"optim.learning_rate": rate, "optim.warmup_learning_rate": rate / 10, "optim.clip_norm": CLIP}
    if name == "scratch":
        return fields | {"init_from": "", "init_digest": "", "model.initialization": network.initialization}
    if network.normalized:
        fields["optim.rates"] = tuple(f"{head}:{HEAD_RATE}" for head in network.heads)
    return fields | {"init_from": network.folder, "init_new_head": True}


def count_steps(examples: int, batch_size: int, passes: float) -> int:
    """Those of a run on so many examples."""
    return max(LEAST_STEPS, round(passes * examples / batch_size))


def make_cells(base: Config, names: Sequence[str], cuts: Sequence[str], network: Network) -> list[Config]:
    """The base as each way that is trained by the engine, at each cut where it has one."""
    fields = [
        config_fields(name, cut, network)
        for name in names
        if name != LINEAR
        for cut in (cuts if WAYS[name].cut else ("",))
    ]
    return [config_lib.replace_fields(base, one) for one in fields]


def spread_cells(
    cells: Sequence[Config], sizes: Mapping[int, int], seeds: Sequence[int], passes: float
) -> list[Config]:
    """Every cell on every number of examples a class with every seed, for the steps that so many examples ask for.

    Args:
      cells: configs, see `make_cells`.
      sizes: by the number of examples a class, that of all.
      seeds, passes: see `Config.seed` and `count_steps`.
    """
    spread = []
    for count, examples in sizes.items():
        for cell in cells:
            steps = count_steps(examples, cell.batch_size, passes)
            own = {"data.examples_per_class": count, "steps": steps, "evaluations": min(cell.evaluations, 2)}
            spread += [config_lib.replace_fields(cell, own | {"seed": seed}) for seed in seeds]
    return spread


def recognize(config: Mapping[str, Any]) -> tuple[str, str]:
    """(way, cut) of a config as `config.to_dict` has it."""
    fields = flatten(dict(config))
    cut = fields.get("optim.frozen", "")
    if not fields.get("init_from"):
        return "scratch", ""
    if cut:
        return ("frozen" if fields.get("init_until") else "partial"), cut
    return ("l2sp" if fields.get("penalty.towards_start") else "finetune"), ""
