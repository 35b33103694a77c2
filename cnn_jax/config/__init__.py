"""One run is one frozen Config: everything that determines its numbers, and nothing else.

How it is run (devices, folders, workers) is not here: the same Config gives the same numbers on all of them.
"""

import dataclasses
import difflib
import hashlib
import json
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cnn_jax.config.checks import CHOICES, check
from cnn_jax.config.fields import (
    Classification,
    Config,
    ConfigError,
    Data,
    Model,
    Optim,
    Penalty,
    flatten,
    format_value,
)
from cnn_jax.config.optim import leave_behind, part_rates

__all__ = [
    "Classification",
    "Config",
    "ConfigError",
    "Data",
    "Model",
    "Optim",
    "Penalty",
    "replace_field",
    "replace_fields",
    "check",
    "differences",
    "find_near",
    "fingerprint",
    "flatten",
    "from_dict",
    "suggest",
    "override",
    "part_rates",
    "to_dict",
    "upgrade",
]


RENAMED = {"loss": "classification"}
"""Sections of older versions, under which their run folders are still read."""
ABBREVIATIONS = {
    "lr": "learning_rate",
    "wd": "weight_decay",
    "bs": "batch_size",
    "bsz": "batch_size",
    "arch": "model",
    "gpus": "devices",
    "data": "dataset",
    "output": "workdir",
    "resume": "workdir",
}
"""What other programs call things, so that `suggest` knows what is meant."""


def override(config: Config, assignments: Iterable[str]) -> Config:
    """`override(config, ["steps=100", "optim.learning_rate=0.05"])`; raises ConfigError on a wrong name or value.

    The config is checked when all are made, so that no order of them is refused for what it passes through.
    """
    values = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set={assignment}: write it as field=value, for instance optim.learning_rate=0.05")
        values[path] = text
    return replace_fields(config, values)


def replace_field(config: Config, path: str, value: Any) -> Config:
    """The config with one field, named by its dotted path, replaced; text is parsed as the field's type."""
    return replace_fields(config, {path: value})


def replace_fields(config: Config, values: Mapping[str, Any]) -> Config:
    """The config with several fields replaced, as `replace_field` does one, and checked when all are.

    Where another optimizer or schedule is chosen, what the config holds of the former alone is left behind.
    """
    for path, value in values.items():
        config = _replace(config, path.split("."), value, path)
    return check(dataclasses.replace(config, optim=leave_behind(config.optim, values)))


def _replace(node: Any, path: Sequence[str], value: Any, full_path: str) -> Any:
    name, *rest = path
    types = typing.get_type_hints(type(node))
    if name not in types or bool(rest) != dataclasses.is_dataclass(types[name]):
        near = " or ".join(find_near(full_path, flatten(Config())))
        raise ConfigError(
            f"unknown config field {full_path!r}; {f'did you mean {near}?' if near else '--set=help lists them'}"
        )
    if rest:
        return dataclasses.replace(node, **{name: _replace(getattr(node, name), rest, value, full_path)})
    return dataclasses.replace(
        node, **{name: _parse(value, types[name], full_path) if isinstance(value, str) else value}
    )


def _parse(text: str, kind: Any, path: str) -> Any:
    kinds = set(typing.get_args(kind)) or {kind}
    if type(None) in kinds and text.lower() == "none" and "none" not in CHOICES.get(path, ()):
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


def suggest(name: str, known: Iterable[str]) -> str:
    """`did you mean ...` with the near matches of `name`, or all the choices where nothing is near."""
    known = list(known)
    matches = find_near(name, known)
    return f"did you mean {' or '.join(matches)}?" if matches else f"choose from {', '.join(known)}"


def find_near(name: str, known: Iterable[str]) -> list[str]:
    """Those of the names that `name` is likely to stand for, by all of it or by what follows its last dot."""
    known = list(known)
    leaves = {choice.rpartition(".")[2]: choice for choice in known}
    leaf = name.rpartition(".")[2]
    leaf = ABBREVIATIONS.get(leaf, leaf)
    if leaf in leaves:
        return [leaves[leaf]]
    near = difflib.get_close_matches(name, known)
    return near or [leaves[match] for match in difflib.get_close_matches(leaf, leaves)]


def to_dict(config: Config) -> dict[str, Any]:
    """The config as JSON knows it: nested dicts, tuples as lists."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(values: dict[str, Any]) -> Config:
    """The inverse of `to_dict`; what an older version did not have yet is at its default.

    Raises ConfigError on a field that this version does not know.
    """

    def build(cls: Any, values: dict[str, Any], prefix: str) -> Any:
        types = typing.get_type_hints(cls)
        built = {}
        for name, value in values.items():
            if name not in types:
                raise ConfigError(f"config field {prefix}{name} is unknown: a newer version wrote it")
            if dataclasses.is_dataclass(types[name]):
                value = build(types[name], value, f"{prefix}{name}.")
            built[name] = tuple(value) if isinstance(value, list) else value
        return cls(**built)

    return check(build(Config, _renamed(values), ""))


def upgrade(values: dict[str, Any]) -> dict[str, Any]:
    """A config as a run folder has it, as this version would have written it: defaults for what it lacks.

    A field that this version does not know stays.
    """

    def fill(defaults: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
        filled = {name: values.get(name, default) for name, default in defaults.items()}
        sections = {name: default for name, default in defaults.items() if isinstance(default, dict)}
        return values | filled | {name: fill(default, filled[name]) for name, default in sections.items()}

    return fill(to_dict(Config()), _renamed(values))


def _renamed(values: dict[str, Any]) -> dict[str, Any]:
    return {RENAMED.get(name, name): value for name, value in values.items()}


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """`["optim.learning_rate: 0.1 there, 0.05 here", ...]` between two configs as `to_dict` gives them.

    The old one may be of an older version, see `upgrade`.
    """
    old, new = flatten(upgrade(old)), flatten(new)
    return [
        f"{path}: {format_value(old.get(path, 'absent'))} there, {format_value(new.get(path, 'absent'))} here"
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    ]


def fingerprint(config: Config) -> str:
    """Eight hexadecimal digits that change with any field that is not at its default."""
    defaults = flatten(to_dict(Config()))
    changed = {path: value for path, value in flatten(to_dict(config)).items() if value != defaults[path]}
    return hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:8]
