"""A study of one factor, from run folders written by hand: cells, table, verdicts, the artists of its figures."""

import csv
import json

import pytest

from cnn_jax.studies import factors
from cnn_jax.studies.factors import figures as factor_figures
from cnn_jax.train.record import RecordError, read_runs

TEST_ERRORS = {"max": (0.10, 0.11, 0.12), "mean": (0.20, 0.21, 0.22), "overlapping": (0.10, 0.11, 0.12)}


def write_run(workdir, value, seed, test_error, model="vgg11", state="finished"):
    folder = workdir / f"{model}-{value}-{seed}"
    folder.mkdir(parents=True)
    config = {"model": {"name": model, "pooling": value, "width": 4}, "data": {"name": "digits"}, "seed": seed}
    config |= {"steps": 20, "optim": {"boundaries": [0.5]}}
    lines = [{"step": 10 * i, "epoch": i, "train_error": 0.4 / i, "test_error": test_error + 0.2 / i} for i in (1, 2)]
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if state == "finished":
        result = {"parameters": 1234, "train_error": test_error / 2, "test_error": test_error, "seconds": 3.0}
        (folder / "result.json").write_text(json.dumps(result))
    if state == "failed":
        (folder / "failure.json").write_text(json.dumps({"error": "the loss is not finite", "step": 12}))


def write_study(workdir, model="vgg11"):
    for value, errors in TEST_ERRORS.items():
        for seed, error in enumerate(errors):
            write_run(workdir, value, seed, error, model)
    return workdir


def named(workdir):
    return factors.study(read_runs(workdir), factors.POOLING)


def test_values_are_listed_in_the_studys_order_with_the_gap_over_seeds(tmp_path):
    study = named(write_study(tmp_path))
    assert list(study.cells) == ["max pooling", "mean pooling", "overlapping pooling"]
    (table,) = study.tables
    assert table.header[0] == "pooling"
    # The gap is test less training error of each seed: 5, 5.5 and 6 points.
    assert table.rows[0] == ["max pooling", "3", "1,234", "5.50 ± 0.50", "11.00 ± 1.00", "5.50 ± 0.50", "3"]


def test_the_page_is_written_with_one_row_a_finished_run(tmp_path):
    write_study(tmp_path)
    write_run(tmp_path, "strided", 0, 0.1, state="failed")
    text = factors.write(tmp_path, factors.POOLING)
    with open(tmp_path / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["pooling"], row["seed"], row["test_error"]) for row in rows[:4]] == [
        *(("vgg11", "max", str(seed), str(error)) for seed, error in enumerate(TEST_ERRORS["max"])),
        ("vgg11", "mean", "0", "0.2"),
    ]
    assert len(rows) == 9 and "strided convolution has no finished seeds; 3 are needed." in text
    page = (tmp_path / "report.html").read_text()
    assert "<title>Pooling in vgg11: digits, width 4</title>" in page
    assert "<td>the loss is not finite (at step 12)</td>" in page and "also differ" not in page
    assert {"curves.svg", "curves.png", "final_errors.svg", "final_errors.png", "claims.json"} <= {
        path.name for path in tmp_path.iterdir()
    }


def test_the_verdicts_are_of_the_values_named(tmp_path):
    verdicts = {verdict["name"]: verdict for verdict in named(write_study(tmp_path)).verdicts}
    assert {name: verdict["verdict"] for name, verdict in verdicts.items()} == {
        "overlapping_no_worse": "UNDECIDED",  # level, but a deviation of a point could hide half a point
        "strided_no_worse": "UNDECIDED",
        "max_no_worse_than_mean": "PASS",
    }
    assert verdicts["strided_no_worse"]["sentence"].startswith("The study has no strided convolution.")
    assert verdicts["max_no_worse_than_mean"]["difference"] == pytest.approx(-0.1)


def test_a_value_that_is_worse_fails_its_claim(tmp_path):
    for seed, error in enumerate((0.30, 0.31, 0.32)):
        write_run(tmp_path, "max", seed, error)
        write_run(tmp_path, "mean", seed, error - 0.1)
    verdict = {verdict["name"]: verdict for verdict in named(tmp_path).verdicts}["max_no_worse_than_mean"]
    assert verdict["verdict"] == "FAIL" and verdict["difference"] == pytest.approx(0.1)


def test_several_networks_are_judged_apart(tmp_path):
    study = named(write_study(write_study(tmp_path), "lenet5"))
    assert list(study.cells)[:2] == ["lenet5, max pooling", "lenet5, mean pooling"] and len(study.cells) == 6
    assert [verdict["name"] for verdict in study.verdicts][2:4] == [
        *("max_no_worse_than_mean_lenet5", "overlapping_no_worse_vgg11"),
    ]
    assert {verdict["a"]["n"] for verdict in study.verdicts} == {0, 3}  # never six


def test_every_claim_compares_values_that_are_listed():
    for factor in factors.FACTORS.values():
        assert {value for claim in factor.claims for value in (claim.a, claim.b)} <= set(factor.names)


def test_curves_have_a_band_over_seeds_and_failed_runs_dotted(tmp_path):
    write_study(tmp_path)
    write_run(tmp_path, "strided", 0, 0.5, state="failed")
    figure = factor_figures.curves(named(tmp_path).cells, "vgg11")
    train, test = figure.axes
    lines = {line.get_label(): line for line in test.get_lines()}
    assert list(lines["mean pooling"].get_xdata()) == [10, 20]
    assert list(lines["mean pooling"].get_ydata()) == pytest.approx([0.41, 0.31])
    assert lines["strided convolution (failed)"].get_linestyle() == ":"
    assert len(test.collections) == len(train.collections) == 3
    assert [line.get_xdata()[0] for line in test.get_lines() if str(line.get_label()).startswith("_")] == [10]


def test_final_errors_have_every_seed_a_dot(tmp_path):
    figure = factor_figures.final_errors(named(write_study(tmp_path)).cells, "vgg11")
    train, test = figure.axes
    dots = [line for line in test.get_lines() if line.get_label() == "_seeds"]
    assert [list(line.get_xdata()) for line in dots] == [list(errors) for errors in TEST_ERRORS.values()]
    assert [label.get_text() for label in train.get_yticklabels()] == [
        *("max pooling", "mean pooling", "overlapping pooling"),
    ]


def test_a_study_without_a_finished_run_is_written(tmp_path):
    write_run(tmp_path, "max", 0, 0.5, state="unfinished")
    text = factors.write(tmp_path, factors.POOLING)
    assert "no finished run" in text and "max pooling seed 0 is unfinished" in text


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(RecordError):
        factors.write(tmp_path, factors.POOLING)
