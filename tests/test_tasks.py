"""A learning problem that is no classification goes through the real engine: `denoising`, which the tests register."""

import csv
import json
import signal

import numpy as np
import pytest

from cnn_jax import presets, tasks
from cnn_jax.config import ConfigError, override
from cnn_jax.runner import view
from cnn_jax.train import devices, evaluate, feed, loop, record
from cnn_jax.train.task import Headline
from tests import denoising, killed
from tests.started import Started

PAGE = ("tests.denoising", "train")
FLAGS = ["--set=task=denoising", "--set=data.flip=false", "--set=data.pad=0", "--learning_rate=0.03"]


@pytest.fixture(scope="module")
def undisturbed(digits_dir, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("denoised")
    printed = killed.run(digits_dir, workdir, *FLAGS, "--devices=1", page=PAGE)
    return workdir, printed


def test_its_own_words_are_in_all_that_a_run_leaves(undisturbed):
    workdir, printed = undisturbed
    run = record.read_run(workdir / "run")
    result, lines = run.result, run.metrics
    assert run.headline == denoising.HEADLINE
    assert f"test PSNR {result['test_psnr']:.2f} dB, train PSNR {result['train_psnr']:.2f} dB" in printed
    assert not any("error" in name for name in [*result, *lines[0]])
    assert result["best_test_psnr"] == max(line["test_psnr"] for line in lines)
    best = max(lines, key=lambda line: line["validation_psnr"])
    assert result["test_psnr_at_best_validation"] == best["test_psnr"]
    assert lines[-1]["test_psnr"] > lines[0]["test_psnr"] > 13.9  # noise of 0.2 alone is 14 dB
    assert {"test_median_psnr", "validation_median_psnr", "train_psnr"} <= lines[0].keys()
    events = next((workdir / "run").glob("events.out*")).read_bytes()
    assert b"test/psnr" in events and b"test/median_psnr" in events


def test_killed_it_goes_on_to_the_same_bits(digits_dir, undisturbed, tmp_path):
    flags = [*FLAGS, "--devices=1"]
    status, _ = killed.interrupt(digits_dir, tmp_path, signal.SIGKILL, killed.reached(15), *flags, page=PAGE)
    assert status == -signal.SIGKILL
    progress = json.loads((tmp_path / "run" / "progress.json").read_text())
    assert progress["headline"] is None or progress["headline"].startswith("PSNR ")
    killed.run(digits_dir, tmp_path, *flags, page=PAGE)
    assert killed.read_outcome(tmp_path) == killed.read_outcome(undisturbed[0])


@pytest.mark.parametrize("layout", [["--devices=2"], ["--processes=2", "--devices=1"]])
def test_on_two_devices_and_in_two_processes_it_is_the_same_run(digits_dir, undisturbed, tmp_path, layout):
    killed.run(digits_dir, tmp_path, *FLAGS, *layout, page=PAGE)
    there, here = (record.read_run(workdir / "run").result for workdir in (undisturbed[0], tmp_path))
    assert here.keys() == there.keys()
    for name in ("test_psnr", "test_median_psnr", "train_psnr", "best_test_psnr"):
        assert here[name] == pytest.approx(there[name], rel=1e-3)
    assert here["test_ink"] == there["test_ink"]  # a sum over every test image, once


def test_it_is_verified(undisturbed):
    done = Started(PAGE[0], "verify", f"--run={undisturbed[0] / 'run'}", "--steps=8", "--noprogress").wait()
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("EQUAL\n")


def test_a_sweep_of_it_in_two_workers_is_reported_in_its_own_words(digits_dir, tmp_path):
    flags = ["--models=plain8,resnet8", "--seeds=0,1", "--width=4", "--workers=2", "--noprogress", *FLAGS]
    flags += ["--set=batch_size=32", "--set=evaluations=2", "--set=patience=0"]
    sweep = [PAGE[0], "architectures", f"--data_dir={digits_dir}", *flags, f"--workdir={tmp_path}", "--steps=6"]
    done = Started(*sweep).wait()
    assert done.returncode == 0, done.stderr
    assert "test PSNR" in done.stdout and "training dB" in done.stdout and "%" not in done.stdout
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert len(rows) == 4 and {"train_psnr", "test_psnr", "best_test_psnr"} <= rows[0].keys()
    page = (tmp_path / "report.html").read_text()
    assert "test dB" in page and "highest test PSNR of all evaluations" in page and "test %" not in page
    planned = Started(*sweep, "--plan", "--seeds=0,1,2").wait()
    assert planned.returncode == 0 and "nothing was trained" in planned.stdout, planned.stderr


@pytest.fixture(scope="module")
def problem(digits):
    assignments = ["task=denoising", "model.width=4", "data.pad=0", "data.flip=false", "batch_size=32", "steps=2"]
    config = override(presets.get("auto", "digits", "plain8"), assignments)
    return tasks.complete(config, digits), digits


@pytest.mark.parametrize("layout", [("jit", 1), ("jit", 2), ("pmap", 2)])
def test_outputs_are_of_every_example_once_and_in_order(problem, layout):
    """360 test images in batches of 32: the last is padded. A sum of them counts none twice, and none is left out."""
    config, dataset = problem
    layout = devices.make_layout(*layout)
    task = tasks.make(config, dataset, layout.axis_name)
    program = loop.make_program(task, config.optim, config.penalty, config.steps, layout)
    state = devices.replicate(layout, loop.initial_state(program, task, config, dataset))
    resident, batches = (
        feed.put_on_devices(dataset, layout)["test"],
        feed.evaluation_batches(dataset, "test", config, layout),
    )
    means, outputs = evaluate.evaluate(layout, program.evaluate_step, state.variables, resident, batches, task.means)
    test = dataset.splits["test"]
    np.testing.assert_array_equal(outputs["label"], test["label"])
    np.testing.assert_array_equal(outputs["ink"], test["image"].sum(axis=(1, 2, 3)))
    assert means["psnr"] == pytest.approx(outputs["psnr"].mean(), rel=1e-5)
    metrics = loop.evaluate_split(task, program, dataset, "test", config, layout, state)
    assert metrics["median_psnr"] == pytest.approx(np.median(outputs["psnr"]))
    by_batch = [np.median(outputs["psnr"][start : start + 32]) for start in range(0, 360, 32)]
    assert np.mean(by_batch) != pytest.approx(metrics["median_psnr"], abs=1e-4)  # it is deliberately no mean


def test_an_unknown_task_is_told(problem):
    with pytest.raises(ConfigError, match="unknown task 'denoise'; did you mean denoising?"):
        tasks.complete(override(problem[0], ["task=denoise"]), problem[1])


@pytest.mark.parametrize(
    ("headline", "value", "text"),
    [
        (Headline("error"), 0.1234, "12.34%"),
        (denoising.HEADLINE, 21.304, "21.30 dB"),
        (Headline("cider", unit=""), 0.223, "0.22"),
        (Headline("error"), None, "none"),
    ],
)
def test_a_headline_is_told_in_its_unit(headline, value, text):
    assert headline.format(value) == text


def test_the_view_of_many_runs_and_the_bar_speak_its_words(capsys, problem, tmp_path):
    config, dataset = problem
    layout = devices.make_layout("jit", 1)
    loop.fit(tasks.make(config, dataset, None), config, dataset, tmp_path / "run", loop.Options(layout))
    bar = capsys.readouterr().err
    assert "psnr=1" in bar and " dB" in bar and "error" not in bar
    progress = {"step": 3, "steps": 40, "phase": "training", "headline": "PSNR 14.12 dB"}
    run = view.Run("process 7", progress, 0.0, updated=True)
    assert view.describe(run) == "training    3/40 8%  PSNR 14.12 dB  process 7"
