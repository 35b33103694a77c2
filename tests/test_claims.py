"""Verdicts on numbers made by hand: what they say, families, too few seeds, missing cells and failed runs."""

import json
import pathlib

import pytest
from scipy import stats

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
        ([0.105, 0.105, 0.105], [0.1, 0.1, 0.1], "PASS"),  # exactly half a point counts
        ([0.1049, 0.1049, 0.1049], [0.1, 0.1, 0.1], "FAIL"),
        ([0.01, 0.01, 0.01], [0.04, 0.04, 0.04], "FAIL"),
        ([0.0, 0.02, 0.04], [0.0, 0.0, 0.0], "UNDECIDED"),  # 2 points, t = 1.7
        ([0.01, 0.03, 0.05], [0.0, 0.0, 0.0], "UNDECIDED"),  # 3 points, t = 2.6; 2.9 are needed
        ([0.015, 0.03, 0.045], [0.0, 0.0, 0.0], "PASS"),  # t = 3.5
        ([0.1, 0.101, 0.102], [0.1, 0.101, 0.102], "FAIL"),
        ([0.1, 0.11, 0.12], [0.1, 0.11, 0.12], "UNDECIDED"),
        ([0.04, 0.04], [0.01, 0.01, 0.01], "UNDECIDED"),
        ([0.04], [0.01], "UNDECIDED"),
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
    assert (verdict["kind"], verdict["margin"]) == ("higher", 0.005)
    greater, less = (stats.ttest_1samp([0.0, 0.02, 0.04], *way).pvalue for way in (
        (0.01, 0, "propagate", "greater"), (0.015, 0, "propagate", "less")))  # fmt: skip
    assert verdict["p_superior"] == {"raw": pytest.approx(greater), "holm": pytest.approx(greater)}
    assert verdict["p_noninferior"] == {"raw": pytest.approx(less), "holm": pytest.approx(less)}
    assert verdict["interval"] == pytest.approx([0.01 - 2.92 * 0.02 / 3**0.5, 0.01 + 2.92 * 0.02 / 3**0.5], rel=1e-3)
    assert verdict["seeds_needed"] == 27  # t of 26 degrees and 2.6 standard errors
    assert verdict["sentence"] == (
        "Training error: plain-56 2.00 % (sd 2.00, n = 3), plain-20 1.00 % (sd 0.00, n = 3); plain-56 is 1.00 points "
        "higher, 90 % interval -2.37 to 4.37. This shows neither that plain-56 is higher (p = 0.239) nor that it is "
        "lower or less than 0.50 points higher (p = 0.646); it would take about 27 seeds a side."
    )


def test_a_claim_is_harder_to_show_among_others():
    deep, shallow = [0.02, 0.04, 0.06], [0.0, 0.0, 0.0]
    a, b = claims.Group("deep", cell("plain56", deep)), claims.Group("shallow", cell("plain20", shallow))
    level = claims.Group("level", cell("resnet20", [0.0, 0.02, 0.04]))
    alone = claims.compare("x", "x", "train_error", a, b, "higher")
    other = claims.compare("y", "y", "train_error", level, level, "higher")
    absent = claims.compare("z", "z", "train_error", a, claims.Group("absent", []), "higher")
    p = stats.ttest_1samp(deep, 0, alternative="greater").pvalue
    for page, factor in (([alone], 1), ([alone, absent], 1), ([alone, other], 2), ([other, absent, alone], 2)):
        verdict = {one["name"]: one for one in claims.judge(page)}["x"]
        assert verdict["p_superior"] == {"raw": pytest.approx(p), "holm": pytest.approx(factor * p)}
        assert verdict["verdict"] == ("PASS" if factor == 1 else "UNDECIDED")
        assert ("one testable claim," if factor == 1 else "2 testable claims,") in verdict["rule"]
    assert claims.judge([]) == []


def test_more_seeds_than_can_be_run_are_said_to_be_so():
    verdict = plain_nets([0.0, 0.2, 0.4075], [0.0, 0.2, 0.4])
    assert verdict["verdict"] == "UNDECIDED" and verdict["seeds_needed"] == "more than 1,000"
    assert verdict["sentence"].endswith("it would take more than 1,000 seeds a side.")
    verdict = plain_nets([0.04] * 3, [0.01] * 3)
    assert verdict["verdict"] == "PASS" and verdict["seeds_needed"] is None


def test_a_negligible_difference_is_told_as_both():
    verdict = plain_nets([0.0109, 0.011, 0.0111], [0.01, 0.01, 0.01])
    assert verdict["verdict"] == "FAIL"
    assert "shows that plain-56 is higher (p = 0.00166), and that it is less than 0.50 points" in verdict["sentence"]


@pytest.mark.parametrize(
    ("numbers", "verdict", "words"),
    [
        ([0.1009, 0.101, 0.1011], "PASS", "This shows that the two differ (p = 0.00332), and that they differ by less"),
        ([0.149, 0.15, 0.151], "FAIL", "This shows that the two differ (p < 0.001)."),
        ([0.09, 0.101, 0.11], "UNDECIDED", "neither that the two differ (p = 0.959) nor that they differ by less than"),
        ([0.1, 0.1, 0.1], "PASS", "This shows that they differ by less than 0.50 points (p < 0.001)."),
    ],
)
def test_what_is_claimed_to_be_the_same(numbers, verdict, words):
    a, b = (claims.Group(name, cell(name, values)) for name, values in (("a", numbers), ("b", [0.1] * 3)))
    (found,) = claims.judge([claims.compare("x", "x", "train_error", a, b, "same", axes=("model.name",))])
    assert found["verdict"] == verdict and words in found["sentence"]
    assert "that it is between -0.5 percentage points and 0.5" in found["rule"]


def test_two_seeds_show_the_direction():
    verdict = plain_nets([0.04, 0.05], [0.01, 0.02, 0.03])
    assert "plain-56 has 2 finished seeds; 3 are needed." in verdict["sentence"]
    assert verdict["sentence"].endswith("plain-56 is 2.50 points higher.")
    for name in ("interval", "p_superior", "p_noninferior", "seeds_needed"):
        assert verdict[name] is None


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
    assert verdict["verdict"] == "UNDECIDED" and words in verdict["sentence"]
    assert verdict["difference"] is None


def test_a_depth_whose_runs_failed_is_not_passed_over():
    failed = [run("plain110", seed, None, failure={"error": "the loss is NaN", "step": 120}) for seed in range(3)]
    verdict = judge(cell("plain20", [0.01] * 3) + cell("plain56", [0.04] * 3) + failed)["plain_degrades"]
    assert verdict["verdict"] == "UNDECIDED" and verdict["a"]["depth"] == 110
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
    assert verdict["verdict"] == "UNDECIDED"
    assert "plain-56 seed 2 is unfinished and in no mean: reached step 0 of 100." in verdict["sentence"]


def test_an_error_that_is_not_a_number_is_no_pass():
    runs = cell("resnet20", [0.01] * 3) + cell("resnet56", [0.01, 0.01, float("nan")])
    verdict = judge(runs)["residual_does_not"]
    assert verdict["verdict"] == "UNDECIDED" and "without finite errors" in verdict["sentence"]


def test_one_seed_run_three_times_is_not_three_seeds():
    repeated = [run("plain56", 0, value) for value in (0.04, 0.041, 0.042)]
    verdict = judge(repeated + cell("plain20", [0.01] * 3))["plain_degrades"]
    assert verdict["verdict"] == "UNDECIDED" and "more than one run of a seed" in verdict["sentence"]


def test_runs_of_two_datasets_are_not_compared():
    other = [run("plain56", seed, 0.04, dataset="digits") for seed in range(3)]
    verdict = judge(other + cell("plain20", [0.01] * 3))["plain_degrades"]
    assert verdict["verdict"] == "UNDECIDED" and "cifar10, digits" in verdict["sentence"]


def test_claims_json_states_the_rule(tmp_path):
    claims.write(degradation.judge(cell("plain20", [0.1])), tmp_path / "claims.json")
    written = json.loads((tmp_path / "claims.json").read_text())
    assert [verdict["claim"] for verdict in written] == [
        "the deepest plain net has higher training error than the shallowest",
        "the deepest residual net has no higher training error than the shallowest",
        "the deepest residual net beats its plain twin on test",
    ]
    for verdict in written:
        assert "a margin of 0.5 percentage points" in verdict["rule"] and "Holm's method" in verdict["rule"]
        assert "5 % over the page's 0 testable claims" in verdict["rule"]


def values(name, numbers, **extra):
    """A group of finished runs with a number each that is no error."""
    runs = [run(name, i, 0.1) for i in range(len(numbers))]
    runs = [run_._replace(result=run_.result | {"norm": number}) for run_, number in zip(runs, numbers, strict=True)]
    return claims.Group(name, [run_._replace(config=run_.config | extra) for run_ in runs])


def compare(metric, a, b, kind, **options):
    """The verdict on a claim that is alone on its page."""
    return claims.judge([claims.compare("x", "x", metric, a, b, kind, **options)])[0]


def test_a_number_that_is_no_error_is_told_plainly_and_may_have_its_own_margin():
    few, many = values("l1", [10.0, 11.0, 12.0]), values("l2", [14.0, 14.0, 14.0])
    verdict = compare("norm", many, few, "higher")
    assert verdict["verdict"] == "PASS" and verdict["difference"] == pytest.approx(3)
    assert verdict["standard_error"] == pytest.approx(1 / 3**0.5)
    assert "Norm: l2 14 (sd 0, n = 3), l1 11 (sd 1, n = 3); l2 is 3 higher, 90 % interval 1.314" in verdict["sentence"]
    assert "%" not in verdict["sentence"].replace("90 %", "")
    assert "percent" not in verdict["rule"] and "a margin of 0.005 (" in verdict["rule"]
    wide = compare("norm", many, few, "higher", margin=6)
    assert wide["verdict"] == "FAIL" and wide["margin"] == 6 and "a margin of 6 (" in wide["rule"]


def test_a_metric_may_be_a_function_of_the_run():
    def error_beyond_training(one):
        return one.result["test_error"] - one.result["train_error"]

    wide, narrow = (claims.Group(name, cell(name, [0.1] * 3, [test] * 3)) for name, test in (("a", 0.3), ("b", 0.2)))
    verdict = compare(error_beyond_training, wide, narrow, "higher")
    assert verdict["verdict"] == "PASS" and verdict["difference"] == pytest.approx(0.1)
    assert verdict["metric"] == "error_beyond_training" and "10.00 points higher" in verdict["sentence"]


def test_fields_that_differ_are_told_but_for_the_studys_own():
    a, b = values("resnet8", [1.0] * 3, width=4), values("resnet20", [2.0] * 3, width=8)
    telling = [compare("norm", a, b, "no_higher", axes=axes) for axes in (("model.name",), ("width",), ())]
    differing = ["width", "model.name", "model.name, width"]
    for verdict, names in zip(telling, differing, strict=True):
        assert verdict["sentence"].endswith(f"The runs compared also differ in {names}.")
    both = compare("norm", a, b, "no_higher", axes=("model.name", "width"))
    assert "differ in" not in both["sentence"] and both["verdict"] == "PASS"


def test_a_group_without_runs_is_named():
    verdict = compare("norm", claims.Group("dropout net", []), values("none", [1.0] * 3), "higher")
    assert verdict["verdict"] == "UNDECIDED" and verdict["sentence"].startswith("The study has no dropout net.")


def test_where_higher_is_better_the_claim_is_of_lower_and_the_sides_are_exchanged():
    psnr = {"headline": {"metric": "psnr", "label": "PSNR", "unit": "dB", "higher_is_better": True, "margin": 0.1}}

    def nets(name, numbers):
        runs = cell(name, [0.1] * len(numbers))
        return [
            one._replace(manifest=psnr, result={"train_psnr": number, "test_psnr": number})
            for one, number in zip(runs, numbers, strict=True)
        ]

    runs = nets("plain20", [30.0, 30.1, 30.2]) + nets("plain56", [25.0, 25.1, 25.2])
    verdict = degradation.judge(runs)[0]
    assert verdict["claim"] == "the deepest plain net has lower training PSNR than the shallowest"
    assert (verdict["verdict"], verdict["metric"], verdict["margin"]) == ("PASS", "train_psnr", 0.1)
    assert (verdict["a"]["depth"], verdict["b"]["depth"]) == (20, 56)
    assert verdict["difference"] == pytest.approx(5)
    assert "Training PSNR: plain-20 30.1 dB" in verdict["sentence"] and "%" not in verdict["sentence"].split(",")[0]
