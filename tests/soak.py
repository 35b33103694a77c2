"""Runs and sweeps killed at random moments and started again until they end: all bits are those of undisturbed ones.

    .venv/bin/python -m tests.soak --kills=200 --workdir=/tmp/soak --output=experiments/results/soak

Half of the signals are SIGTERM and half SIGKILL; two of three wait for a phase chosen at random, the others for a
random moment. Nothing that was finished may be touched again. The exit status is 1 where a bit differs or anything is
lost.
"""

import collections
import csv
import io
import json
import os
import platform
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import app, flags
from PIL import Image

from cnn_jax import data
from cnn_jax.train.manifest import versions
from cnn_jax.train.record import write_atomically

FLAGS = flags.FLAGS
flags.DEFINE_integer("kills", 20, "How many signals in all, at least.", lower_bound=1)
flags.DEFINE_float("minutes", 90.0, "After so long no further run is begun.", lower_bound=0)
flags.DEFINE_string("workdir", None, "Where the runs go; it must not exist.", required=True)
flags.DEFINE_string("output", None, "Where the table goes; the workdir by default.")
flags.DEFINE_list("kinds", ["train", "sweep", "workers", "processes", "streamed"], "What is run.")
flags.DEFINE_integer("at_once", 2, "Runs killed at a time.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Of all that is drawn.")

STEPS = 24
TINY = ["--width=4", "--noprogress", "--checkpoint_seconds=0", "--set=batch_size=32", f"--set=steps={STEPS}"]
TINY += ["--set=evaluations=4", "--set=data.flip=true", "--set=model.bn_group=16"]
DIGITS = [*TINY, "--validation=37", "--set=data.pad=1"]
SWEEP = ["depth_sweep", "--depths=8", "--kinds=plain,residual", "--seeds=0,1", *DIGITS]
COMMANDS = {
    "train": ["train", "--model=plain8", *DIGITS],
    "sweep": SWEEP,
    "workers": [*SWEEP, "--workers=2"],
    "processes": ["train", "--model=plain8", *DIGITS, "--processes=2", "--devices=1"],
    "streamed": ["train", "--model=plain8", *TINY, "--dataset=digits_files", "--set=data.crop=16", "--set=data.pca=0.1"]
    + ["--set=data.short_side=16,24", "--set=data.mean=0.5"],
}
PHASES = ("start", "compiling", "training", "evaluating", "saving", "report")
PATIENCE = 300.0  # seconds until a process that does not end is a failure


class Kill(NamedTuple):
    kind: str
    number: signal.Signals
    phase: str


class Trial(NamedTuple):
    """What came of one run or sweep: its kills, whether it ended like the undisturbed one, what went wrong."""

    kills: list[Kill]
    equal: bool
    wrong: list[str]


def make_files(folder: Path) -> None:
    """The digits as an image folder: 20 of each class to train on, 5 to test on."""
    dataset = data.load("digits", folder)
    for split, count in (("train", 20), ("test", 5)):
        for label in range(10):
            place = folder / "digits_files" / split / str(label)
            place.mkdir(parents=True)
            images = dataset.splits[split]["image"][dataset.splits[split]["label"] == label][:count]
            for number, image in enumerate(images):
                Image.fromarray(np.repeat(np.repeat(image[..., 0], 3, 0), 3, 1)).save(place / f"{number:02}.png")


def start(kind: str, folder: Path, workdir: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", f"experiments.{COMMANDS[kind][0]}", *COMMANDS[kind][1:], f"--data_dir={folder}"]
    kept = {  # as launch.sh has it
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    return subprocess.Popen(
        [*command, f"--workdir={workdir}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=kept | os.environ | {"JAX_NUM_CPU_DEVICES": "1", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def phase(workdir: Path) -> str:
    """What the process at work there is doing, as far as its files tell."""
    told = {path.parent for path in workdir.glob("*/progress.json")}
    for path in told:
        try:
            return json.loads((path / "progress.json").read_text())["phase"]
        except (OSError, ValueError, KeyError):
            continue
    begun, finished = list(workdir.glob("*/config.json")), list(workdir.glob("*/result.json"))
    return "report" if begun and len(begun) == len(finished) else "start"


def finished(workdir: Path) -> dict[Path, tuple[bytes, int]]:
    """The results that are there, and when they were written."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in workdir.glob("*/result.json")}


def kill(
    process: "subprocess.Popen[str]", kind: str, workdir: Path, draw: random.Random, seconds: float
) -> Kill | None:
    """Waits for the moment, and sends the signal; None where the process has ended before."""
    number = draw.choice([signal.SIGTERM, signal.SIGKILL])
    awaited = draw.choice([None, *draw.sample(PHASES, 2)])
    until = time.monotonic() + draw.uniform(0, seconds if awaited is None else 0.3 * seconds)
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        now = phase(workdir)
        if time.monotonic() > until and awaited in (None, now):
            # As the kernel and most schedulers do it, a whole group; or the process that was started, alone.
            whole = number == signal.SIGKILL and draw.random() < 0.5
            (os.killpg if whole else os.kill)(process.pid, number)
            return Kill(kind, number, now)
        time.sleep(0.002)
    return None


def ends(workdir: Path) -> dict[str, Any]:
    """All that a run or sweep leaves which depends on its configs alone."""
    left: dict[str, Any] = {}
    for folder in sorted(path.parent for path in workdir.glob("*/config.json")):
        result = json.loads((folder / "result.json").read_text())
        del result["seconds"]
        meta = json.loads((folder / "checkpoints" / str(STEPS) / "meta" / "metadata").read_text())
        record = [(folder / name).read_bytes() for name in ("metrics.jsonl", "losses.float32", "config.json")]
        left[folder.name] = result, meta["digest"], record
    report = workdir / "results.csv"
    if report.exists():
        rows = csv.DictReader(io.StringIO(report.read_text()))
        left["report"] = [{name: value for name, value in row.items() if "seconds" not in name} for row in rows]
    return left


def attempts(
    kind: str, folder: Path, workdir: Path, draw: random.Random, seconds: float, trial: Trial
) -> Iterator[int]:
    """The exit status of every process, until one is left to end by itself, and does."""
    for left in range(draw.randint(1, 6), -1, -1):
        before = finished(workdir)
        process = start(kind, folder, workdir)
        over = COMMANDS[kind][0] == "train" and before
        done = kill(process, kind, workdir, draw, seconds) if left and not over else None
        try:
            _, said = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            _, said = process.communicate()
            trial.wrong.append(f"{kind}: it did not end within {PATIENCE:.0f} s after {done}")
        after = finished(workdir)
        if any(after.get(path) != content for path, content in before.items()):
            trial.wrong.append(f"{kind}: a finished result was lost or written again")
        if done:
            trial.kills.append(done)
        allowed = {0} if done is None else {0, -done.number, 128 + done.number}
        if "another process is running" in said:  # what the dead one started is still about to end
            time.sleep(2)
        elif process.returncode not in allowed:
            trial.wrong.append(f"{kind}: exit status {process.returncode} after {done}: {said[-600:]}")
        yield process.returncode


def run_trial(kind: str, folder: Path, workdir: Path, draw: random.Random, seconds: float, expected: Any) -> Trial:
    trial = Trial([], False, [])
    status = 1
    for status in attempts(kind, folder, workdir, draw, seconds, trial):
        if status == 0:
            break
    for _ in range(10):
        if status == 0:
            break
        process = start(kind, folder, workdir)
        process.communicate()
        status = process.returncode
        time.sleep(1)
    try:
        equal = status == 0 and ends(workdir) == expected
    except (OSError, ValueError, KeyError) as error:
        equal = bool(trial.wrong.append(f"{kind}: {error}"))
    if equal:
        shutil.rmtree(workdir)
    else:
        trial.wrong.append(f"{kind}: {workdir} did not end as the undisturbed one")
    return trial._replace(equal=equal)


def table(trials: list[tuple[str, Trial]]) -> list[dict[str, Any]]:
    """A row for each kind and signal: how often it was hit in each phase, and how the runs ended."""
    rows = []
    for kind in dict.fromkeys(kind for kind, _ in trials):
        own = [trial for name, trial in trials if name == kind]
        for number in (signal.SIGTERM, signal.SIGKILL):
            hit = collections.Counter(k.phase for trial in own for k in trial.kills if k.number == number)
            row: dict[str, Any] = {"what": kind, "signal": number.name, "kills": hit.total()}
            row |= {name: hit[name] for name in PHASES}
            row |= {"runs": len(own), "ended equal": sum(trial.equal for trial in own)}
            rows.append(row | {"wrong": sum(len(trial.wrong) for trial in own)})
    return rows


def write(output: Path, rows: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    """soak.csv, soak.md and soak.json; returns the text."""
    total = {name: sum(row[name] for row in rows) for name in ("kills", *PHASES)}
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    lines.append(["all", "", *total.values(), *[""] * 3])
    text = "\n".join(
        "| " + " | ".join(map(str, line)) + " |" for line in [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    )
    output.mkdir(parents=True, exist_ok=True)
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(lines)
    write_atomically(output / "soak.csv", file.getvalue())
    write_atomically(output / "soak.json", json.dumps(facts | {"rows": rows}, indent=2) + "\n")
    write_atomically(
        output / "soak.md", f"`{facts['command']}`\n\n{text}\n\n{facts['machine']}, {facts['minutes']} minutes.\n"
    )
    return text


def main(_: list[str]) -> int:
    workdir, begun, draw = Path(FLAGS.workdir), time.monotonic(), random.Random(FLAGS.seed)
    workdir.mkdir(parents=True)
    make_files(workdir / "data")
    expected, seconds = {}, {}
    for kind in FLAGS.kinds:
        for turn in ("cold", "warm"):  # the second finds everything compiled, as those that are killed do
            before, folder = time.monotonic(), workdir / f"{kind}-{turn}"
            process = start(kind, workdir / "data", folder)
            _, said = process.communicate(timeout=PATIENCE)
            if process.returncode:
                print(f"error: undisturbed, {kind} ended with {process.returncode}: {said}", file=sys.stderr)
                return 1
            seconds[kind] = time.monotonic() - before
        expected[kind] = ends(folder)
        print(f"{kind}: {seconds[kind]:.1f} s undisturbed", flush=True)
    trials: list[tuple[str, Trial]] = []

    def one(number: int, own: random.Random) -> None:
        kind = FLAGS.kinds[number % len(FLAGS.kinds)]
        if sum(len(t.kills) for _, t in trials) < FLAGS.kills and time.monotonic() - begun < 60 * FLAGS.minutes:
            place = workdir / f"{kind}-{number}"
            trial = run_trial(kind, workdir / "data", place, own, seconds[kind], expected[kind])
            trials.append((kind, trial))
            print(
                f"{sum(len(t.kills) for _, t in trials)} kills; {kind}: {len(trial.kills)}, equal {trial.equal}",
                flush=True,
            )
            print(*trial.wrong, sep="\n", end="\n" * bool(trial.wrong), flush=True)

    with ThreadPoolExecutor(FLAGS.at_once) as pool:
        list(pool.map(one, range(FLAGS.kills), [random.Random(draw.random()) for _ in range(FLAGS.kills)]))
    facts = {
        "command": shlex.join([".venv/bin/python", "-m", "tests.soak", *sys.argv[1:]]),
        "machine": f"{platform.platform()}, {os.cpu_count()} CPUs",
        "versions": versions(),
        "minutes": round((time.monotonic() - begun) / 60, 1),
        "wrong": [wrong for _, trial in trials for wrong in trial.wrong],
    }
    print(write(Path(FLAGS.output or workdir), table(trials), facts))
    return int(bool(facts["wrong"]))


if __name__ == "__main__":
    app.run(main)
