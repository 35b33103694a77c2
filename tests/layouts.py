"""The same runs on every layout of devices and processes, and each resumed on every other: the work of test_layouts.

    python -m tests.layouts FOLDER DATA_DIR [ADDRESS INDEX]

On its own it is the layouts of four devices in one process; with an address and an index, of two devices in each of
two. Both are started together, and each resumes what the other has left half-way.
"""

import shutil
import signal
import sys
import time
from pathlib import Path

import jax

from cnn_jax import classification, data, presets
from cnn_jax.config import override
from cnn_jax.train import devices, loop, processes
from cnn_jax.train.signals import Stopped

STEPS, HALF = 12, 5
BATCH_NORM = ("8", "global")
ONE_PROCESS = {
    "1 device": ("jit", 1, 1),
    "1 device in 2 parts": ("jit", 1, 2),
    "4 devices, jit": ("jit", 4, 1),
    "4 devices, pmap": ("pmap", 4, 1),
}
TWO_PROCESSES = {"2 processes of 2, jit": ("jit", 2, 1), "2 processes of 2, pmap": ("pmap", 2, 1)}
LAYOUTS = ONE_PROCESS | TWO_PROCESSES


class AfterHalf(list):
    """A signal that is there once it was asked for so often."""

    asked = 0

    def __bool__(self):
        self.asked += 1
        return self.asked >= HALF


def possible(name, batch_norm):
    """Global batch norm over parts would be another: it is refused."""
    return not (LAYOUTS[name][2] > 1 and batch_norm == "global")


def config(batch_norm):
    settings = ["model.name=resnet8", "model.width=4", "model.dropout=0.2", "batch_size=32", "data.pad=1"]
    settings += ["data.flip=true", "data.validation=37", f"steps={STEPS}", "evaluations=2"]
    return override(presets.get("resnet_digits"), [*settings, f"model.bn_group={batch_norm}"])


def run(name, batch_norm, folder, dataset, signals=()):
    layout = devices.choose(*LAYOUTS[name])
    complete = classification.complete(config(batch_norm), dataset)
    devices.check(complete, layout)
    task = classification.make_task(complete, dataset, layout.axis_name)
    options = loop.Options(layout, progress=False, signals=signals)
    with devices.placed(layout):
        return loop.fit(task, complete, dataset, folder, options)


def main(folder, data_dir, address=None, index=None):
    if address:
        processes.initialize(address, 2, int(index))
    own = TWO_PROCESSES if address else ONE_PROCESS
    dataset = data.load("digits", data_dir, validation=37)
    for batch_norm in reversed(BATCH_NORM):
        for name in own:
            if possible(name, batch_norm):
                run(name, batch_norm, folder / name / batch_norm, dataset)
    for name in own:
        try:
            run(name, BATCH_NORM[0], folder / name / "half", dataset, AfterHalf([signal.SIGTERM]))
        except Stopped:
            processes.from_leader(lambda name=name: (folder / name / "is half").touch())
    for name in own:
        for begun in LAYOUTS:
            source, target = folder / begun / "half", folder / begun / f"half, then {name}"
            processes.from_leader(lambda source=source, target=target: copy(source, target))
            run(name, BATCH_NORM[0], target, dataset)


def copy(source, target):
    """Copies what is half-way as soon as whoever runs it has stopped there."""
    deadline = time.monotonic() + 300
    while not source.with_name("is half").exists():
        assert time.monotonic() < deadline, source
        time.sleep(0.1)
    shutil.copytree(source, target)


if __name__ == "__main__":
    jax.config.update("jax_numpy_rank_promotion", "raise")
    main(Path(sys.argv[1]), *sys.argv[2:])
