"""The same runs on every layout of devices and processes, and begun on one and resumed on others.

    .venv/bin/python -m tests.layouts --output=experiments/results/layouts    # all pairs, in a table

Three processes at a time: one has the layouts of up to four devices, two those of two devices in each. Each resumes
what the others have left half-way.
"""

import itertools
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from absl import app, flags

from cnn_jax import data, presets, tasks
from cnn_jax.config import from_dict, override
from cnn_jax.train import devices, loop, processes
from cnn_jax.train.checkpoint import Checkpoints
from cnn_jax.train.record import read_losses, write_atomically
from cnn_jax.train.signals import Stopped
from tests import linear

STEPS = 12
BATCH_NORM = ("8", "global")
ONE_PROCESS = {
    "1 device": ("jit", 1, 1),
    "1 device in 2 parts": ("jit", 1, 2),
    "4 devices, jit": ("jit", 4, 1),
    "4 devices, pmap": ("pmap", 4, 1),
}
TWO_PROCESSES = {"2 processes of 2, jit": ("jit", 2, 1), "2 processes of 2, pmap": ("pmap", 2, 1)}
LAYOUTS = ONE_PROCESS | TWO_PROCESSES
OTHERS = {
    "adamw, exponential average": "2 processes of 2, jit",
    "lbfgs": "4 devices, pmap",
    "frozen, rates, clipped, uniform average": "4 devices, pmap",
}
"""Beside one device, where the small problem of `linear` is trained in each of its ways."""
SOME_LINEAR = tuple((name, setting) for setting, other in OTHERS.items() for name in ("1 device", other))
ALL_LINEAR = tuple(itertools.product(("1 device", *dict.fromkeys(OTHERS.values())), OTHERS))
FLAGS = flags.FLAGS
flags.DEFINE_string("output", None, "Where the table of all pairs goes.")
flags.DEFINE_list("process", None, "Be one of the processes: a folder, the data folder, SOME or ALL, [address, index].")


def possible(name, batch_norm):
    """Global batch norm over parts would be another: it is refused."""
    return not (LAYOUTS[name][2] > 1 and batch_norm == "global")


ALL_RUNS = tuple((name, norm) for norm in BATCH_NORM for name in LAYOUTS if possible(name, norm))
SOME_RUNS = (
    *(("1 device", "global"), ("4 devices, pmap", "global"), ("2 processes of 2, jit", "global")),
    *(("1 device", "8"), ("1 device in 2 parts", "8"), ("4 devices, jit", "8"), ("2 processes of 2, pmap", "8")),
)
"""(layout, batch norm): any two of jit or pmap, one process or two, either batch norm are met together."""
ALL_PAIRS = tuple((BATCH_NORM[0], *pair) for pair in itertools.product(LAYOUTS, LAYOUTS))
SOME_PAIRS = (
    *(("8", "1 device", "1 device in 2 parts"), ("8", "1 device in 2 parts", "4 devices, jit")),
    *(("8", "4 devices, jit", "2 processes of 2, pmap"), ("8", "2 processes of 2, pmap", "1 device")),
    *(("8", name, name) for name in ("1 device in 2 parts", "4 devices, jit", "2 processes of 2, pmap")),
    ("global", "4 devices, pmap", "2 processes of 2, jit"),
    ("global", "2 processes of 2, jit", "4 devices, pmap"),
)
"""(batch norm, begun on, resumed on): each layout is left and taken up; `linear` is resumed on its own."""
WORK = {"SOME": (SOME_RUNS, SOME_PAIRS, SOME_LINEAR), "ALL": (ALL_RUNS, ALL_PAIRS, ALL_LINEAR)}


def half(folder, batch_norm, begun):
    """The run that was stopped on its way."""
    return folder / begun / f"{batch_norm}, half"


def resumed(folder, batch_norm, begun, name):
    """What became of it on another layout."""
    return folder / begun / f"{batch_norm}, then on {name}"


def config(batch_norm):
    settings = ["model.name=resnet8", "model.width=4", "model.dropout=0.2", "batch_size=32", "data.pad=1"]
    settings += ["data.flip=true", "data.validation=37", f"steps={STEPS}", "evaluations=2"]
    return override(presets.get("resnet_digits"), [*settings, f"model.bn_group={batch_norm}"])


def run(name, batch_norm, folder, dataset, signals=()):
    layout = devices.make_layout(*LAYOUTS[name])
    complete = tasks.complete(config(batch_norm), dataset)
    devices.check_batch(complete, layout)
    task = tasks.make(complete, dataset, layout.axis_name)
    options = loop.Options(layout, progress=False, signals=signals)
    with devices.default_device(layout):
        return loop.fit(task, complete, dataset, folder, options)


def process(folder, data_dir, amount, address=None, index=None):
    """The work of one of the three processes."""
    jax.config.update("jax_numpy_rank_promotion", "raise")
    if address:
        processes.initialize(address, 2, int(index))
    own = TWO_PROCESSES if address else ONE_PROCESS
    dataset = data.load("digits", data_dir, validation=37)
    runs, pairs, small = WORK[amount]
    for name, batch_norm in runs:
        if name in own:
            run(name, batch_norm, folder / name / batch_norm, dataset)
    for batch_norm, begun in dict.fromkeys(pair[:2] for pair in pairs):
        if begun in own:
            place = half(folder, batch_norm, begun)
            try:
                run(begun, batch_norm, place, dataset, linear.AfterHalf([signal.SIGTERM]))
            except Stopped:
                processes.run_on_leader(lambda place=place: mark(place).touch())
    for pair in pairs:
        if pair[2] in own:
            source, target = half(folder, *pair[:2]), resumed(folder, *pair)
            processes.run_on_leader(lambda source=source, target=target: copy(source, target))
            run(pair[2], pair[0], target, dataset)
    processes.SYNC_SECONDS = 0.0  # these steps take no time: the processes tell each other of signals at each
    for name, setting in small:
        if name in own:
            linear.run(setting, folder / name / setting, dataset, devices.make_layout(*LAYOUTS[name]))
    processes.shutdown(0)


def mark(place):
    """A file beside the run that says that it was stopped."""
    return place.with_name(f"{place.name}, is there")


def copy(source, target):
    """Copies what is half-way as soon as whoever runs it has stopped there."""
    deadline = time.monotonic() + 300
    while not mark(source).exists():
        assert time.monotonic() < deadline, source
        time.sleep(0.1)
    shutil.copytree(source, target)


def run_all(folder, data_dir, amount):
    """Has the three processes run SOME or ALL of the work in the folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    called = [
        start_process(4, folder, data_dir, amount),
        *(start_process(2, folder, data_dir, amount, address, i) for i in range(2)),
    ]
    try:
        for own, said in called:
            status = own.wait(timeout=600)
            said.seek(0)
            assert status == 0, said.read()
    finally:
        for own, said in called:
            own.kill()
            own.wait()
            said.close()


def start_process(devices, *arguments):
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)}
    command = [sys.executable, "-m", "tests.layouts", f"--process={','.join(map(str, arguments))}"]
    said = tempfile.TemporaryFile("w+")
    return subprocess.Popen(command, env=environment, stdout=said, stderr=said), said


def parameters(folder):
    config = from_dict(json.loads((folder / "config.json").read_text()))
    with Checkpoints(folder, config) as checkpoints:
        state = checkpoints.manager.restore(STEPS)["state"]
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state["params"])])


def largest_difference(one, other):
    """Of the parameters, and of the losses relative to themselves."""
    losses = read_losses(one), read_losses(other)
    assert len(losses[0]) == len(losses[1]) == STEPS
    return max(np.abs(parameters(one) - parameters(other)).max(), np.abs(losses[0] / losses[1] - 1).max())


def tables(folder):
    """Largest differences from one device, of the layouts and of the pairs."""
    norms = ["| | batch norm in groups of 8 | global |", "|---|---|---|"]
    for name in LAYOUTS:
        against = [(folder / "1 device" / b, folder / name / b) if possible(name, b) else None for b in BATCH_NORM]
        cells = [f"{largest_difference(*both):.1e}" if both else "refused" for both in against]
        norms.append(f"| {' | '.join([name, *cells])} |")
    pairs = [f"| begun on, resumed on | {' | '.join(LAYOUTS)} |", "|---" * (len(LAYOUTS) + 1) + "|"]
    reference = folder / "1 device" / BATCH_NORM[0]
    for begun in LAYOUTS:
        ends = [largest_difference(reference, resumed(folder, BATCH_NORM[0], begun, name)) for name in LAYOUTS]
        pairs.append(f"| {' | '.join([begun, *(f'{end:.1e}' for end in ends)])} |")
    return "\n".join(norms), "\n".join(pairs)


def main(_):
    if FLAGS.process:
        folder, *arguments = FLAGS.process
        return process(Path(folder), *arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data.load("digits", folder / "data")
        run_all(folder, folder / "data", "ALL")
        norms, pairs = tables(folder)
    command = shlex.join([".venv/bin/python", "-m", "tests.layouts", *sys.argv[1:]])
    text = f"`{command}`\n\nThe largest difference from the run on one device.\n\n{norms}\n\n{pairs}\n"
    print(text)
    if FLAGS.output:
        Path(FLAGS.output).mkdir(parents=True, exist_ok=True)
        write_atomically(Path(FLAGS.output) / "layouts.md", text)


if __name__ == "__main__":
    app.run(main)
