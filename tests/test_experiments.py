"""Every page, started as a user starts it, with tiny settings; and what a user gets wrong."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from cnn_jax import presets
from cnn_jax.config import Config, flatten
from experiments.__main__ import pages
from experiments.flags import recipe
from tests import started
from tests.started import ROOT, read_refusal

TINY = ["--width=4", "--set=batch_size=32", "--set=steps=4", "--set=evaluations=2", "--noprogress"]


def launch(page, *flags, **environment):
    command = [sys.executable, "-W", "error", "-m", f"experiments.{page}", *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT, env=os.environ | environment)


def test_every_page_is_short_and_says_what_it_is_for():
    studies = {"architectures", "depth_diagnostics", "depth_sweep", "published_depth", "report", "train"}
    studies |= {"activation", "normalization", "padding", "pooling", "regularization", "retrieval", "transfer"}
    studies |= {"transferability"}
    tools = {"benchmark", "convert", "dataset", "doctor", "evaluate", "features", "input_benchmark", "ledger"}
    tools |= {"predict", "verify"}
    assert set(pages()) == studies | tools
    for page, line in pages().items():
        assert len(line) > 30
        assert len((ROOT / "experiments" / f"{page}.py").read_text().splitlines()) <= 60


@pytest.mark.parametrize("page", sorted(pages()))
def test_help_shows_the_pages_flags(page):
    done = started.run_page(page, "--help")
    text = done.stdout
    own = {"ledger": "--csv: ", "predict": "--output: ", "doctor": "--data_dir: ", "verify": "--run: "}
    assert own.get(page, "--workdir: ") in text and "(default: " in text
    assert (done.returncode, done.stderr) == (0, "")


def test_the_fields_of_the_config_are_listed():
    done = started.run_page("train", "--set=help")
    assert (done.returncode, done.stderr) == (0, "")
    paragraphs = re.findall(r"^([\w.]+)  \((.*); default (.*)\)\n    [A-Za-z|]", done.stdout, re.MULTILINE)
    assert [path for path, *_ in paragraphs] == list(flatten(Config()))  # each with its text below it
    found = {path: (kind, default) for path, kind, default in paragraphs}
    assert found["dtype"] == ("float32 | bfloat16", "float32")
    assert found["optim.boundaries"] == ("numbers, comma-separated", "0.5,0.75")
    assert found["model.bn_group"] == ("int | str", "the network's own")


@pytest.fixture(scope="module")
def study(digits_dir, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("study")
    flags = [f"--data_dir={digits_dir}", f"--workdir={workdir}", "--depths=8", "--seeds=0,1", "--validation=37", *TINY]
    return workdir, flags, launch("depth_sweep", *flags)


def test_depth_sweep_writes_the_whole_report(study):
    workdir, _, done = study
    assert done.returncode == 0, done.stderr
    with open(workdir / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("kind", "depth", "seed", "parameters", "train_error", "test_error"),
        *("test_error_at_best_validation", "best_test_error", "seconds"),
    ]
    assert [(row["kind"], row["depth"], row["seed"], row["parameters"]) for row in rows] == [
        (kind, "8", seed, "4934") for kind in ("plain", "residual") for seed in ("0", "1")
    ]
    assert all(0 <= float(row["best_test_error"]) <= float(row["test_error"]) <= 1 for row in rows)
    verdicts = json.loads((workdir / "claims.json").read_text())
    assert [verdict["verdict"] for verdict in verdicts] == ["UNDECIDED"] * 3
    for name in ("fig6.png", "fig6.svg", "error_against_depth.png", "error_against_depth.svg", "report.html"):
        assert (workdir / name).stat().st_size > 1000
    for folder in workdir.glob("*/"):
        assert {"config.json", "manifest.json", "metrics.jsonl", "result.json", "checkpoints"} <= {
            path.name for path in folder.iterdir()
        }
        assert list(folder.glob("events.out.tfevents.*"))


def test_a_second_call_runs_nothing_again_and_writes_the_same_report(study):
    workdir, flags, _ = study
    names = ("results.csv", "claims.json", "fig6.svg", "report.html")
    before = [(workdir / name).read_bytes() for name in names]
    done = started.run_page("depth_sweep", *flags)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 runs are finished already" in done.stdout
    assert [(workdir / name).read_bytes() for name in names] == before
    (workdir / "results.csv").unlink()
    done = started.run_page("report", f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    assert [(workdir / name).read_bytes() for name in names] == before


def test_train_prints_what_decays_and_the_errors(digits_dir, tmp_path):
    flags = ["--model=plain8", "--parallel=pmap", "--devices=2", f"--data_dir={digits_dir}", f"--workdir={tmp_path}"]
    done = started.run_page("train", *flags, *TINY)
    assert done.returncode == 0, done.stderr
    assert "bn/scale" in done.stdout and "none" in done.stdout
    assert done.stdout.startswith("recipe of plain8 on digits: resnet_digits\n")
    (folder,) = tmp_path.glob("plain8-*")
    before = (folder / "manifest.json").read_bytes()
    again = started.run_page("train", f"--config={folder}", f"--workdir={tmp_path}")
    assert again.stdout.splitlines()[-1] == done.stdout.splitlines()[-1]  # its config again is the same run, finished
    assert "test error" in again.stdout and (folder / "manifest.json").read_bytes() == before


def test_batch_norm_groups_follow_a_smaller_batch():
    cell = presets.get("resnet_cifar10")
    groups = {"32": "32", "16": "16", "96": "48", "128": "64", "8": "8"}
    for batch, group in groups.items():
        assert recipe.fit_batch_norm(cell, [f"batch_size={batch}"]) == [
            f"batch_size={batch}",
            f"model.bn_group={group}",
        ]
    for given in (["batch_size=67"], ["batch_size=32", "model.bn_group=16"], ["steps=4"], ["batch_size=many"]):
        assert recipe.fit_batch_norm(cell, given) == given


def test_a_failing_run_is_told_and_the_exit_status_is_1(digits_dir, tmp_path):
    flags = [f"--data_dir={digits_dir}", f"--workdir={tmp_path}", "--depths=8", "--seeds=0", "--kinds=plain", *TINY]
    done = started.run_page("depth_sweep", *flags, "--set=optim.learning_rate=1e20")
    assert done.returncode == 1
    assert "1 of 1 runs failed" in done.stdout
    assert "the loss is not finite at step 2, learning rate 1e+20" in done.stdout
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stopped_sweep_saves_its_runs_and_says_so(workers, digits_dir, tmp_path):
    flags = [f"--data_dir={digits_dir}", f"--workdir={tmp_path}", "--depths=8", "--seeds=0,1", "--kinds=plain", *TINY]
    process = started.Started("experiments.depth_sweep", *flags, "--set=steps=100000", f"--workers={workers}")
    deadline = time.monotonic() + 200
    while len(list(tmp_path.glob("*/metrics.jsonl"))) < workers:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    done = process.wait()
    assert done.returncode == 128 + signal.SIGTERM
    assert "the same command continues" in done.stderr
    saved = [path for path in tmp_path.glob("*/checkpoints/*") if path.name.isdigit()]
    assert len({path.parts[-3] for path in saved}) == workers
    assert not list(tmp_path.glob("*/failure.json")) and not list(tmp_path.glob("*/result.json"))


def test_plan_runs_nothing(digits_dir, tmp_path):
    flags = [f"--data_dir={digits_dir}", f"--workdir={tmp_path}", "--depths=8", "--kinds=plain", *TINY]
    done = started.run_page("depth_sweep", "--plan", *flags, "--progress")
    assert done.returncode == 0, done.stderr
    assert "plain8" in done.stdout and "4,934" in done.stdout
    assert done.stderr == "[1/1] compiling and timing plain8\n"
    assert not list(tmp_path.iterdir())


WRONG = {
    "unknown data set": (["--dataset=cifar11"], "did you mean cifar10"),
    "missing data set": (["--dataset=cifar10"], "--dataset=cifar10 --data_dir="),
    "unknown preset": (["--preset=resnet_cifar"], "unknown preset 'resnet_cifar'; did you mean resnet_cifar10"),
    "unknown field": (["--set=optim.learning_rates=1"], "did you mean optim.learning_rate"),
    "abbreviated field": (["--set=optim.lr=1"], "did you mean optim.learning_rate?"),
    "unlike any field": (["--set=qqq=1"], "--set=help lists them"),
    "abbreviated flag": (["--lr=1"], "unknown flag --lr; did you mean --learning_rate?"),
    "misspelt flag": (["--dephts=8"], "unknown flag --dephts; did you mean --depths"),
    "field as flag": (["--momentum=1"], "unknown flag --momentum; did you mean --set=optim.momentum=...?"),
    "unlike any flag": (["--qqq"], "--help lists the page's, --set=help the fields of the config"),
    "no flag": (["more"], "more is not a flag: write --name=value"),
    "wrong number": (["--steps=some"], "flag --steps=some: invalid literal for int()"),
    "wrong value": (["--set=steps=some"], "steps=some: not a int"),
    "wrong depth": (["--depths=8,21"], "depth 21 is not 6n+2; the nearest are 20 and 26"),
    "no depth": (["--depths="], "--depths is empty"),
    "depth in words": (["--depths=eight"], "--depths=eight: give whole numbers"),
    "unknown kind": (["--kinds=plane"], "unknown kind 'plane'; did you mean plain"),
    "odd batch": (["--devices=2", "--set=batch_size=33"], "batch_size=33 does not divide by 2 devices"),
    "no config": (["--config=nowhere"], "--config=nowhere: there is no config; give a run folder or its config.json"),
    "a config and a recipe": (
        ["--config=nowhere", "--preset=resnet_digits"],
        "--config and --preset: leave one out",
    ),
    "odd group": (["--set=model.bn_group=48"], "batch_size=128 is not a multiple of model.bn_group=48"),
    "too much validation": (["--validation=1437"], "leaves nothing to train on"),
    "workdir in the way": (["--workdir=pyproject.toml"], "cannot write in pyproject.toml"),
    "the seed twice": (["--set=seed=4"], "two runs of the sweep are the same"),
    "parallel seeds, one device": (
        ["--seeds_in_parallel", "--devices=1"],
        "wants several devices, and this is one (cpu)",
    ),
    "parallel seeds by pmap": (
        ["--seeds_in_parallel", "--parallel=pmap"],
        "gives each run one device, --parallel=pmap",
    ),
    "parallel seeds in workers": (["--seeds_in_parallel", "--workers=2"], "processes that share a CPU: leave one out"),
    "odd batch by its flag": (["--devices=2", "--batch_size=33"], "batch_size=33 does not divide by 2 devices"),
    "no rate": (["--learning_rate=0"], "optim.learning_rate=0.0: must be above 0"),
    "steps and epochs": (["--steps=3", "--epochs=1"], "--steps and --epochs: leave one out"),
    "unknown task": (["--set=task=classify"], "unknown task 'classify'; did you mean classification?"),
    "missing overlay": (["--overlay=nowhere.csv"], "cannot read overlay nowhere.csv"),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_one_line_before_any_training(name, digits_dir, tmp_path):
    flags, message = WRONG[name]
    assert message in read_refusal("depth_sweep", f"--data_dir={digits_dir}", f"--workdir={tmp_path / 'work'}", *flags)
    assert not list(tmp_path.rglob("config.json"))


@pytest.mark.parametrize(
    ("page", "flags", "message"),
    [
        ("pooling", ["--model=resnet8"], "resnet8 has no model.pooling; "),
        ("padding", ["--model=squeezenet1_1"], "squeezenet1_1 has no model.padding_mode; "),
        ("normalization", ["--model=googlenet"], "googlenet has no model.normalization; "),
        ("activation", ["--activations="], "no value of model.activation is given"),
        ("regularization", ["--set=task=denoising"], "is measured of classifiers; leave it out"),
        ("report", ["--study=pooling", "--overlay=a.csv"], "--overlay is for Fig. 6 of depth_sweep"),
    ],
)
def test_a_factor_that_cannot_be_studied_is_one_line(page, flags, message, digits_dir, tmp_path):
    data_dir = [] if page == "report" else [f"--data_dir={digits_dir}"]
    assert message in read_refusal(page, *flags, *data_dir, f"--workdir={tmp_path}")
    assert not list(tmp_path.rglob("config.json"))


def test_one_run_has_no_seeds_in_parallel(tmp_path):
    said = read_refusal("train", "--seeds_in_parallel", f"--workdir={tmp_path}")
    assert said == "error: --seeds_in_parallel: this page trains one seed; leave it out, or take depth_sweep\n"


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        ([], 0, "depth_sweep    Deeper plain networks train worse"),
        (["depth_swep"], 1, "unknown experiment 'depth_swep'; did you mean depth_sweep?"),
        (["flags"], 1, "unknown experiment 'flags'"),
    ],
)
def test_launch_sh_lists_the_pages(arguments, status, told):
    done = subprocess.run(["./launch.sh", *arguments], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == status
    assert told in done.stdout + done.stderr


def test_a_workdir_without_runs_cannot_be_reported(tmp_path):
    assert "no such folder" in read_refusal("report", f"--workdir={tmp_path / 'nothing'}")


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "parameters"), [("cifar10", "5006"), ("mnist", "4934")])
def test_the_real_data_sets_are_run_and_reported(dataset, parameters, real_data, tmp_path):
    flags = [f"--data_dir={real_data / 'tfds'}", f"--dataset={dataset}", "--depths=8", "--kinds=plain", "--seeds=0"]
    done = started.run_page("depth_sweep", *flags, f"--workdir={tmp_path}", "--set=model.bn_group=global", *TINY)
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader((tmp_path / "results.csv").read_text().splitlines())
    assert (row["depth"], row["parameters"]) == ("8", parameters)
    assert float(row["test_error"]) * 10_000 == pytest.approx(round(float(row["test_error"]) * 10_000))
