"""Transfer: the ways are what they are called, the linear one is scikit-learn's, features are kept, claims judged."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from cnn_jax import config as config_lib
from cnn_jax import models
from cnn_jax.config import Config, ConfigError
from cnn_jax.data.preprocess import Preprocess
from cnn_jax.layers.initializers import initialize
from cnn_jax.models.heads import find_heads
from cnn_jax.network import Network
from cnn_jax.studies import transfer
from cnn_jax.studies.transfer import cells, linear, pooled, probe, ways
from cnn_jax.studies.transfer.claims import verdicts
from cnn_jax.train.record import Run

NETWORK = ways.Network("/runs/start", ("fc",), normalized=True, rate=0.1, initialization=None, small=False)


@pytest.mark.parametrize(("rows", "columns"), [(60, 200), (150, 30)])
def test_the_linear_way_is_scikit_learns_on_standardised_features(rows, columns):
    draw = np.random.default_rng(0)
    centres, labels = draw.normal(size=(5, columns)), np.arange(rows) % 5
    features = (3 + centres[labels] + 2 * draw.normal(size=(rows, columns))).astype(np.float32)
    test = (3 + centres[labels] + 2 * draw.normal(size=(rows, columns))).astype(np.float32)
    found = linear.fit(features, labels, test, labels)
    scaler = StandardScaler().fit(features.astype(np.float64))
    theirs = LogisticRegression(C=found.strength, max_iter=2000, tol=1e-6).fit(scaler.transform(features), labels)
    assert np.mean(found.said == theirs.predict(scaler.transform(test))) >= 0.98
    assert found.train_error == pytest.approx(1 - theirs.score(scaler.transform(features), labels), abs=0.02)
    assert found.strength in linear.STRENGTHS and 0 <= found.held_out_error < 0.5


def test_the_strength_is_chosen_on_training_examples_alone():
    features, labels = load_digits(return_X_y=True)
    kept = labels < 4
    features, labels = features[kept], labels[kept]
    train, test = features[:60], features[60:120]
    one, other = (linear.fit(train, labels[:60], rows, labels[60:120]) for rows in (test, test * 0))
    assert one.strength == other.strength and one.held_out_error == other.held_out_error < 0.2
    assert one.test_error < 0.2 < other.test_error
    first = [int(np.flatnonzero(labels == label)[0]) for label in range(4)]
    alone = linear.fit(features[first], np.arange(4), test, labels[60:120])  # of one a class none can be held out
    assert alone.strength == linear.ALONE and alone.held_out_error is None


def test_heads_are_the_layers_of_the_classes():
    for name, heads in {"resnet8": ("fc",), "squeezenet1_1": ("conv10",)}.items():
        assert find_heads(models.build(name, image_size=32), (32, 32, 3)) == heads


def test_every_way_is_recognised_from_its_config():
    base = config_lib.replace_fields(Config(), {"init_from": "/runs/start", "init_digest": "0"})
    made = ways.make_cells(base, list(ways.WAYS), ["stage1", "stage2"], NETWORK)
    found = [ways.recognize(config_lib.to_dict(one)) for one in made]
    cuts = [("frozen", "stage1"), ("frozen", "stage2"), ("partial", "stage1"), ("partial", "stage2")]
    assert found == [("scratch", ""), *cuts, ("finetune", ""), ("l2sp", "")]
    by_way = dict(zip(found, made, strict=True))
    assert by_way["scratch", ""].init_from == "" and by_way["scratch", ""].optim.rates == ()
    assert by_way["finetune", ""].optim.rates == ("fc:10",) and by_way["l2sp", ""].optim.weight_decay == 0
    assert by_way["frozen", "stage1"].init_until == by_way["frozen", "stage1"].optim.frozen == "stage1"
    spread = ways.spread_cells(made, {1: 5, 60: 3000}, [0, 1], passes=10)
    assert {one.steps for one in spread} == {ways.LEAST_STEPS, round(10 * 3000 / base.batch_size)}
    assert len({config_lib.fingerprint(one) for one in spread}) == len(spread) == 28
    with pytest.raises(ConfigError, match="--how=finetun: no such way; did you mean finetune"):
        ways.parse(["finetun"])


@pytest.fixture(scope="module")
def network():
    model = models.build("resnet8", num_classes=10, image_size=8, width=4)
    variables = initialize(model, jax.random.key(0), jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32))
    shown = Preprocess(None, None, (0.5,), (1.0,))
    return Network(model, variables, shown, channels=1, class_names=tuple("0123456789"), image_size=(8, 8))


def test_features_are_averages_kept_until_anything_changes(network, digits, tmp_path, monkeypatch):
    small = replace(digits, splits={name: {k: v[:40] for k, v in rows.items()} for name, rows in digits.splits.items()})
    found = pooled.take(network, Config().data, small, tmp_path)
    columns = probe.find_columns({"conv1": 4, "stage1": 4, "stage2": 8, "stage3": 16})
    direct = network.features(small.splits["test"]["image"], "stage2").mean(axis=(1, 2))
    np.testing.assert_allclose(found.splits["test"][:, columns["stage2"]], direct, rtol=1e-5, atol=1e-6)
    assert found.labels["train"].tolist() == small.splits["train"]["label"].tolist()
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(file.read_bytes()[:-100])  # what a full disk left is taken anew
    again = pooled.take(network, Config().data, small, tmp_path)
    np.testing.assert_array_equal(again.splits["train"], found.splits["train"])
    monkeypatch.setattr(pooled, "extract", None)
    kept = pooled.take(network, Config().data, small, tmp_path)
    np.testing.assert_array_equal(kept.splits["train"], found.splits["train"])
    with pytest.raises(TypeError):  # other images: they have to be taken
        pooled.take(network, Config().data, replace(small, fingerprint="other"), tmp_path)


def make_run(tmp_path, way, count, seed, error, start="/runs/start"):
    base = config_lib.replace_fields(Config(), {"init_from": start, "init_digest": "0"})
    (config,) = ways.make_cells(base, [way], ["stage2"], NETWORK._replace(folder=start))
    config = config_lib.replace_fields(config, {"data.examples_per_class": count, "seed": seed})
    folder = tmp_path / f"{way}-{count}-{seed}-{start[-1]}"
    return Run(folder, config_lib.to_dict(config), [], {"test_error": error, "train_error": 0.0}, None, {})


def test_claims_say_which_way_is_better(tmp_path, monkeypatch):
    errors = {("scratch", 1): 0.8, ("scratch", 60): 0.21, ("finetune", 1): 0.5, ("finetune", 60): 0.2}
    errors |= {("frozen", 1): 0.4, ("frozen", 60): 0.3}
    runs = [
        make_run(tmp_path, way, count, seed, error + 0.001 * seed * (way == "scratch"))
        for (way, count), error in errors.items()
        for seed in range(3)
    ]
    runs += [make_run(tmp_path, "finetune", 60, seed, 0.3 + 0.001 * seed, "/runs/x") for seed in range(3)]
    monkeypatch.setattr(cells, "read_runs", lambda _: runs)
    found = {one["name"]: one["verdict"] for one in verdicts(cells.read(tmp_path))}
    assert found == {
        "finetune_beats_scratch_1": "PASS",
        "frozen_beats_finetune_1": "PASS",
        "the_gap_closes": "PASS",
        "unrelated_is_no_better": "PASS",
    }


def test_the_linear_way_chooses_among_cuts_and_sizes_on_held_out_examples(tmp_path):
    base = config_lib.replace_fields(Config(), {"init_from": "/runs/start", "init_digest": "0"})

    def measured(size, errors):
        config = config_lib.to_dict(config_lib.replace_fields(base, {"data.crop": size}))
        rows = [
            {"cut": cut, "examples": 5, "seed": seed, "held_out_error": held, "test_error": test, "parameters": 3}
            for cut, (held, test) in errors.items()
            for seed in range(2)
        ]
        return {"config": config, "rows": rows}

    small = measured(96, {"fire8": (0.2, 0.3), "fire9": (0.25, 0.1)})
    probe.write([small, measured(224, {"fire8": (0.3, 0.4), "fire9": (0.15, 0.2)})], tmp_path)
    study = cells.read(tmp_path)
    found = cells.choose_linear(study.cells, 5)
    assert (found.name, cells.mean(found, "test_error")) == ("linear to fire9 at 224 px", pytest.approx(0.2))
    assert {cell.size for cell in study.cells} == {0, 224} and study.endpoints == ["fire8", "fire9"]
    (line,) = [line for line in transfer.write(tmp_path).splitlines() if line.startswith("fire9 at 224 px")]
    assert "20.00" in line and (tmp_path / "error_against_cut.png").stat().st_size > 5_000
