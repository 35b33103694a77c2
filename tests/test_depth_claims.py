"""Claims of depth on numbers made by hand: what holds, what does not, and what cannot be said."""

import json
from pathlib import Path

import pytest

from cnn_jax.report.cells import unplanned_fields
from cnn_jax.studies import depth
from cnn_jax.studies.depth import result
from cnn_jax.studies.depth.claims import judge
from cnn_jax.studies.depth.nets import HEADER, make_nets, row, table


def begun(kind, depth, norms):
    name = f"{'resnet' if kind == 'residual' else 'plain'}{depth}"
    return {
        f"{kind}{depth}-{seed}": {
            "about": {"kind": kind, "model": name, "config": {"seed": seed}, "dataset": "digits"},
            "gradient_norms": {"conv1": norm, "fc": 1.0},
        }
        for seed, norm in enumerate(norms)
    }


def trained(
    name, intact=0.05, without=(0.1, 0.2, 0.9), response=1.0, train=0.01, built=None, seeds=3, dataset="digits"
):
    return {
        f"{name}-{dataset}-{seed}": {
            "about": {"model": name, "config": {"seed": seed, "data": {"name": dataset}}, "dataset": dataset},
            "train_error": train,
            "gradient_norms": {"conv1": 0.5},
            "deviations": {"conv1": response, "stage1_block1/conv1": response + 0.2},
            "lesions": {"intact": intact, "blocks": ["a", "b", "c"], "error": list(without), "chance": 0.9},
            "constructions": [{"depth": depth, "train_error": error} for depth, error in (built or {}).items()],
        }
        for seed in range(seeds)
    }


def verdicts(initial=None, networks=None):
    return {one["name"]: one for one in judge(make_nets(initial or {}), make_nets(networks or {}))}


@pytest.mark.parametrize(
    ("kind", "deep", "name", "verdict"),
    [
        ("sigmoid", [1e-9, 2e-9, 1e-10], "sigmoid_vanishes", "PASS"),
        ("sigmoid", [0.0, 0.0, 0.0], "sigmoid_vanishes", "PASS"),
        ("sigmoid", [0.02, 0.03, 0.02], "sigmoid_vanishes", "FAIL"),
        ("sigmoid", [1e-9, 1e-9], "sigmoid_vanishes", "UNDECIDED"),
        ("sigmoid", [1e-9, 1e-9, None], "sigmoid_vanishes", "UNDECIDED"),
        ("relu_bn", [30.0, 40.0, 30.0], "relu_bn_does_not_vanish", "PASS"),
        ("relu_bn", [0.05, 0.05, 0.05], "relu_bn_does_not_vanish", "FAIL"),
        ("residual", [0.5, 0.6, 0.5], "residual_does_not_vanish", "PASS"),
    ],
)
def test_whether_gradients_vanish_is_of_the_first_layer(kind, deep, name, verdict):
    found = verdicts(begun(kind, 8, [1.0, 1.0, 1.0]) | begun(kind, 20, [0.001] * 3) | begun(kind, 44, deep))
    assert set(found) == {name}
    assert found[name]["verdict"] == verdict
    assert "without finite errors" not in found[name]["sentence"]


def test_depths_are_compared_as_numbers():
    found = verdicts(
        begun("sigmoid", 110, [1e-9] * 3) | begun("sigmoid", 20, [1e-6] * 3) | begun("sigmoid", 8, [1] * 3)
    )
    assert "sigmoid-110" in found["sigmoid_vanishes"]["claim"] and "sigmoid-8" in found["sigmoid_vanishes"]["claim"]


@pytest.mark.parametrize(
    ("without", "survives", "dies"),
    [
        ((0.05, 0.1, 0.9), "PASS", "FAIL"),  # the median is exactly five points more
        ((0.05, 0.11, 0.9), "FAIL", "FAIL"),
        ((0.05, 0.475, 0.9), "FAIL", "FAIL"),  # exactly half way
        ((0.05, 0.5, 0.9), "FAIL", "PASS"),
    ],
)
def test_lesions_are_judged_by_the_median_block(without, survives, dies):
    found = verdicts(networks=trained("resnet8", without=without) | trained("plain8", without=without))
    assert (found["residual_8_survives"]["verdict"], found["plain_8_dies"]["verdict"]) == (survives, dies)


def test_responses_are_of_the_deepest_and_its_twin():
    networks = trained("resnet8", response=0.6) | trained("resnet20", response=0.5) | trained("plain20", response=0.5)
    found = verdicts(networks=networks | trained("plain8", response=2.0))
    assert found["residual_responds_less"]["verdict"] == "FAIL"
    assert found["deeper_responds_less"]["verdict"] == "PASS"
    assert found["deeper_responds_less"]["difference"] == pytest.approx(0.1)
    assert "deeper_responds_less" not in verdicts(networks=trained("resnet20"))


def test_sgd_is_compared_with_the_construction_at_its_own_depth():
    shallow = trained("plain8", train=0.02, built={14: 0.02, 20: 0.01})
    found = verdicts(networks=shallow | trained("plain14", train=0.05) | trained("plain20", train=0.03))
    verdict = found["construction_is_better"]
    assert verdict["verdict"] == "PASS" and verdict["difference"] == pytest.approx(0.02)
    assert "construction_is_better" not in verdicts(networks=shallow)
    unbuilt = verdicts(networks=trained("plain8") | trained("plain20", train=0.03))["construction_is_better"]
    assert unbuilt["verdict"] == "UNDECIDED"


def test_seeds_and_data_sets_have_to_fit():
    few = verdicts(networks=trained("plain8", seeds=2))["plain_8_dies"]
    assert few["verdict"] == "UNDECIDED" and "2 finished seeds; 3 are needed" in few["sentence"]
    mixed = trained("plain8") | trained("plain8", dataset="cifar10")
    told = verdicts(networks=mixed)["plain_8_dies"]
    assert told["verdict"] == "UNDECIDED" and "cifar10, digits" in told["sentence"]


def test_the_table_has_a_row_a_network():
    other = {"resnet20 akamaster": trained("resnet20", seeds=1).popitem()[1]}
    other["resnet20 akamaster"]["about"] |= {"config": None}
    del other["resnet20 akamaster"]["gradient_norms"]
    rows = table(map(row, make_nets(trained("plain8", seeds=1) | other)))
    assert rows[0] == ["plain-8", "0", "5.00", "20.00", "90.00", "1.100", "0.5"]
    assert rows[1][:3] == ["ResNet-20", "resnet20 akamaster", "5.00"] and rows[1][-1] == "–"
    assert len(HEADER) == len(rows[0])


def test_the_page_knows_the_steps_and_compares_no_training_that_was_not():
    file = Path(__file__).parents[1] / "experiments/results/depth_diagnostics/diagnostics.json"
    initial, networks = (json.loads(file.read_text())[part] for part in ("initial", "networks"))
    for net in networks.values():
        net["about"]["config"] |= {"steps": 4}
    cells = depth.study(make_nets(initial), make_nets(networks)).cells
    assert {run.result["steps"] for cell in cells.values() for run in cell if run.result} == {4}
    assert "steps" not in unplanned_fields([run for cell in cells.values() for run in cell])
    assert result(make_nets({"theirs": trained("resnet32")["resnet32-digits-0"]})[0])["steps"] == "–"
