"""The study: what is chosen, on training images alone, and the page made of it."""

import json

import numpy as np
import pytest

from cnn_jax.retrieval import baselines
from cnn_jax.retrieval.descriptors import Part
from cnn_jax.studies import retrieval
from cnn_jax.studies.retrieval.folds import quarters
from cnn_jax.studies.retrieval.measure import Side, measure

PARTS = (
    Part("conv1", "average"),
    Part("conv1", "gem"),
    Part("conv1", "max"),
    Part("stage1", "average"),
    Part("stage1", "gem"),
    Part("stage1", "max"),
    Part("logits", "none"),
)


def draw_side(count, seed):
    """Classes that stage1 tells apart and conv1 less."""
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4), count // 4)
    signal = np.random.default_rng(9).normal(size=(4, 40))[labels]
    strength = {"conv1": 0.2, "stage1": 1.0, "logits": 0.5}
    pooled = {
        part: (strength[part.endpoint] * signal + draw.normal(size=signal.shape)).astype(np.float32) for part in PARTS
    }
    images = [draw.integers(0, 256, (8, 8, 3), np.uint8) for _ in labels]
    return Side(pooled, {name: make(images) for name, make in baselines.BASELINES.items()}, labels)


@pytest.fixture(scope="module")
def content():
    database, queries = draw_side(160, 0), draw_side(40, 1)
    measured = measure(database, queries, PARTS)
    about = {"title": "drawn", "parts": list(map(str, PARTS)), "last": "logits", "networks": {"drawn": measured}}
    return json.loads(json.dumps(about))


def test_what_is_chosen_does_not_see_the_queries(content):
    measured = content["networks"]["drawn"]
    others = draw_side(40, 2)
    again = measure(draw_side(160, 0), others, PARTS)
    assert again["chosen"] == measured["chosen"] and again["validation"] == measured["validation"]
    best = max((str(part) for part in PARTS), key=lambda name: measured["validation"][name])
    assert measured["chosen"]["single"] == best and best.startswith("stage1")


def test_the_page_has_a_verdict_on_every_claim(content, tmp_path):
    (tmp_path / retrieval.FILE).write_text(json.dumps(content))
    text = retrieval.write(tmp_path)
    verdicts = {one["name"]: one for one in json.loads((tmp_path / "claims.json").read_text())}
    assert set(verdicts) == {
        "deep_beats_pixels",
        "deep_beats_colour",
        "last_is_not_best",
        "gem_no_worse_than_max",
        "max_no_worse_than_average",
        "unit_length_beats_raw",
    }
    assert verdicts["deep_beats_pixels"]["verdict"] == "PASS" and verdicts["deep_beats_pixels"]["a"]["n"] == 40
    assert (
        "query by query" in verdicts["deep_beats_pixels"]["rule"]
        and "seed" not in verdicts["deep_beats_pixels"]["rule"]
    )
    assert "precision@1 %" in text and "query expansion" in text
    assert {"report.html", "map_by_endpoint.png", "results.csv"} <= {path.name for path in tmp_path.iterdir()}
    mean = np.mean(content["networks"]["drawn"]["variants"]["logits"]["average_precision"])
    assert f"{100 * mean:.2f}" in next(line for line in text.splitlines() if line.startswith("logits "))


def test_quarters_are_runs_of_each_class():
    labels = np.array([0, 1] * 8)
    found = quarters(labels)
    assert np.sum(found, axis=0).tolist() == [1] * 16
    assert [np.flatnonzero(one)[0] for one in found] == [0, 4, 8, 12] and all(one.sum() == 4 for one in found)


def test_baselines_are_numpys():
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    counts, _ = np.histogramdd(image.reshape(-1, 3), bins=(8, 8, 8), range=[(0, 256)] * 3)
    np.testing.assert_allclose(baselines.histogram([image])[0], np.sqrt(counts.ravel() / 63), rtol=1e-6)
    assert np.linalg.norm(baselines.pixels([image])[0]) == pytest.approx(1, rel=1e-5)
    assert baselines.pixels([np.zeros((40, 30, 1), np.uint8)]).shape == (1, 256)
