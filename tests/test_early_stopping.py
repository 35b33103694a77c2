"""Early stopping: when, at which network, and the same through interruptions."""

import json

import numpy as np
import pytest

from cnn_jax import data, presets, sweep, tasks
from cnn_jax.config import Config, ConfigError, override
from cnn_jax.evaluation import networks
from cnn_jax.train import devices, early_stopping, loop, record, variables
from cnn_jax.train.signals import Stopped
from cnn_jax.train.task import ERROR, Headline


def lines(*errors):
    return [{"step": step, "validation_error": error} for step, error in enumerate(errors, start=1)]


def test_the_best_is_the_first_of_equals():
    assert early_stopping.best_evaluation(lines(0.5, 0.2, 0.3, 0.2), ERROR)["step"] == 2


def test_lines_without_a_validation_split_are_passed_over():
    """As an older version wrote them of an image folder with valid/ beside test/."""
    metrics = [{"step": 1, "test_error": 0.1}, *({"step": 9} | line for line in lines(0.5, 0.2)[1:])]
    assert early_stopping.best_evaluation(metrics, ERROR)["validation_error"] == 0.2


def test_patience_wants_a_validation_split(digits, digits_dir):
    config, layout = override(presets.get("auto", "digits", "plain8"), ["patience=3"]), devices.make_layout("jit", 1)
    with pytest.raises(ConfigError, match="patience=3 looks at a validation split, and digits has none: set data.val"):
        sweep.resolve(config, layout, digits)
    assert sweep.resolve(config, layout, data.load("digits", digits_dir, validation=10)).patience == 3


def test_the_best_is_the_highest_where_higher_is_better_and_never_what_is_no_number():
    metrics = [{"step": step, "validation_psnr": psnr} for step, psnr in enumerate((20.0, None, 22.5, 21.0))]
    psnr = Headline("psnr", unit="dB", higher_is_better=True)
    assert early_stopping.best_evaluation(metrics, psnr)["step"] == 2
    assert [early_stopping.should_stop(metrics, patience, psnr) for patience in (1, 2)] == [True, False]


@pytest.mark.parametrize(
    ("errors", "patience", "over"),
    [
        ((0.5, 0.4, 0.3), 2, False),
        ((0.5, 0.3, 0.4), 2, False),
        ((0.5, 0.3, 0.4, 0.3), 2, True),
        ((0.5, 0.3, 0.4, 0.35, 0.2), 2, False),
        ((0.1, 0.2), 2, False),
        ((0.1, 0.2, 0.3), 2, True),
        ((0.1, 0.2, 0.3), 0, False),
        ((), 1, False),
    ],
)
def test_when_it_is_over(errors, patience, over):
    assert early_stopping.should_stop(lines(*errors), patience, ERROR) is over


@pytest.fixture(scope="module")
def problem(digits_dir):
    dataset = data.load("digits", digits_dir, validation=200)
    assignments = ["model.name=plain8", "model.width=4", "data.name=digits", "data.validation=200", "data.pad=0"]
    assignments += ["data.flip=false", "optim.boundaries=", "batch_size=32", "steps=64", "evaluations=32", "patience=2"]
    config = tasks.complete(override(Config(), assignments), dataset)
    return config, dataset


def fit(problem, folder, signals):
    config, dataset = problem
    layout = devices.make_layout("jit", 1)
    task = tasks.make(config, dataset, None)
    folder.mkdir(exist_ok=True)
    return loop.fit(task, config, dataset, folder, loop.Options(layout, 0.0, False, signals=signals))


@pytest.fixture(scope="module")
def undisturbed(problem, tmp_path_factory):
    folder = tmp_path_factory.mktemp("early")
    return fit(problem, folder, []), folder


def test_the_run_ends_early_at_its_best_network(undisturbed, problem):
    result, folder = undisturbed
    metrics = record.read_metrics(folder)
    best = early_stopping.best_evaluation(metrics, ERROR)
    assert metrics[-1]["step"] < 64 and metrics.index(best) == len(metrics) - 3
    assert (result["steps"], result["test_error"]) == (best["step"], best["test_error"])
    assert result["validation_error"] == min(line["validation_error"] for line in metrics)
    network, step = networks.load_run(folder, *problem)
    assert step == best["step"]
    test = problem[1].splits["test"]
    logits, _ = network.model.apply(network.variables, network.preprocess(test["image"]), train=False)
    assert np.mean(np.asarray(logits).argmax(axis=1) != test["label"]) == pytest.approx(result["test_error"])


def test_a_run_that_is_stopped_after_each_step_ends_alike(undisturbed, problem, tmp_path):
    whole, folder = undisturbed
    for _ in range(65):
        try:
            again = fit(problem, tmp_path, [15])
            break
        except Stopped:
            continue
    del whole["seconds"], again["seconds"]
    assert again == whole
    assert (tmp_path / "metrics.jsonl").read_bytes() == (folder / "metrics.jsonl").read_bytes()
    digests = [variables.load(where)[1]["digest"] for where in (folder, tmp_path)]
    assert digests[0] == digests[1]
    assert json.loads((tmp_path / "result.json").read_text())["steps"] == whole["steps"]
