"""Images a second of our loader and of PyTorch's, in alternating turns."""

import contextlib
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cnn_jax.benchmark.turns import InputWorkload, SideProcess, cpu_threads, time_alternately
from cnn_jax.train import record

OURS, PEERS = "cnn_jax.benchmark.input_ours", {"torch": "cnn_jax.benchmark.input_torch"}


def measure(
    workloads: Sequence[InputWorkload], peer: str | None, rounds: int, batches: int, progress: bool
) -> list[list[str]]:
    """A row for each workload: images a second of both sides, the median of the rounds, and the rounds' ratios."""
    rows = []
    for workload in tqdm(workloads, "loading", unit="setting", disable=not progress):
        with contextlib.ExitStack() as stack:
            ours = stack.enter_context(SideProcess(OURS, workload))
            other = stack.enter_context(SideProcess(PEERS[peer], workload)) if peer else None
            seconds, theirs = time_alternately(ours, other, rounds, batches)
        row = [str(workload.workers), workload.pixels, f"{workload.batch_size / np.median(seconds):.0f}"]
        if theirs:
            ratios = np.divide(theirs, seconds)
            low, middle, high = np.percentile(ratios, [25, 50, 75])
            row += [f"{workload.batch_size / np.median(theirs):.0f}", f"{middle:.2f} [{low:.2f}, {high:.2f}]"]
        rows.append(row)
    return rows


def write(rows: Sequence[Sequence[str]], workload: InputWorkload, peer: str | None, command: str, workdir: Path) -> str:
    """Writes input.md into the workdir and returns it."""
    heads = ["worker processes", "pixels", "ours, images/s"]
    heads += [f"{peer}, images/s", "ratio: median [quartiles]"] if peer else []
    lines = [heads, ["---"] * len(heads), *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    packages = ["grain", "pillow", *(["torch", "torchvision"] if peer else [])]
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in packages)
    note = (
        f"Random resized crops of {workload.size} pixels, mirrored, batches of {workload.batch_size}, from "
        f"{Path(workload.folder).name}; {cpu_threads()} CPU cores, {platform.machine()}, Python "
        f"{platform.python_version()}, {versions}."
    )
    text = f"`{command}`\n\n{table}\n\n{note}\n"
    record.write_atomically(workdir / "input.md", text)
    return text
