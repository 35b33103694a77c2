"""The page of depth diagnostics on a tiny sweep: what is in its file, what is computed again, what cannot be."""

import json

import numpy as np
import pytest

from cnn_jax.data import load
from cnn_jax.studies import depth as depth_diagnostics
from cnn_jax.studies.depth import measure as study
from cnn_jax.train.record import RecordError
from tests import started
from tests.started import read_refusal
from tests.test_experiments import TINY

LAYERS = ["conv1", *(f"stage{stage}_block1/conv{index}" for stage in (1, 2, 3) for index in (1, 2))]


@pytest.fixture(scope="module")
def examined(digits_dir, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("study")
    flags = [f"--data_dir={digits_dir}", f"--workdir={workdir}", "--seeds=0"]
    done = started.run_page("depth_sweep", *flags, "--depths=8,14", "--kinds=plain", *TINY)
    assert done.returncode == 0, done.stderr
    before = {path: path.stat().st_mtime_ns for folder in workdir.glob("*-seed0-*") for path in folder.rglob("*")}
    done = started.run_page("depth_diagnostics", *flags, "--depths=8", "--at_init=relu_bn,residual", "--noprogress")
    assert done.returncode == 0, done.stderr
    assert before == {path: path.stat().st_mtime_ns for path in before}
    return workdir, flags, json.loads((workdir / "diagnostics/diagnostics.json").read_text())


def test_every_network_is_examined(examined):
    workdir, _, found = examined
    assert set(found["initial"]) == {"relu_bn-plain8-seed0", "residual-resnet8-seed0"}
    for network in found["initial"].values():
        assert list(network["gradient_norms"]) == [*LAYERS, "fc"]
        assert all(norm > 0 for norm in network["gradient_norms"].values())
    models = {network["about"]["model"]: network for network in found["networks"].values()}
    assert set(models) == {"plain8", "plain14"}
    for run, network in found["networks"].items():
        result = json.loads((workdir / run / "result.json").read_text())
        assert network["train_error"] == result["train_error"]
        assert network["lesions"]["intact"] == pytest.approx(result["test_error"])
    assert list(models["plain8"]["deviations"]) == LAYERS
    for name in ("gradients_at_start", "gradients_trained", "responses", "lesions", "several_lesions", "construction"):
        assert (workdir / f"diagnostics/{name}.svg").stat().st_size > 1000
    assert "relu_bn-8 before training" in (workdir / "diagnostics/report.html").read_text()


def test_the_constructed_network_errs_as_the_trained_one_does(examined):
    models = {network["about"]["model"]: network for network in examined[2]["networks"].values()}
    (built,) = models["plain8"]["constructions"]
    assert built["depth"] == 14 and built["difference"] < 1e-4
    assert (built["train_error"], built["test_error"]) == pytest.approx(
        (models["plain8"]["train_error"], models["plain8"]["test_error"])
    )
    assert models["plain14"]["constructions"] == []


def test_the_page_is_rebuilt_from_the_file_alone(examined, tmp_path):
    there = examined[0] / "diagnostics"
    (tmp_path / "diagnostics").mkdir()
    (tmp_path / "diagnostics/diagnostics.json").write_bytes((there / "diagnostics.json").read_bytes())
    depth_diagnostics.write(tmp_path)
    for name in ("report.html", "claims.json", "results.csv", "lesions.svg"):
        assert (tmp_path / "diagnostics" / name).read_bytes() == (there / name).read_bytes()
    with pytest.raises(RecordError, match="holds no diagnostics.json"):
        depth_diagnostics.write(there)


def test_what_is_there_is_not_computed_again(tmp_path):
    file, calls = study.diagnostics_file(tmp_path), []

    def compute():
        calls.append(len(calls))
        return {"answer": len(calls)}

    for about in ({"digest": "a", "depths": (8,)}, {"digest": "a", "depths": (8,)}, {"digest": "b", "depths": (8,)}):
        study.measure_once(file, "networks", "plain8", about, compute)
    study.measure_once(file, "networks", "plain20", {"digest": "a"}, compute)
    found = json.loads(file.read_text())["networks"]
    assert [found[name]["answer"] for name in ("plain8", "plain20")] == [2, 3]


@pytest.mark.parametrize(
    ("name", "deeper"),
    [("plain8", [14, 110]), ("plain110", []), ("resnet8", []), ("plain18", [34]), ("vgg11", [])],
)
def test_plain_nets_are_built_at_the_depths_of_their_own_family(name, deeper):
    assert (
        study.deeper_plain_depths(name, {"plain8", "plain110", "plain14", "resnet20", "plain18", "plain34", name})
        == deeper
    )


def test_runs_that_are_gone_are_forgotten(tmp_path):
    file = study.diagnostics_file(tmp_path)
    study.drop_missing_runs(file, [])
    for name, trained in (("plain8-a", {"seed": 0}), ("plain8-b", {"seed": 1}), ("resnet20 akamaster", None)):
        study.measure_once(file, "networks", name, {"config": trained}, dict)
    study.drop_missing_runs(file, ["plain8-b"])
    assert list(json.loads(file.read_text())["networks"]) == ["plain8-b", "resnet20 akamaster"]


def test_a_seed_draws_the_network_and_its_batch(digits_dir, tmp_path):
    digits = load("digits", digits_dir)
    begun = study.initial_configs(["relu_bn"], [8], [0, 1], digits)
    study.measure_initial(study.diagnostics_file(tmp_path), begun, digits, progress=False)
    zero, one = json.loads(study.diagnostics_file(tmp_path).read_text())["initial"].values()
    assert not np.allclose(list(zero["gradient_norms"].values()), list(one["gradient_norms"].values()), rtol=1e-2)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--at_init=sigmid"], "--at_init: unknown network 'sigmid'; did you mean sigmoid"),
        (["--at_init=relu_bn", "--depths=8,9"], "depth 9 is not 6n+2"),
        (["--depths=eight"], "--depths=eight: give whole numbers"),
        (["--at_init="], "holds no run"),
        (["--weights=nowhere.safetensors"], "of a file of weights give the model and the source too"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_computed(flags, told, digits_dir, tmp_path):
    assert told in read_refusal("depth_diagnostics", f"--data_dir={digits_dir}", f"--workdir={tmp_path}", *flags)
    assert not list(tmp_path.iterdir())
