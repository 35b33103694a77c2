"""Sweeps: what is finished is skipped, what failed is recorded and the rest goes on."""

import json
import shutil
import subprocess
import sys

import pytest

from cnn_jax import data, plan, presets, runner, sweep
from cnn_jax.config import Config, ConfigError, override, replace_field
from cnn_jax.runner import Settings
from cnn_jax.train import devices, record

TINY = ["model.width=4", "batch_size=32", "steps=4", "evaluations=2"]


@pytest.fixture(scope="module")
def base():
    return override(presets.get("resnet_digits"), TINY)


@pytest.fixture
def settings(digits_dir):
    return Settings(data_dir=str(digits_dir), parallel="jit", devices=1, progress=False, command="test")


def test_a_grid_is_every_combination(base):
    configs = sweep.grid(base, {"model.name": ["plain8", "resnet8"], "seed": [0, 1, 2]})
    assert [(config.model.name, config.seed) for config in configs] == [
        (name, seed) for name in ("plain8", "resnet8") for seed in (0, 1, 2)
    ]
    assert {config.steps for config in configs} == {4}


def test_epochs_are_turned_into_steps(base):
    config = sweep.set_epochs(replace_field(base, "batch_size", 128), 30, 1437)
    assert (config.steps, config.evaluations) == (337, 30)
    with pytest.raises(ConfigError, match="--epochs=0: must be above 0"):
        sweep.set_epochs(base, 0, 1437)


def test_a_device_group_is_a_devices_share(base, digits):
    config = replace_field(base, "model.bn_group", "device")
    assert sweep.resolve(config, devices.make_layout("jit", 1), digits).model.bn_group == 32
    assert sweep.resolve(config, devices.make_layout("pmap", 2), digits).model.bn_group == 16


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("batch_size", 33, "batch_size=33 does not divide by 2 devices"),
        ("model.bn_group", 32, "does not divide what a device has at a time, 32 over 2 devices = 16"),
        ("model.name", "plain9", "depth 9 is not 6n\\+2"),
    ],
)
def test_what_cannot_be_run_on_two_devices(base, path, value, message, digits):
    with pytest.raises(ConfigError, match=message):
        sweep.resolve(replace_field(base, path, value), devices.make_layout("pmap", 2), digits)


def test_too_many_devices():
    with pytest.raises(ConfigError, match="--devices=3: this process has 2 .cpu.*JAX_NUM_CPU_DEVICES=3"):
        devices.make_layout("auto", 3)


def test_two_runs_of_one_config_are_refused(base, tmp_path):
    with pytest.raises(ConfigError, match="two runs of the sweep are the same"):
        sweep.run_folders([base, base], tmp_path)


def test_names_are_readable_and_differ_with_the_config(base):
    names = {
        sweep.run_name(config)
        for config in (base, replace_field(base, "optim.momentum", 0.8), replace_field(base, "seed", 1))
    }
    assert len(names) == 3
    assert all(name.startswith("resnet20-digits-seed") for name in names)


def test_a_failure_is_recorded_and_the_rest_goes_on(base, tmp_path, settings, capsys):
    """The second run's loss is made infinite by its learning rate; its folder says so and the third still runs."""
    configs = sweep.grid(base, {"model.name": ["plain8"], "optim.learning_rate": [0.1, 1e20], "seed": [0]})
    configs.append(replace_field(base, "model.name", "resnet8"))
    outcomes = sweep.run(configs, tmp_path, settings)
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    said = capsys.readouterr().out
    assert "1 of 3 runs failed" in said and "the loss is not finite at step" in said
    runs = {run.folder.name: run for run in record.read_runs(tmp_path)}
    failed = [run for run in runs.values() if run.failure]
    assert len(runs) == 3 and len(failed) == 1
    assert "not finite at step" in failed[0].failure["error"] and "learning rate 1e+20" in failed[0].failure["error"]
    assert failed[0].result is None and not list((failed[0].folder / "checkpoints").iterdir())

    results = {name: run.result for name, run in runs.items() if run.result}
    outcomes = sweep.run(configs, tmp_path, settings)  # again: the finished are skipped, the failed is tried
    assert "2 of 3 runs are finished already" in capsys.readouterr().out
    assert {run.folder.name: run.result for run in record.read_runs(tmp_path) if run.result} == results


def test_two_workers_give_the_same_results_as_one(base, tmp_path, settings):
    configs = sweep.grid(base, {"model.name": ["plain8"], "seed": [0, 1, 2]})
    one = sweep.run(configs, tmp_path / "one", settings)
    two = sweep.run(configs, tmp_path / "two", settings._replace(workers=2))
    assert all(outcome.error is None for outcome in two)
    for folder in (outcome.folder.name for outcome in one):
        metrics = [(tmp_path / workers / folder / "metrics.jsonl").read_bytes() for workers in ("one", "two")]
        assert metrics[0] == metrics[1]


def ends(folder):
    """What depends on the config alone: the metrics and, by their digest, the final parameters."""
    meta = json.loads((folder / "checkpoints" / "4" / "meta" / "metadata").read_text())
    return (folder / "metrics.jsonl").read_bytes(), meta["digest"]


def test_seeds_in_parallel_give_the_numbers_of_one_device(base, tmp_path, settings, monkeypatch, digits):
    """Three seeds of two nets on two devices: one is always queued. A batch-norm group is still the whole batch."""
    in_parallel = settings._replace(seeds_in_parallel=True, devices=2, parallel="auto")
    base = override(base, ["model.bn_group=device", "data.pad=1", "data.flip=true"])
    configs = sweep.grid(base, {"model.name": ["plain8", "resnet8"], "seed": [0, 1, 2]})
    resolved = [sweep.resolve(config, settings.layout, digits) for config in configs]
    assert [sweep.resolve(config, in_parallel.layout, digits) for config in configs] == resolved
    loaded, load = [], data.load
    monkeypatch.setattr(data, "load", lambda *a, **k: (loaded.append(a), load(*a, **k))[1])
    runner.load_dataset.cache_clear()
    outcomes = sweep.run(resolved, tmp_path / "parallel", in_parallel)
    assert [outcome.error for outcome in outcomes] == [None] * 6
    assert len(loaded) == 1
    for outcome in sweep.run(resolved, tmp_path / "alone", settings):
        assert ends(tmp_path / "parallel" / outcome.folder.name) == ends(outcome.folder)


def test_in_parallel_a_failure_ends_nothing_else(base, tmp_path, settings):
    in_parallel = settings._replace(seeds_in_parallel=True, devices=2, parallel="auto")
    configs = sweep.grid(
        replace_field(base, "model.name", "plain8"), {"optim.learning_rate": [1e20, 0.1], "seed": [0, 1]}
    )
    outcomes = {outcome.folder: outcome for outcome in sweep.run(configs, tmp_path, in_parallel)}
    for folder, config in sweep.run_folders(configs, tmp_path).items():
        failed = config.optim.learning_rate == 1e20
        assert ("not finite at step" in (outcomes[folder].error or "")) == failed
        assert (folder / "failure.json").exists() == failed and (folder / "result.json").exists() != failed


def test_in_parallel_what_runs_is_saved_when_nobody_waits_for_it(base, tmp_path, settings):
    in_parallel = settings._replace(seeds_in_parallel=True, devices=2, parallel="auto")
    configs = sweep.grid(replace_field(base, "model.name", "plain8"), {"seed": [0], "steps": [4, 100_000, 100_001]})
    attempts = runner.execute(sweep.run_folders(configs, tmp_path), in_parallel)
    assert next(attempts).result["steps"] == 4
    attempts.close()
    assert not list(tmp_path.glob("*/failure.json")) and len(list(tmp_path.glob("*/result.json"))) == 1
    assert next(tmp_path.glob("*/checkpoints/[1-9]*"), None)


def test_a_plan_trains_nothing(base, tmp_path, settings):
    configs = sweep.grid(base, {"model.name": ["plain8"], "seed": [0, 1]})
    text = plan.measure_plan(configs, tmp_path, settings)
    row = text.splitlines()[1].split()
    assert row[:5] == ["plain8", "2", "0", "4,934", "4"]
    assert "nothing was trained" in text
    assert not list(tmp_path.iterdir())


def test_changed_data_is_refused(base, tmp_path, settings):
    config = replace_field(base, "model.name", "plain8")
    (outcome,) = sweep.run([config], tmp_path, settings)
    (outcome.folder / "result.json").unlink()
    manifest = outcome.folder / "manifest.json"
    facts = json.loads(manifest.read_text())
    facts["dataset"]["fingerprint"] = "0123456789abcdef"
    manifest.write_text(json.dumps(facts))
    (again,) = sweep.run([config], tmp_path, settings)
    assert "was begun on other data" in again.error


def test_metrics_that_a_kill_tore_are_mended(base, tmp_path, settings):
    config = replace_field(base, "model.name", "plain8")
    (outcome,) = sweep.run([config], tmp_path / "a", settings)
    whole = (outcome.folder / "metrics.jsonl").read_bytes()
    torn = tmp_path / "b" / outcome.folder.name
    shutil.copytree(outcome.folder, torn)
    (torn / "result.json").unlink()
    (torn / "metrics.jsonl").write_bytes(whole + b'{"step": 5, "epo')
    sweep.run([config], tmp_path / "b", settings)
    assert (torn / "metrics.jsonl").read_bytes() == whole
    (torn / "result.json").unlink()
    (torn / "metrics.jsonl").write_bytes(whole.partition(b"\n")[0] + b"\n")
    (again,) = sweep.run([config], tmp_path / "b", settings)
    assert "metrics.jsonl lacks step 4, which its checkpoint of step 4 has behind it" in again.error


def test_a_loss_that_is_not_finite_is_null_in_the_record(tmp_path):
    record.append_metrics(tmp_path, {"step": 1, "test_loss": float("inf"), "test_error": 0.5})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "test_loss": null, "test_error": 0.5}\n'
    assert record.read_metrics(tmp_path)[0]["test_loss"] is None


def test_the_listing_needs_nothing_but_python():
    code = "import sys; from experiments.__main__ import main; main([]); print([m for m in sys.modules if 'jax' in m])"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_cell_is_called_by_what_is_not_as_in_the_first():
    configs = sweep.grid(Config(), {"model.name": ["plain8", "resnet8"], "penalty.l1": [0.0, 0.1], "seed": [0, 1]})
    said = sweep.label_configs(configs)
    assert [said[config] for config in configs[::2]] == [
        *("plain8", "plain8 penalty.l1=0.1", "resnet8", "resnet8 penalty.l1=0.1")
    ]
    assert said[configs[0]] == said[configs[1]]
