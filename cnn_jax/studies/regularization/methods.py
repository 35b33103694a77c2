"""The regularisers by name, as fields of a Config: what the regularisation study varies, one at a time."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cnn_jax.config import ConfigError, flatten, suggest


class Regularizer(NamedTuple):
    """How a method is switched on.

    Attributes:
      fields: dotted fields of the config that are its strength, all the same number.
      extra_fields: other fields and the values that make it this method.
      strengths: what is tried where nothing else is asked for.
    """

    fields: tuple[str, ...] = ()
    extra_fields: Mapping[str, Any] = {}
    strengths: tuple[float, ...] = ()


REGULARIZERS = {
    "none": Regularizer(),
    "l1": Regularizer(("penalty.l1",), {}, (1e-5, 1e-4, 1e-3, 1e-2)),
    "l2": Regularizer(("penalty.l2",), {}, (1e-4, 1e-3, 1e-2, 1e-1)),
    # The lecture's: lambda |w| + lambda w^2.
    "elastic_net": Regularizer(("penalty.l1", "penalty.l2"), {}, (1e-5, 1e-4, 1e-3, 1e-2)),
    "l1_proximal": Regularizer(("penalty.l1",), {"penalty.form": "proximal"}, (1e-5, 1e-4, 1e-3, 1e-2)),
    "elastic_net_proximal": Regularizer(
        ("penalty.l1", "penalty.l2"), {"penalty.form": "proximal"}, (1e-5, 1e-4, 1e-3, 1e-2)
    ),
    "weight_decay": Regularizer(("optim.weight_decay",), {}, (1e-4, 1e-3, 1e-2, 1e-1)),
    "decoupled_weight_decay": Regularizer(("optim.weight_decay",), {"optim.decoupled": True}, (1e-3, 1e-2, 1e-1)),
    "dropout": Regularizer(("model.dropout",), {}, (0.1, 0.3, 0.5)),
    "label_smoothing": Regularizer(("classification.label_smoothing",), {}, (0.05, 0.1, 0.2)),
    "max_norm": Regularizer(("penalty.max_norm",), {}, (1.0, 2.0, 4.0)),
    "early_stopping": Regularizer(("patience",), {}, (3,)),
    "augmentation": Regularizer(("data.pad",), {}, (1,)),
}

# Every field that a method sets, where it is off.
DISABLED: dict[str, Any] = {
    "penalty.l1": 0.0,
    "penalty.l2": 0.0,
    "penalty.form": "loss",
    "penalty.max_norm": 0.0,
    "optim.weight_decay": 0.0,
    "optim.decoupled": False,
    "model.dropout": 0.0,
    "classification.label_smoothing": 0.0,
    "patience": 0,
    "data.pad": 0,
}


def config_fields(name: str, strength: float | None) -> dict[str, Any]:
    """The fields of the method at this strength, and of all others off; None is for `none`."""
    method = REGULARIZERS[name]
    return DISABLED | dict(method.extra_fields) | dict.fromkeys(method.fields, strength)


def parse_methods(names: Sequence[str], strengths: Sequence[str]) -> list[tuple[str, float | None]]:
    """(method, strength) of each cell: the methods at their own strengths, but where `l1=1e-5,1e-4` says others.

    Raises ConfigError.
    """
    if not names:
        raise ConfigError("--methods is empty")
    for name in (*names, *(text.partition("=")[0] for text in strengths)):
        if name not in REGULARIZERS:
            raise ConfigError(f"unknown method {name!r}; {suggest(name, REGULARIZERS)}")
    overrides = {}
    for text in strengths:
        name, _, numbers = text.partition("=")
        if name not in names:
            raise ConfigError(f"--strengths={text}: {name} is not among the methods, {', '.join(names)}")
        try:
            overrides[name] = tuple(
                int(number) if number.isdecimal() else float(number) for number in numbers.split(",") if number
            )
        except ValueError as error:
            raise ConfigError(f"--strengths={text}: write it as l1=1e-5,1e-4") from error
        if not overrides[name] or name == "none":
            raise ConfigError(f"--strengths={text}: write it as l1=1e-5,1e-4")
    cells: list[tuple[str, float | None]] = []
    for name in names:
        cells += [(name, strength) for strength in overrides.get(name, REGULARIZERS[name].strengths)] or [(name, None)]
    return cells


def recognize(config: dict[str, Any]) -> tuple[str, float | None]:
    """(method, strength) of a config as `config.to_dict` has it; `other` where no one method alone makes it."""
    fields = flatten(config)
    settings = {field: fields.get(field, off) for field, off in DISABLED.items()}
    settings = {field: DISABLED[field] if value is None else value for field, value in settings.items()}
    for name, method in REGULARIZERS.items():
        strength = settings[method.fields[0]] if method.fields else None
        if settings == config_fields(name, strength) and strength != 0:
            return name, strength
    return "other", None
