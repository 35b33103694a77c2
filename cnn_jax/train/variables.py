"""Variables to begin with: a converted checkpoint, or what a run of ours has learned."""

import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from cnn_jax.train import record
from cnn_jax.train.checkpoint import digest, first_line, silence_orbax

METADATA_FILE = "converted.json"


def save(folder: Path, variables: dict[str, Any], about: dict[str, Any]) -> None:
    """Writes an Orbax checkpoint of the variables with what is to be known of them; the whole folder or none.

    Args:
      folder: new.
      variables: collections of nested dicts of arrays.
      about: `model`, the settings of the network, and `preprocess`, its `mean` and `std`, better all that
        `network.describe` gives; what else is of use.

    Raises RecordError where the folder is there already or cannot be written.
    """
    if folder.exists():
        raise record.RecordError(f"{folder} is there already; give another --workdir, or delete it")
    temporary = folder.absolute().with_name(f".{folder.name}.{secrets.token_hex(8)}")
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(temporary / "variables", variables)
        record.write_json(temporary / METADATA_FILE, about | {"digest": digest(variables)})
        os.rename(temporary, folder)
    except OSError as error:
        raise record.RecordError(f"cannot write {folder}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The variables of a folder that `save` wrote, or of a run's newest checkpoint that is whole, and what is known.

    Returns:
      The variables, numpy arrays, and what `describe` gives with their `digest`, and of a run `step`.

    Raises:
      RecordError: there are none, they cannot be read, or they are not what was saved.
    """
    about = describe(folder)
    if "digest" in about:
        variables = read_tree(folder / "variables")
        if digest(variables) != about["digest"]:
            raise record.RecordError(f"{folder} is damaged: its content is not what was saved")
        return variables, about
    step, variables = read_newest(find_steps(folder))
    return variables, about | {"digest": digest(variables), "step": step}


def describe(folder: Path) -> dict[str, Any]:
    """What is known of a converted checkpoint or a run, its variables left unread.

    Returns:
      A dict with `model`, the settings of the network; `preprocess`, its `mean` and `std`, as a config has them; and
      `network`, all that `network.describe` gives, None where an older version did not write it.

    Raises RecordError where the folder is neither.
    """
    about = record.read_json(folder / METADATA_FILE)
    if about is not None:
        return about | {"network": about if "class_names" in about else None}
    config = record.read_json(folder / "config.json")
    if config is None or not find_steps(folder):
        raise record.RecordError(
            f"{folder} is neither a converted checkpoint nor a run with one; see ./launch.sh convert"
        )
    preprocess = {name: config["data"][name] for name in ("mean", "std")}
    network = record.read_json(folder / "network.json")
    return {"model": config["model"], "preprocess": preprocess, "network": network}


def find_steps(folder: Path) -> list[Path]:
    """The checkpoints of a run, by step."""
    return sorted((folder / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))


def read_newest(steps: list[Path]) -> tuple[int, dict[str, Any]]:
    """The last checkpoint that is what was saved, its step and variables; raises RecordError where none is.

    They are the averaged ones where the run averages. It only reads, so that a run can be looked at while it goes on.
    """
    *before, last = steps
    try:
        state, meta = read_tree(last / "state"), record.read_json(last / "meta" / "metadata") or {}
        variables = state.get("average") or {"params": state["params"], **state["model_state"]}
        if digest(variables) != meta.get("variables"):
            raise record.RecordError(f"{last} is damaged, or an older version wrote it")
        return int(last.name), variables
    except record.RecordError as error:
        if not before:
            raise
        print(f"{error}: going back to {before[-1].name}")
        return read_newest(before)


def read_tree(path: Path, target: Any = None) -> Any:
    """An Orbax tree of numpy arrays, as nested dicts or, if given, of the structure of `like`; raises RecordError."""
    silence_orbax()
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            tree = checkpointer.metadata(path.absolute()).item_metadata.tree if target is None else target
            target = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), tree)
            return checkpointer.restore(path.absolute(), target)
    except Exception as error:  # whatever Orbax and its file formats raise on damaged files
        raise record.RecordError(f"{path} cannot be read: {first_line(error)}") from error
