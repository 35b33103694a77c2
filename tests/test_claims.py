"""Verdicts on numbers made by hand: the rule at its border, too few seeds, missing cells and failed runs."""

import json
import pathlib

import pytest

from cnn_jax.report import claims
from cnn_jax.studies import degradation
from cnn_jax.train.record import Run


def run(name, seed, train, test=0.1, *, failure=None, dataset="cifar10"):
    """A finished run, or one that has no result when `train` is None."""
    config = {"model": {"name": name}, "data": {"name": dataset}, "seed": seed, "steps": 100}
    result = None if train is None else {"train_error": train, "test_error": test, "best_test_error": 0.0}
    return Run(pathlib.Path(f"{name}-{dataset}-{seed}-{train}"), config, [], result, failure, {})


def cell(name, values, tests=None):
    return [run(name, i, value, (tests or values)[i]) for i, value in enumerate(values)]


def judge(runs):
    return {verdict["name"]: verdict for verdict in degradation.judge(runs)}


def plain_nets(deep, shallow):
    """The verdict on the plain nets, of errors by seed."""
    return judge(cell("plain56", deep) + cell("plain20", shallow))["plain_degrades"]


@pytest.mark.parametrize(
    ("deep", "shallow", "verdict"),
    [
        ([0.04, 0.04, 0.04], [0.01, 0.01, 0.01], "PASS"),
        ([0.105, 0.105, 0.105], [0.1, 0.1, 0.1], "FAIL"),  # exactly half a point does not count
        ([0.1051, 0.1051, 0.1051], [0.1, 0.1, 0.1], "PASS"),
        ([0.01, 0.01, 0.01], [0.04, 0.04, 0.04], "FAIL"),
        ([0.0, 0.02, 0.04], [0.0, 0.0, 0.0], "FAIL"),  # 2 points, but 2 SE are 2.31
        ([0.01, 0.03, 0.05], [0.0, 0.0, 0.0], "PASS"),  # 3 points
        ([0.04, 0.04], [0.01, 0.01, 0.01], "NOT ENOUGH SEEDS"),
        ([0.04], [0.01], "NOT ENOUGH SEEDS"),
    ],
)
def test_the_rule(deep, shallow, verdict):
    assert plain_nets(deep, shallow)["verdict"] == verdict


def test_the_numbers_are_those_of_the_rule():
    verdict = plain_nets([0.0, 0.02, 0.04], [0.01, 0.01, 0.01])
    assert verdict["a"] == {
        "kind": "plain",
        "depth": 56,
        "n": 3,
        "mean": pytest.approx(0.02),
        "sd": pytest.approx(0.02),
    }
    assert verdict["difference"] == pytest.approx(0.01)
    assert verdict["standard_error"] == pytest.approx(0.02 / 3**0.5)
    assert verdict["threshold"] == pytest.approx(0.04 / 3**0.5)


def test_two_seeds_show_the_direction():
    verdict = plain_nets([0.04, 0.05], [0.01, 0.02, 0.03])
    assert "plain-56 has 2 finished seeds; 3 are needed." in verdict["sentence"]
    assert "plain-56 is 2.50 points higher" in verdict["sentence"]


def test_all_three_claims_on_a_study_like_the_papers():
    runs = cell("plain20", [0.008] * 3, [0.095] * 3) + cell("plain56", [0.033] * 3, [0.13] * 3)
    runs += cell("resnet20", [0.004] * 3, [0.085] * 3) + cell("resnet56", [0.0004] * 3, [0.07] * 3)
    assert [verdict["verdict"] for verdict in degradation.judge(runs)] == ["PASS"] * 3
    twin = judge(runs)["residual_beats_its_twin"]
    assert twin["metric"] == "test_error" and twin["difference"] == pytest.approx(0.06)  # final, not best on test


def test_a_residual_net_that_degrades_fails_its_claim():
    runs = cell("resnet20", [0.004] * 3) + cell("resnet56", [0.02] * 3)
    assert judge(runs)["residual_does_not"]["verdict"] == "FAIL"


@pytest.mark.parametrize(
    ("runs", "name", "words"),
    [
        (cell("resnet20", [0.1] * 3), "plain_degrades", "The study has no plain net."),
        (cell("plain20", [0.1] * 3), "plain_degrades", "one depth of plain nets only (20)"),
        (cell("resnet56", [0.1] * 3), "residual_beats_its_twin", "The study has no plain-56."),
        (cell("plain56", [0.1] * 3), "residual_beats_its_twin", "The study has no residual net."),
        (cell("lenet5", [0.1] * 3), "plain_degrades", "The study has no plain net."),
    ],
)
def test_what_is_missing_is_named(runs, name, words):
    verdict = judge(runs)[name]
    assert verdict["verdict"] == "NOT ENOUGH SEEDS" and words in verdict["sentence"]
    assert verdict["difference"] is None


def test_a_depth_whose_runs_failed_is_not_passed_over():
    failed = [run("plain110", seed, None, failure={"error": "the loss is NaN", "step": 120}) for seed in range(3)]
    verdict = judge(cell("plain20", [0.01] * 3) + cell("plain56", [0.04] * 3) + failed)["plain_degrades"]
    assert verdict["verdict"] == "NOT ENOUGH SEEDS" and verdict["a"]["depth"] == 110
    assert "plain-110 has no finished seeds" in verdict["sentence"]
    assert "plain-110 seed 2 failed and is in no mean: the loss is NaN (at step 120)." in verdict["sentence"]


def test_a_failed_seed_beside_three_finished_ones_is_told():
    failed = run("plain56", 3, None, failure={"error": "the loss is NaN", "step": None})
    verdict = judge([*cell("plain56", [0.04] * 3), *cell("plain20", [0.01] * 3), failed])["plain_degrades"]
    assert verdict["verdict"] == "PASS" and verdict["a"]["n"] == 3
    assert "plain-56 seed 3 failed and is in no mean: the loss is NaN." in verdict["sentence"]


def test_unfinished_runs_are_told():
    verdict = judge([*cell("plain56", [0.04] * 2), run("plain56", 2, None), *cell("plain20", [0.01] * 3)])[
        "plain_degrades"
    ]
    assert verdict["verdict"] == "NOT ENOUGH SEEDS"
    assert "plain-56 seed 2 is unfinished and in no mean: reached step 0 of 100." in verdict["sentence"]


def test_an_error_that_is_not_a_number_is_no_pass():
    runs = cell("resnet20", [0.01] * 3) + cell("resnet56", [0.01, 0.01, float("nan")])
    verdict = judge(runs)["residual_does_not"]
    assert verdict["verdict"] == "NOT ENOUGH SEEDS" and "without finite errors" in verdict["sentence"]


def test_one_seed_run_three_times_is_not_three_seeds():
    repeated = [run("plain56", 0, value) for value in (0.04, 0.041, 0.042)]
    verdict = judge(repeated + cell("plain20", [0.01] * 3))["plain_degrades"]
    assert verdict["verdict"] == "NOT ENOUGH SEEDS" and "more than one run of a seed" in verdict["sentence"]


def test_runs_of_two_datasets_are_not_compared():
    other = [run("plain56", seed, 0.04, dataset="digits") for seed in range(3)]
    verdict = judge(other + cell("plain20", [0.01] * 3))["plain_degrades"]
    assert verdict["verdict"] == "NOT ENOUGH SEEDS" and "cifar10, digits" in verdict["sentence"]


def test_claims_json_states_the_rule(tmp_path):
    claims.write(degradation.judge(cell("plain20", [0.1])), tmp_path / "claims.json")
    written = json.loads((tmp_path / "claims.json").read_text())
    assert [verdict["claim"] for verdict in written] == [claim.text for claim in degradation.DEGRADATION]
    assert all("max(2 SE, 0.005)" in verdict["rule"] for verdict in written)


def values(name, numbers, **extra):
    """A group of finished runs with a number each that is no error."""
    runs = [run(name, i, 0.1) for i in range(len(numbers))]
    runs = [run_._replace(result=run_.result | {"norm": number}) for run_, number in zip(runs, numbers, strict=True)]
    return claims.Group(name, [run_._replace(config=run_.config | extra) for run_ in runs])


def test_a_number_that_is_no_error_is_told_plainly_and_may_have_its_own_smallest_difference():
    few, many = values("l1", [10.0, 11.0, 12.0]), values("l2", [14.0, 14.0, 14.0])
    verdict = claims.compare("norms", "L2's norm is higher", "norm", many, few, True)
    assert verdict["verdict"] == "PASS" and verdict["difference"] == pytest.approx(3)
    assert verdict["threshold"] == pytest.approx(2 / 3**0.5)
    assert "Norm: l2 14 (sd 0, n = 3), l1 11 (sd 1, n = 3); l2 is 3 higher" in verdict["sentence"]
    assert "%" not in verdict["sentence"] and "percent" not in verdict["rule"] and "max(2 SE, 0.005)" in verdict["rule"]
    wide = claims.compare("norms", "L2's norm is higher", "norm", many, few, True, smallest=4)
    assert wide["verdict"] == "FAIL" and wide["threshold"] == 4 and "max(2 SE, 4)" in wide["rule"]


def test_a_metric_may_be_a_function_of_the_run():
    def error_beyond_training(one):
        return one.result["test_error"] - one.result["train_error"]

    wide, narrow = (claims.Group(name, cell(name, [0.1] * 3, [test] * 3)) for name, test in (("a", 0.3), ("b", 0.2)))
    verdict = claims.compare("gap", "a's gap is higher", error_beyond_training, wide, narrow, True)
    assert verdict["verdict"] == "PASS" and verdict["difference"] == pytest.approx(0.1)
    assert verdict["metric"] == "error_beyond_training" and "10.00 points higher" in verdict["sentence"]


def test_fields_that_differ_are_told_but_for_the_studys_own():
    a, b = values("resnet8", [1.0] * 3, width=4), values("resnet20", [2.0] * 3, width=8)
    telling = [claims.compare("x", "x", "norm", a, b, False, axes=axes) for axes in (("model.name",), ("width",), ())]
    differing = ["width", "model.name", "model.name, width"]
    for verdict, names in zip(telling, differing, strict=True):
        assert verdict["sentence"].endswith(f"The runs compared also differ in {names}.")
    both = claims.compare("x", "x", "norm", a, b, False, axes=("model.name", "width"))
    assert "differ" not in both["sentence"] and both["verdict"] == "PASS"


def test_a_group_without_runs_is_named():
    verdict = claims.compare("x", "x", "norm", claims.Group("dropout net", []), values("none", [1.0] * 3), True)
    assert verdict["verdict"] == "NOT ENOUGH SEEDS" and verdict["sentence"].startswith("The study has no dropout net.")
