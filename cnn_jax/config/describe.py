"""Every field of a Config as a user reads of it: its name, type and default, and what it is."""

import ast
import dataclasses
import inspect
import textwrap
import typing
from typing import Any

from cnn_jax.config import fields
from cnn_jax.config.checks import CHOICES
from cnn_jax.config.fields import Config, format_value

WIDTH = 116


def describe_fields() -> str:
    """A paragraph a field, in the order of the config: `optim.momentum (float, default 0.9)`, and its docstring."""
    return "\n".join(_describe(Config(), "", _docstrings()))


def _describe(section: Any, prefix: str, docstrings: dict[tuple[str, str], str]) -> list[str]:
    paragraphs = []
    types = typing.get_type_hints(type(section))
    for field in dataclasses.fields(section):
        value, path = getattr(section, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            paragraphs += _describe(value, f"{path}.", docstrings)
            continue
        kind = " | ".join(CHOICES[path]) if path in CHOICES else _type_name(types[field.name])
        default = "the network's own" if value is None else format_value(value) or "none"
        paragraphs.append(f"{path}  ({kind}; default {default})")
        text = docstrings.get((type(section).__name__, field.name), "")
        paragraphs += textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    ")
    return paragraphs


def _type_name(kind: Any) -> str:
    if typing.get_origin(kind) is tuple:
        items = {str: "names"}.get(typing.get_args(kind)[0], "numbers")
        return f"{items}, comma-separated"
    parts = [part for part in typing.get_args(kind) or (kind,) if part is not type(None)]
    return " | ".join(part.__name__ for part in parts)


def _docstrings() -> dict[tuple[str, str], str]:
    """The string below each field, by (class, field): Python itself does not keep it."""
    found = {}
    for node in ast.parse(inspect.getsource(fields)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for field, text in zip(node.body, node.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                found[node.name, field.target.id] = " ".join(ast.literal_eval(text.value).split())
    return found
