import jax
import numpy as np
import pytest

from cnn_jax import tasks
from cnn_jax.config import Config, override
from cnn_jax.data.augment import example_keys
from cnn_jax.tasks.classification import cross_entropy


def log_probabilities(logits):
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_smoothed_labels_are_spread_over_all_classes(smoothing):
    """q(k) = (1 - e) [k = y] + e / K (Szegedy et al. 2016, Section 7), in numpy."""
    logits = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    label = np.array([0, 1, 2, 3, 4, 0], np.int32)
    logs = log_probabilities(logits.astype(np.float64))
    expected = -(1 - smoothing) * logs[np.arange(6), label] - smoothing / 5 * logs.sum(axis=1)
    np.testing.assert_allclose(cross_entropy(logits, label, smoothing), expected, rtol=1e-5)


def test_training_is_on_smoothed_labels_and_what_is_recorded_and_evaluated_is_not(digits):
    settings = ["model.name=lenet5_full", "data.name=digits", "data.pad=0", "data.flip=false"]
    batch = {name: array[:8] for name, array in digits.splits["train"].items()}
    batch |= {"slot": np.arange(8), "key": example_keys(jax.random.key(0), np.arange(8)), "mask": np.ones(8, bool)}
    results = []
    for smoothing in (0.0, 0.2):
        config = override(Config(), [*settings, f"classification.label_smoothing={smoothing}"])
        task = tasks.make(tasks.complete(config, digits), digits, None)
        variables = task.init(jax.random.key(0), batch)
        loss, (_, sums) = task.loss(variables, batch, jax.random.key(1))
        results.append((float(loss), float(sums["loss"]), float(task.evaluate(variables, batch)["loss"])))
    plain, smoothed = results
    assert plain[0] == pytest.approx(plain[1] / 8, rel=1e-5)
    assert smoothed[1:] == plain[1:] and abs(smoothed[0] - plain[0]) > 1e-3
