"""What the settings of the section Optim can be beside each other."""

from collections.abc import Collection, Iterator
from dataclasses import replace

from cnn_jax.config.fields import ConfigError, Optim, Penalty, format_value

DESCENT = ("sgd", "adamw")
SETTINGS_OF: dict[str, dict[str, tuple[str, ...]]] = {
    "learning_rate": {"optimizer": DESCENT},
    "schedule": {"optimizer": DESCENT},
    "boundaries": {"schedule": ("steps",), "optimizer": DESCENT},
    "factor": {"schedule": ("steps",), "optimizer": DESCENT},
    "final_fraction": {"schedule": ("cosine",)},
    "pct_start": {"schedule": ("onecycle",)},
    "div_factor": {"schedule": ("onecycle",)},
    "final_div_factor": {"schedule": ("onecycle",)},
    "warmup": {"optimizer": DESCENT},
    "warmup_learning_rate": {"optimizer": DESCENT},
    "warmup_form": {"optimizer": DESCENT},
    "momentum": {"optimizer": ("sgd",)},
    "nesterov": {"optimizer": ("sgd",)},
    "rate_inside": {"optimizer": ("sgd",)},
    "decoupled": {"optimizer": ("sgd",)},
    "b1": {"optimizer": ("adamw",)},
    "b2": {"optimizer": ("adamw",)},
    "eps": {"optimizer": ("adamw",)},
    "memory": {"optimizer": ("lbfgs",)},
    "clip_norm": {"optimizer": DESCENT},
    "rates": {"optimizer": DESCENT},
    "average_decay": {"average": ("exponential",)},
    "average_from": {"average": ("exponential", "polyak")},
}
"""The choices that a setting is of, where it is not of all. L-BFGS has no rate: its line search finds each step's."""

DEFAULTS = Optim()


def out_of_place(optim: Optim) -> Iterator[tuple[str, str]]:
    """Each setting that is not at its default and is of another choice, with the field by which that is chosen."""
    for name, choosers in SETTINGS_OF.items():
        for chooser, choices in choosers.items():
            if getattr(optim, name) != getattr(DEFAULTS, name) and getattr(optim, chooser) not in choices:
                yield name, chooser


def leave_behind(optim: Optim, assigned: Collection[str]) -> Optim:
    """Without what is of another choice, where the choice is among the dotted paths just assigned, and it is not."""
    left = {
        name
        for name, chooser in out_of_place(optim)
        if f"optim.{chooser}" in assigned and f"optim.{name}" not in assigned
    }
    return replace(optim, **{name: getattr(DEFAULTS, name) for name in left})


def check_optim(optim: Optim, penalty: Penalty) -> None:
    """Raises ConfigError where settings do not go together."""
    for name, chooser in out_of_place(optim):
        value, default = (format_value(getattr(one, name)) for one in (optim, DEFAULTS))
        raise ConfigError(
            f"optim.{name}={value} is of optim.{chooser}={' or '.join(SETTINGS_OF[name][chooser])}, and this is "
            f"{getattr(optim, chooser)}; leave it out (--set=optim.{name}={default})"
        )
    boundaries = optim.boundaries
    if list(boundaries) != sorted(set(boundaries)) or not all(0 < boundary < 1 for boundary in boundaries):
        raise ConfigError(
            f"optim.boundaries={format_value(boundaries)}: must be rising fractions of the steps, between 0 and 1"
        )
    if optim.schedule == "steps" and boundaries and optim.warmup > boundaries[0]:
        raise ConfigError(f"optim.warmup={optim.warmup}: must end before the first of optim.boundaries")
    if optim.decoupled and optim.rate_inside:
        raise ConfigError("optim.decoupled takes the rate outside of the momentum; leave optim.rate_inside out")
    if penalty.form == "proximal" and (optim.optimizer != "sgd" or optim.rates):
        raise ConfigError(
            "penalty.form=proximal is of optim.optimizer=sgd with one rate for all; leave it out, or optim.rates"
        )
    if penalty.max_norm and optim.optimizer == "lbfgs":
        raise ConfigError("penalty.max_norm: L-BFGS has to end where its line search does; leave it out")
    if penalty.towards_start and optim.optimizer == "lbfgs":
        raise ConfigError("penalty.towards_start is no term of the loss that L-BFGS searches along; leave it out")
    part_rates(optim)


def part_rates(optim: Optim) -> dict[str, float]:
    """`{"conv1": 0.1}` of `rates=("conv1:0.1",)`, in their order; raises ConfigError."""
    rates: dict[str, float] = {}
    for text in optim.rates:
        part, _, multiplier = text.rpartition(":")
        try:
            rates[part] = float(multiplier)
        except ValueError:
            part = ""
        if not part or not 0 < rates[part] < float("inf"):
            raise ConfigError(
                f"optim.rates={format_value(optim.rates)}: write part:multiplier, for instance fc:10, each above 0; "
                "optim.frozen keeps parts as they are"
            )
    return rates
