"""The architecture diagram, as a test: data flows one way, so imports do too."""

import ast
import pathlib

ROOT = pathlib.Path(__file__).parents[1] / "cnn_jax"
BASE = {"config", "layers", "models", "data", "train"}
MAY_IMPORT = {
    "config": set(),
    "presets": {"config"},
    "layers": set(),
    "models": {"config", "layers"},
    "weights": {"config", "data", "layers", "models", "network", "train"},
    "data": set(),
    "train": {"config", "data"},
    "extraction": {"data"},
    "network": {"config", "data", "extraction"},
    "retrieval": {"config", "data", "network", "report", "train"},
    "report": {"data", "train"},
    "features": {"config", "data", "report"},
    "initial": {"config", "models", "train", "weights"},
    "ledger": {"config", "layers", "models"},
    "tasks": BASE | {"initial", "network"},
    "evaluation": BASE | {"network", "report", "tasks", "weights"},
    "doctor": {"data", "layers", "train"},
    "verify": {"config", "data", "train", "tasks"},
    "runner": {"config", "data", "train", "tasks"},
    "benchmark": BASE | {"tasks", "presets", "report"},
    "sweep": {"config", "data", "train", "tasks", "runner"},
    "plan": {"config", "data", "train", "tasks", "runner", "sweep"},
    "studies": BASE | {"evaluation", "layers", "network", "presets", "report", "retrieval", "tasks"},
}
SIBLINGS_APART = ("tasks", "studies")  # what stands in these rooms imports no other that does,
SHARED = {"tasks": {"images", "backbone"}, "studies": set[str]()}  # but what is there for all of them


def imported(path):
    """Dotted names below `cnn_jax` that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "cnn_jax":
            yield from (f"{node.module}.{alias.name}".split(".")[1:] for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1:] for a in node.names if a.name.startswith("cnn_jax."))


def test_imports_only_point_down():
    for path in ROOT.rglob("*.py"):
        here = path.relative_to(ROOT).with_suffix("").parts
        if here[0] == "__init__":
            continue
        for there in imported(path):
            allowed = there[0] in MAY_IMPORT[here[0]] | {here[0]}
            if here[0] == there[0] in SIBLINGS_APART and here[1] != "__init__":
                allowed = there[1] in {here[1], *SHARED[here[0]]}
            assert allowed, f"{'/'.join(here)} may not import {'.'.join(there)}"


def test_everything_can_be_read_in_one_go():
    for path in [*ROOT.rglob("*.py"), *ROOT.parent.glob("experiments/**/*.py"), *ROOT.parent.glob("tests/**/*.py")]:
        text = path.read_text()
        assert len(text.splitlines()) <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{path}: {node.name}"
