"""What a run does with each kind of parameter, for people to read before it begins."""

from collections.abc import Callable
from typing import Any

import jax

from cnn_jax.config import Optim, Penalty
from cnn_jax.train.parts import path_names, rate_multipliers, select_trained
from cnn_jax.train.penalties import mask, square_coefficient


def format_table(params: Any, optim: Optim, penalty: Penalty, frozen: Callable[[Any], Any] | None = None) -> str:
    """What is trained at which multiple of the learning rate, decays, is penalized and is bounded, and what not.

    A line for each kind of parameter, with its number of arrays and of parameters; `frozen` is the task's. Raises
    ConfigError where a part of `optim.rates` is not there.
    """
    trained = select_trained(params, frozen and frozen(params))
    columns = [{path: f"{rate:g}" for path, rate in _leaves(rate_multipliers(optim, trained))}]
    for which, text in zip((optim.decayed, penalty.penalized, "kernels"), _describe(optim, penalty), strict=True):
        columns.append({path: text for path, applies in _leaves(mask(trained, which)) if applies})
    kinds: dict[tuple[str, ...], tuple[int, int]] = {}
    for path, leaf in _leaves(params):
        rate, *others = (column.get(path) for column in columns)
        kind = "/".join(path_names(path)[-2:]), rate or "frozen", *(text or "none" for text in others)
        arrays, parameters = kinds.get(kind, (0, 0))
        kinds[kind] = arrays + 1, parameters + leaf.size
    layout = "{:<20} {:>6} {:>12}  {:<6}  {:<16} {:<32} {}"
    lines = [layout.format("parameter", "arrays", "parameters", "rate", "weight decay", "penalty", "max norm")]
    for (name, *texts), (arrays, parameters) in kinds.items():
        lines.append(layout.format(name, arrays, f"{parameters:,}", *texts))
    return "\n".join(lines)


def _leaves(tree: Any) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_leaves_with_path(tree)


def _describe(optim: Optim, penalty: Penalty) -> tuple[str, str, str]:
    """The decay, the penalty and the bound of what has them, in words."""
    decoupled = optim.decoupled or optim.optimizer == "adamw"
    decay = f"{optim.weight_decay:g}{' decoupled' if decoupled else ''}" if optim.weight_decay else "none"
    terms = [f"{penalty.l1:g} |w|"] * (penalty.l1 > 0) + [f"{square_coefficient(penalty):g} w^2"] * (penalty.l2 > 0)
    terms += [f"{penalty.towards_start / 2:g} |w - w0|^2"] * (penalty.towards_start > 0)
    form = " (proximal)" if penalty.form == "proximal" else ""
    return decay, " + ".join(terms) + form if terms else "none", f"{penalty.max_norm:g}" if penalty.max_norm else "none"
