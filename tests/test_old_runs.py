"""A run folder of version 0.1.0, before there were tasks, is today's: it resumes, evaluates, verifies and reports.

It was stopped at step 21 of 40; beside it stands what the same version wrote where it was left alone. The command is in
its manifest, run with the environment of these tests. Bits are those of one kind of processor, so that losses are
compared to a thousandth.
"""

import json
import shutil
from pathlib import Path

import pytest

from cnn_jax.train import record
from tests.started import read_refusal, run_page

GOLDEN = Path(__file__).parent / "goldens" / "version_0_1_0"
NAME = "plain8-digits-seed0-614763ad"
FLAGS = ["--kinds=plain", "--depths=8", "--seeds=0", "--width=4", "--validation=37", "--devices=1", "--noprogress"]
FLAGS += ["--set=batch_size=32", "--set=steps=40", "--set=evaluations=6", "--set=data.pad=1", "--set=data.flip=true"]


@pytest.fixture(scope="module")
def workdir(digits_dir, tmp_path_factory):
    """The sweep that the folder is of, gone on with."""
    folder = tmp_path_factory.mktemp("old")
    shutil.copytree(GOLDEN / NAME, folder / NAME)
    done = run_page("depth_sweep", *FLAGS, f"--data_dir={digits_dir}", f"--workdir={folder}")
    assert done.returncode == 0, done.stderr
    return folder


def test_it_resumes_under_its_old_name_and_ends_as_it_would_have(workdir):
    assert [path.parent.name for path in workdir.glob("*/config.json")] == [NAME]
    run = record.read_run(workdir / NAME)
    old = json.loads((GOLDEN / NAME / "config.json").read_text())
    assert json.loads((workdir / NAME / "config.json").read_text()) == old and "loss" in old
    assert (run.config["task"], run.config["classification"]["criterion"]) == ("classification", "cross_entropy")
    assert [session["from_step"] for session in run.manifest["sessions"]] == [0, 21]
    whole = [json.loads(line) for line in (GOLDEN / "whole_metrics.jsonl").read_text().splitlines()]
    assert [list(line) for line in run.metrics] == [list(line) for line in whole]
    for ours, theirs in zip(run.metrics, whole, strict=True):
        for name in ("train_loss", "validation_loss", "test_loss"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3)
    result = json.loads((GOLDEN / "whole_result.json").read_text())
    assert list(run.result) == list(result)
    assert run.result["parameters"] == result["parameters"]


def test_it_is_evaluated_verified_and_reported(workdir, digits_dir, tmp_path):
    run, data = f"--run={workdir / NAME}", f"--data_dir={digits_dir}"
    evaluated = run_page("evaluate", run, data, f"--workdir={tmp_path}", "--noprogress")
    result = json.loads((workdir / NAME / "result.json").read_text())
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads(evaluated.stdout.splitlines()[-1])["test_error"] == pytest.approx(result["test_error"])
    verified = run_page("verify", run, data, "--steps=21", "--devices=1", "--noprogress")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert verified.stdout.splitlines()[-1] in ("EQUAL", "EQUAL TO ROUNDING")
    reported = run_page("report", f"--workdir={workdir}")
    assert reported.returncode == 0, reported.stderr
    assert "plain-8" in reported.stdout
    trained = run_page("train", "--model=plain8", data, f"--workdir={workdir}", *FLAGS[3:])
    assert trained.returncode == 0, trained.stderr
    assert str(workdir / NAME) in trained.stdout  # finished already: it is found, and not trained again


def test_a_report_knows_its_study_from_the_folder(workdir, digits_dir, tmp_path):
    assert json.loads((workdir / "study.json").read_text()) == {"study": "depth_sweep"}
    flags = [f"--workdir={workdir}", f"--data_dir={digits_dir}", "--model=lenet5_full", "--seeds=0"]
    assert "holds the study depth_sweep, not activation: give another --workdir" in read_refusal("activation", *flags)
    assert "holds the study depth_sweep; leave --study out" in read_refusal(
        "report", "--study=architectures", f"--workdir={workdir}"
    )
    shutil.copytree(workdir / NAME, tmp_path / NAME)
    config = json.loads((tmp_path / NAME / "config.json").read_text())
    config["model"]["name"] = "lenet5_full"
    (tmp_path / NAME / "config.json").write_text(json.dumps(config))
    reported = run_page("report", f"--workdir={tmp_path}")  # without study.json, as older versions left it
    assert reported.returncode == 0, reported.stderr
    assert "<h1>Architectures</h1>" in (tmp_path / "report.html").read_text()
