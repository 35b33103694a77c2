"""The regularisation study: its methods, its cells, the strength that is chosen, its page."""

import csv
import json
import pathlib

import pytest

from cnn_jax import config as config_lib
from cnn_jax.config import Config, ConfigError, replace_fields
from cnn_jax.report import claims
from cnn_jax.report.claims import Group
from cnn_jax.studies.regularization import verdicts
from cnn_jax.studies.regularization.cells import cells, example_counts, run_metric, select_by_validation
from cnn_jax.studies.regularization.methods import DISABLED, REGULARIZERS, config_fields, parse_methods, recognize
from cnn_jax.train.record import Run
from tests import started
from tests.started import read_refusal
from tests.test_experiments import TINY


def config(method, strength, examples=100, seed=0):
    fields = config_fields(method, strength) | {"data.train_examples": examples, "seed": seed, "data.validation": 10}
    return config_lib.to_dict(replace_fields(Config(), fields))


def run(method, strength, seed=0, examples=100, test=0.2, validation=0.2, small=0.5):
    result = {"train_error": 0.0, "test_error": test, "validation_error": validation, "best_test_error": 0.0}
    layers = [{"name": "fc", "size": 10, "small": small, "zero": 0.0, "l1": 1.0, "l2": 3.0}]
    layers += [{"name": "conv", "size": 30, "small": small, "zero": 0.2, "l1": 2.0, "l2": 4.0}]
    folder = pathlib.Path(f"{method}-{strength}-{seed}-{examples}")
    manifest = {"dataset": {"examples": {"train": examples}}}
    measured = {"layers": layers, "noise": [{"deviation": 0.2, "error": test + 0.1}]}
    return Run(folder, config(method, strength, examples, seed), [], result, None, manifest, measured)


@pytest.mark.parametrize("method", REGULARIZERS)
def test_a_method_is_recognized_by_its_config(method):
    strength = REGULARIZERS[method].strengths[0] if REGULARIZERS[method].strengths else None
    assert recognize(config(method, strength)) == (method, strength)


def test_two_methods_at_once_are_another():
    both = replace_fields(Config(), DISABLED | {"penalty.l1": 0.1, "model.dropout": 0.5})
    assert recognize(config_lib.to_dict(both)) == ("other", None)


def test_one_factor_is_changed_at_a_time():
    for method, regularizer in REGULARIZERS.items():
        on = {field for field, value in config_fields(method, 3).items() if value != DISABLED[field]}
        assert on == {*regularizer.fields, *regularizer.extra_fields}


def test_strengths_are_the_methods_own_or_those_given():
    assert parse_methods(["none", "l1"], ["l1=1e-5,0.1"]) == [("none", None), ("l1", 1e-5), ("l1", 0.1)]
    assert parse_methods(["dropout"], []) == [("dropout", value) for value in REGULARIZERS["dropout"].strengths]
    assert parse_methods(["early_stopping"], ["early_stopping=5"]) == [("early_stopping", 5)]
    for names, strengths, message in (
        (["l3"], [], "unknown method 'l3'; choose from none, l1, l2"),
        (["l1"], ["l2=1"], "l2 is not among the methods, l1"),
        (["l1"], ["l1=strong"], "write it as l1=1e-5,1e-4"),
        (["none"], ["none=1"], "write it as"),
        ([], [], "--methods is empty"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_methods(names, strengths)


def test_the_strength_is_chosen_on_validation_and_never_on_test():
    runs = [run("l1", 1e-3, seed, validation=0.1, test=0.3) for seed in range(3)]
    runs += [run("l1", 1e-5, seed, validation=0.2, test=0.1) for seed in range(3)]
    runs += [run("none", None, seed) for seed in range(3)]
    study = cells(runs)
    assert [cell.name for cell in study] == ["none", "l1 1e-05", "l1 0.001"]
    assert [cell.name for cell in select_by_validation(study)] == ["none", "l1 0.001"]
    unvalidated = [one._replace(result=one.result | {"validation_error": None}) for one in runs]
    assert [cell.name for cell in select_by_validation(cells(unvalidated))] == ["none"]


def test_all_examples_come_last_and_weights_count_by_layer_size():
    study = cells([run("none", None, examples=count) for count in (0, 300, 100)])
    assert example_counts(study) == [100, 300, 0]
    one = study[0].runs[0]
    assert run_metric(one, "zero") == pytest.approx(0.15) and run_metric(one, "l2") == 5 and run_metric(one, "l1") == 3
    assert run_metric(one, "gap") == 0.2


def test_pairs_see_what_their_seeds_share():
    """Errors that differ much from seed to seed and little, but always, between the groups."""
    tests = (0.1, 0.2, 0.3)
    none = [run("none", None, seed, test=test + 0.02) for seed, test in enumerate(tests)]
    l2 = [run("l2", 0.01, seed, test=test) for seed, test in enumerate(tests)]
    sides = Group("none", none), Group("l2", l2)
    axes = ("seed", *DISABLED)

    def compare(*groups, **options):
        return claims.judge([claims.compare("better", "", "test_error", *groups, "higher", axes=axes, **options)])[0]

    paired = compare(*sides, paired=True)
    assert paired["verdict"] == "PASS" and paired["standard_error"] == pytest.approx(0, abs=1e-9)
    assert "paired t test" in paired["rule"]
    unpaired = compare(*sides)
    assert unpaired["verdict"] == "UNDECIDED" and unpaired["seeds_needed"] > 100
    others = Group("l2", [run("l2", 0.01, seed + 2) for seed in range(3)])
    apart = compare(sides[0], others, paired=True)
    assert apart["verdict"] == "UNDECIDED" and "1 seeds in common" in apart["sentence"]


def test_the_lectures_claims():
    runs = []
    for method, small, test in (("none", 0.0, 0.3), ("l1", 0.8, 0.2), ("l2", 0.2, 0.1), ("elastic_net", 0.9, 0.1)):
        runs += [run(method, None if method == "none" else 1e-4, seed, small=small, test=test) for seed in range(3)]
    said = {verdict["name"]: verdict["verdict"] for verdict in verdicts(cells(runs))}
    assert said == {
        "l1_is_sparser_than_l2_100": "PASS",
        "elastic_net_is_no_sparser_than_l1_100": "FAIL",
        "l2_is_no_sparser_than_elastic_net_100": "PASS",
        "l1_withstands_noise_100": "PASS",
        "l1_is_better_than_none_100": "PASS",
        "l2_is_better_than_none_100": "PASS",
        "l2_is_as_good_as_l1_100": "PASS",
    }


def test_the_page_trains_measures_and_reports(digits_dir, tmp_path):
    flags = [f"--data_dir={digits_dir}", f"--workdir={tmp_path}", "--model=resnet8", "--methods=none,l1,l1_proximal"]
    flags += ["--strengths=l1=1e-2", "--strengths=l1_proximal=0.1", "--train_examples=40", "--seeds=0", *TINY]
    done = started.run_page("regularization", *flags)
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["strength"], row["examples"]) for row in rows] == [
        ("none", "", "40"),
        ("l1", "0.01", "40"),
        ("l1_proximal", "0.1", "40"),
    ]
    assert all(float(row["zero"]) > 0 for row in rows if row["method"] == "l1_proximal")
    assert all(float(row["zero"]) == 0 for row in rows if row["method"] != "l1_proximal")
    for name in (
        "error_against_examples",
        "error_against_strength",
        "sparsity_against_strength",
        "sparsity",
        "weights",
        "pruning",
        "noise",
    ):
        assert (tmp_path / f"{name}.png").stat().st_size > 1000
    verdicts = json.loads((tmp_path / "claims.json").read_text())
    assert {verdict["verdict"] for verdict in verdicts} == {"UNDECIDED"}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/measured.json")}
    again = started.run_page("regularization", *flags)
    assert again.returncode == 0 and "3 of 3 runs are finished already" in again.stdout
    assert len(before) == 3 and all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_a_net_without_dropout_is_told_so_and_studied_without(digits_dir, tmp_path):
    flags = [f"--data_dir={digits_dir}", f"--workdir={tmp_path}", "--model=lenet5_full", "--seeds=0", "--noprogress"]
    assert "lenet5_full has no model.dropout" in read_refusal("regularization", *flags, "--methods=dropout")
    tiny = ["--methods=none", "--train_examples=40", "--set=steps=2", "--set=evaluations=1"]
    done = started.run_page("regularization", *flags, *tiny)
    assert done.returncode == 0, done.stderr
