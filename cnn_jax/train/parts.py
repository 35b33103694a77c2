"""Parts of the parameters: what of them is trained, and at which multiple of the learning rate."""

import fnmatch
import itertools
from typing import Any

import jax

from cnn_jax.config import ConfigError, Optim, part_rates, suggest


def select_trained(params: Any, frozen: Any) -> Any:
    """The parameters with None, which is no leaf, in place of each that is frozen.

    `frozen` is a tree like them, True for those that stay as they are, or None, which is of none.
    """
    return params if frozen is None else jax.tree.map(lambda leaf, stays: None if stays else leaf, params, frozen)


def restore_frozen(trained: Any, params: Any) -> Any:
    """All the parameters: those of `trained`, and where that has None those of `params`."""
    return jax.tree.map(
        lambda new, old: old if new is None else new, trained, params, is_leaf=lambda leaf: leaf is None
    )


def rate_multipliers(optim: Optim, params: Any) -> Any:
    """What the learning rate of each parameter is multiplied by, a tree of floats.

    Args:
      optim: its `rates`; of several parts that a parameter is in, the last counts.
      params: those that are trained.

    Raises:
      ConfigError: a part has no parameter among them.
    """
    multipliers = {path: 1.0 for path, _ in jax.tree_util.tree_leaves_with_path(params)}
    for part, multiplier in part_rates(optim).items():
        found = [path for path in multipliers if _is_in(path, part)]
        if not found:
            modules = list(dict.fromkeys(path_names(path)[0] for path in multipliers))
            raise ConfigError(f"optim.rates={part}:{multiplier:g}: no such part is trained; {suggest(part, modules)}")
        multipliers |= dict.fromkeys(found, multiplier)
    return jax.tree_util.tree_map_with_path(lambda path, _: multipliers[path], params)


def _is_in(path: Any, part: str) -> bool:
    """Whether a parameter's path, or one of a module that it is in, is the part or matches it."""
    paths = itertools.accumulate(path_names(path), "{}/{}".format)
    return any(fnmatch.fnmatchcase(one, part) for one in paths)


def path_names(path: Any) -> list[str]:
    """The names along a path of a tree."""
    return jax.tree_util.keystr(path, simple=True, separator="/").split("/")
