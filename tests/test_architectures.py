"""The table of networks beside each other, from run folders written by hand."""

import csv
import json

import pytest

from cnn_jax.studies import architectures
from cnn_jax.train.record import RecordError


def write_run(workdir, model, seed, test_error, macs):
    folder = workdir / f"{model}-{seed}"
    folder.mkdir()
    config = {"model": {"name": model, "stem": "small", "image_size": 8, "width": 4}, "data": {"name": "digits"}}
    result = {"parameters": 100, "macs": macs, "train_error": 0.1, "test_error": test_error, "seconds": 2.0}
    metrics = [
        {"step": step, "epoch": step, "test_error": test_error * 2 / step, "train_error": 0.5} for step in (1, 2)
    ]
    (folder / "config.json").write_text(json.dumps(config | {"seed": seed}))
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))


def test_networks_are_listed_by_cost_with_means_over_seeds(tmp_path):
    for seed, error in enumerate((0.2, 0.3, 0.4)):
        write_run(tmp_path, "alexnet", seed, error, 2_000_000)
    write_run(tmp_path, "lenet5", 0, 0.05, 1_500_000)
    lines = architectures.write(tmp_path).splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["lenet5", "alexnet"]
    assert lines[2].split() == "alexnet small 4 3 100 2.00 M 10.00 ± 0.00 30.00 ± 10.00 2".split()
    with open(tmp_path / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["seed"], row["test_error"]) for row in rows] == [
        ("lenet5", "0", "0.05"),
        *(("alexnet", "0", "0.2"), ("alexnet", "1", "0.3"), ("alexnet", "2", "0.4")),
    ]
    assert {path.name for path in tmp_path.glob("*.*")} == {
        *("architectures.png", "architectures.svg", "report.html", "results.csv"),
    }
    page = (tmp_path / "report.html").read_text()
    assert "<title>Architectures: digits, width 4</title>" in page and "PASS" not in page


def test_a_failed_network_is_listed_and_is_in_no_table(tmp_path):
    write_run(tmp_path, "lenet5", 0, 0.05, 1_500_000)
    write_run(tmp_path, "vgg11", 0, 0.05, 2_500_000)
    (tmp_path / "vgg11-0" / "result.json").unlink()
    (tmp_path / "vgg11-0" / "failure.json").write_text(json.dumps({"error": "the loss is NaN", "step": 3}))
    assert "vgg11" not in architectures.write(tmp_path).partition("report.html")[0]
    assert (
        "<td>vgg11-0</td><td>failed</td><td>the loss is NaN (at step 3)</td>" in (tmp_path / "report.html").read_text()
    )


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(RecordError):
        architectures.write(tmp_path)
