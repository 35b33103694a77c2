"""One run is one frozen Config: everything that determines its numbers, and nothing else.

How it is run (devices, folders, workers) is not here: the same Config gives the same numbers on all of them.
"""

import dataclasses
import difflib
import hashlib
import json
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any


class ConfigError(ValueError):
    """A setting that cannot be; the message is one line and names the setting and the choices."""


@dataclass(frozen=True)
class Model:
    """The network and its own settings; None is the network's own value, `models.complete` puts it in its place.

    What a family does not have stays None, and is an error if set.
    """

    name: str = "resnet20"
    image_size: int | None = None
    """Pixels a side of the images it is built for; None is what it is given."""
    stem: str | None = None
    """How it begins and pools: paper, or what smaller images ask for (see its class); None is by image_size."""
    width: int | None = None
    """Channels of the first stage; all others are in proportion."""
    shortcut_option: str | None = None
    """Where the shape changes, A pads with zero channels and B projects by a 1x1 convolution; C projects everywhere."""
    zero_channels: str | None = None
    """Where option A puts its zero channels: after, or half on each_side."""
    stride_in: str | None = None
    """Which convolution of a bottleneck has the stride: 1x1 (v1, the paper's) or 3x3 (v1.5)."""
    bn_group: int | str | None = None
    """Examples that share batch-norm statistics: global (the whole batch), device (one device's share), or a number."""
    bn_momentum: float | None = None
    dropout: float | None = None
    """Probability that a unit is dropped."""
    output: str | None = None
    """LeNet-5's last layer: rbf (the paper's) or dense."""
    initialization: str | None = None
    """How parameters begin: one of layers.initializers.INITIALIZATIONS."""
    scan: bool | None = None
    """Blocks of a stage after its first are one compiled block, scanned: it bounds compile time. For accelerators; slow
    on CPU. It changes the numbers by rounding alone."""


@dataclass(frozen=True)
class Data:
    name: str = "cifar10"
    validation: int = 0
    """Training examples held out as the validation split."""
    average_pool: int = 1
    """Pixels a side of the squares whose averages the network sees; 1 is the image itself."""
    canvas: int = 0
    """Pixels a side of the black canvas on which each image is centred; 0 is no canvas."""
    mean: tuple[float, ...] = ()
    """What is subtracted from images in [0, 1], a number a channel or one for all; none is the mean training image."""
    std: tuple[float, ...] = ()
    """What they are then divided by, likewise; none is 1."""
    pad: int = 4
    """Pixels of padding before the random crop back to size; 0 is no crop."""
    flip: bool = True


@dataclass(frozen=True)
class Optim:
    learning_rate: float = 0.1
    boundaries: tuple[float, ...] = (0.5, 0.75)
    """Where the learning rate drops, as fractions of the steps."""
    factor: float = 0.1
    """What the learning rate is multiplied by at each boundary."""
    warmup: float = 0.0
    """The fraction of the steps run at warmup_learning_rate."""
    warmup_learning_rate: float = 0.01
    momentum: float = 0.9
    nesterov: bool = False
    rate_inside: bool = False
    """Where the learning rate stands: inside the momentum, v := momentum v + rate g, w := w - v, as AlexNet and Caffe
    have it, or outside, v := momentum v + g, w := w - rate v. The two differ after the rate has changed."""
    weight_decay: float = 1e-4
    """Coupled (L2) decay: weight_decay * w is added to the gradient."""
    decayed: str = "kernels"
    """What decays: kernels, or all parameters (batch norm and biases too)."""


@dataclass(frozen=True)
class Loss:
    criterion: str = "cross_entropy"
    """cross_entropy, or map (maximum a posteriori, LeCun et al. 1998, eq. 9)."""
    rubbish_penalty: float = 1.0
    """map: j of eq. 9, the penalty of being of no class; it bounds how far wrong classes are pushed away."""
    auxiliary_weight: float = 0.3
    """What the cross entropy of each auxiliary head counts (Szegedy et al. 2015, Section 5)."""


@dataclass(frozen=True)
class Config:
    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    optim: Optim = field(default_factory=Optim)
    loss: Loss = field(default_factory=Loss)
    batch_size: int = 128
    steps: int = 64_000
    evaluations: int = 164
    """How often the splits are evaluated, evenly spread over the steps; the last time at the last step."""
    dtype: str = "float32"
    """Compute type: float32 or bfloat16. Parameters, statistics and the loss are float32."""
    seed: int = 0
    init_from: str = ""
    """Folder of a converted checkpoint or a run, whose variables are the initial ones; empty is drawn by the seed."""
    init_digest: str = ""
    """Of those variables; filled in when the config is resolved."""

    @property
    def evaluated_steps(self) -> frozenset[int]:
        """The numbers of steps taken at which the run is evaluated."""
        return frozenset(-(-part * self.steps // self.evaluations) for part in range(1, self.evaluations + 1))


CHOICES = {
    "model.shortcut_option": ("A", "B", "C"),
    "model.zero_channels": ("after", "each_side"),
    "model.stride_in": ("1x1", "3x3"),
    "model.output": ("rbf", "dense"),
    "loss.criterion": ("cross_entropy", "map"),
    "optim.decayed": ("kernels", "all"),
    "dtype": ("float32", "bfloat16"),
}
POSITIVE = (
    "batch_size",
    "steps",
    "evaluations",
    "model.image_size",
    "model.width",
    "data.average_pool",
    "loss.rubbish_penalty",
    "optim.learning_rate",
    "optim.warmup_learning_rate",
)
NOT_NEGATIVE = ("seed", "data.validation", "data.pad", "data.canvas", "optim.weight_decay", "loss.auxiliary_weight")
FRACTION = ("optim.warmup", "optim.momentum", "model.bn_momentum", "model.dropout")


def override(config: Config, assignments: Iterable[str]) -> Config:
    """`override(config, ["steps=100", "optim.learning_rate=0.05"])`; raises ConfigError on a wrong name or value.

    The config is checked when all are made, so that no order of them is refused for what it passes through.
    """
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set={assignment}: write it as field=value, for instance optim.learning_rate=0.05")
        config = _change(config, path.split("."), text, path)
    return check(config)


def change(config: Config, path: str, value: Any) -> Config:
    """The config with one field, named by its dotted path, replaced; text is parsed as the field's type."""
    return check(_change(config, path.split("."), value, path))


def _change(node: Any, path: Sequence[str], value: Any, full_path: str) -> Any:
    name, *rest = path
    types = typing.get_type_hints(type(node))
    if name not in types or bool(rest) != dataclasses.is_dataclass(types[name]):
        raise ConfigError(f"unknown config field {full_path!r}; {near(full_path, flatten(Config()))}")
    if rest:
        return dataclasses.replace(node, **{name: _change(getattr(node, name), rest, value, full_path)})
    return dataclasses.replace(
        node, **{name: _parse(value, types[name], full_path) if isinstance(value, str) else value}
    )


def _parse(text: str, kind: Any, path: str) -> Any:
    kinds = set(typing.get_args(kind)) or {kind}
    if type(None) in kinds and text.lower() == "none":
        return None
    try:
        if typing.get_origin(kind) is tuple:
            item = typing.get_args(kind)[0]
            return tuple(item(value) for value in text.split(",") if value)
        if bool in kinds:
            return {"true": True, "false": False}[text.lower()]
        if {int, str} <= kinds:
            return int(text) if text.lstrip("-").isdigit() else text
        (kind,) = kinds - {type(None)}
        return kind(text)
    except (ValueError, KeyError) as error:
        name = kind.__name__ if isinstance(kind, type) else str(kind)
        raise ConfigError(f"{path}={text}: not a {name}") from error


def near(name: str, known: Iterable[str]) -> str:
    """`did you mean ...` with the near matches of `name`, or all the choices where nothing is near."""
    known = list(known)
    leaves = {choice.rpartition(".")[2]: choice for choice in known}
    matches = difflib.get_close_matches(name, known) or [
        leaves[leaf] for leaf in difflib.get_close_matches(name.rpartition(".")[2], leaves)
    ]
    return f"did you mean {' or '.join(matches)}?" if matches else f"choose from {', '.join(known)}"


def check(config: Config) -> Config:
    """The config itself; raises ConfigError where a value cannot be."""
    values = {path: value for path, value in flatten(config).items() if value is not None}
    for path, choices in CHOICES.items():
        if path in values and values[path] not in choices:
            raise ConfigError(f"{path}={values[path]}: choose from {', '.join(choices)}")
    for path in filter(values.__contains__, POSITIVE):
        if not values[path] > 0:
            raise ConfigError(f"{path}={values[path]}: must be above 0")
    for path in filter(values.__contains__, NOT_NEGATIVE):
        if not values[path] >= 0:
            raise ConfigError(f"{path}={values[path]}: must not be negative")
    for path in filter(values.__contains__, FRACTION):
        if not 0 <= values[path] < 1:
            raise ConfigError(f"{path}={values[path]}: must be at least 0 and below 1")
    boundaries = config.optim.boundaries
    if list(boundaries) != sorted(set(boundaries)) or not all(0 < boundary < 1 for boundary in boundaries):
        raise ConfigError(
            f"optim.boundaries={_show(boundaries)}: must be rising fractions of the steps, between 0 and 1"
        )
    if boundaries and config.optim.warmup > boundaries[0]:
        raise ConfigError(f"optim.warmup={config.optim.warmup}: must end before the first of optim.boundaries")
    if not all(deviation > 0 for deviation in config.data.std):
        raise ConfigError(f"data.std={_show(config.data.std)}: must be above 0")
    group = config.model.bn_group
    if isinstance(group, str) and group not in ("global", "device"):
        raise ConfigError(f"model.bn_group={group}: choose from global, device, or a number of examples")
    if isinstance(group, int) and (group < 1 or config.batch_size % group):
        raise ConfigError(f"batch_size={config.batch_size} is not a multiple of model.bn_group={group}")
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """The config as JSON knows it: nested dicts, tuples as lists."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(values: dict[str, Any]) -> Config:
    """The inverse of `to_dict`; raises ConfigError on an unknown or missing field."""

    def build(cls: Any, values: dict[str, Any], prefix: str) -> Any:
        types = typing.get_type_hints(cls)
        for name in values.keys() ^ types.keys():
            raise ConfigError(f"config field {prefix}{name} is {'missing' if name in types else 'unknown'}")
        built = {}
        for name, value in values.items():
            if dataclasses.is_dataclass(types[name]):
                value = build(types[name], value, f"{prefix}{name}.")
            built[name] = tuple(value) if isinstance(value, list) else value
        return cls(**built)

    return check(build(Config, values, ""))


def flatten(config: Config | dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"optim.learning_rate": 0.1, ...}`, one entry a field."""
    values = config if isinstance(config, dict) else dataclasses.asdict(config)
    flat = {}
    for name, value in values.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """`["optim.learning_rate: 0.1 there, 0.05 here", ...]` between two configs as `to_dict` gives them."""
    old, new = flatten(old), flatten(new)
    return [
        f"{path}: {_show(old.get(path, 'absent'))} there, {_show(new.get(path, 'absent'))} here"
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    ]


def fingerprint(config: Config) -> str:
    """Eight hexadecimal digits that change with any field."""
    return hashlib.sha256(json.dumps(to_dict(config), sort_keys=True).encode()).hexdigest()[:8]


def _show(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
