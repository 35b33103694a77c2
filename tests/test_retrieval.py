"""Descriptors, the exact index and its scores, each beside a second implementation: numpy's, or scikit-learn's."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import average_precision_score

from cnn_jax.config import ConfigError
from cnn_jax.data import DataError
from cnn_jax.retrieval import descriptors, scores, search
from cnn_jax.retrieval.descriptors import Part
from cnn_jax.retrieval.whitening import find_components, make_whitening

SHAPES = {"conv1": (8, 8, 4), "stage1": (4, 4, 8), "pool": (8,), "logits": (5,)}


@pytest.fixture(scope="module")
def maps():
    return np.random.default_rng(0).normal(size=(3, 5, 7, 4)).astype(np.float32)


@pytest.fixture
def vectors():
    """Of small whole numbers, so that products are exact and many are equal."""
    return np.random.default_rng(1).integers(-2, 3, (300, 6)).astype(np.float32)


def test_poolings_are_their_formulas(maps):
    clamped = np.maximum(maps.astype(np.float64), 1e-6)
    np.testing.assert_allclose(descriptors.POOLINGS["average"](maps), maps.mean((1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(descriptors.POOLINGS["max"](jnp.asarray(maps)), maps.max((1, 2)))
    expected = np.cbrt((clamped**3).mean((1, 2)))
    np.testing.assert_allclose(descriptors.POOLINGS["gem"](jnp.asarray(maps)), expected, rtol=1e-5)
    summed = 0.0
    for top, left, side in descriptors.regions(5, 7):
        one = maps[:, top : top + side, left : left + side].max((1, 2))
        summed = summed + one / np.linalg.norm(one, axis=1, keepdims=True)
    np.testing.assert_allclose(descriptors.POOLINGS["rmac"](jnp.asarray(maps)), summed, rtol=1e-5, atol=1e-6)


def test_regions_are_those_of_the_paper():
    """Tolias et al. 2016, Fig. 2: 1, 4 and 9 on a square; of 20x30 the program of its authors' successors (cirtorch
    1.2, `LF.rmac`) has 2, 6 and 12 squares of 20, 13 and 10, beginning at these columns."""
    square = descriptors.regions(12, 12)
    assert [side for *_, side in square] == [12] + 4 * [8] + 9 * [6]
    assert {(top, left) for top, left, side in square if side == 8} == {(0, 0), (0, 4), (4, 0), (4, 4)}
    wide = descriptors.regions(20, 30)
    assert [sum(side == one for *_, side in wide) for one in (20, 13, 10)] == [2, 6, 12]
    assert sorted({left for _, left, side in wide if side == 10}) == [0, 6, 13, 20]
    tall = descriptors.regions(30, 20)
    assert {(left, top, side) for top, left, side in wide} == {(top, left, side) for top, left, side in tall}
    for height, width in ((1, 1), (2, 2), (1, 9), (3, 2)):
        assert all(
            0 < side and top + side <= height and left + side <= width
            for top, left, side in descriptors.regions(height, width)
        )


def test_length_is_one_and_nothing_is_divided_by_nothing():
    there = descriptors.normalize(np.array([[3, 4], [0, 0]], np.float32))
    np.testing.assert_allclose(there, [[0.6, 0.8], [0, 0]], rtol=1e-6)
    parts = (Part("a", "gem"), Part("b", "max"))
    both = descriptors.combine({parts[0]: np.array([[3.0, 4]]), parts[1]: np.array([[0.0, 9]])}, parts)
    np.testing.assert_allclose(both, np.array([[0.6, 0.8, 0, 1]]) / np.sqrt(2))


def test_descriptors_are_written_with_their_poolings():
    assert descriptors.parse("conv1:max+stage1+logits", SHAPES) == (
        *(Part("conv1", "max"), Part("stage1", "gem")),
        Part("logits", "none"),
    )
    assert "+".join(map(str, descriptors.parse("conv1:max+pool", SHAPES))) == "conv1:max+pool"
    assert len(descriptors.all_parts(SHAPES)) == 2 * 4 + 2
    for text, message in (
        ("stage2:max", "no endpoint 'stage2'; did you mean stage1"),
        ("conv1:gme", "no pooling 'gme'"),
    ):
        with pytest.raises(ConfigError, match=message):
            descriptors.parse(text, SHAPES)


def test_whitening_is_scikit_learns():
    draw = np.random.default_rng(2)
    vectors = (draw.normal(size=(60, 8)) @ draw.normal(size=(8, 8))).astype(np.float32)
    components = find_components(vectors)
    for shrinkage, whiten in ((0.0, True), (1.0, False)):
        expected = descriptors.normalize(PCA(4, whiten=whiten, svd_solver="full").fit_transform(vectors))
        found = make_whitening(components, 4, shrinkage)(vectors)
        np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-3, atol=1e-4)
    few = find_components(vectors[:5])  # fewer than dimensions: the other Gram matrix
    expected = PCA(4, svd_solver="full").fit(vectors[:5])
    np.testing.assert_allclose(few.variances, expected.explained_variance_, rtol=1e-5)
    np.testing.assert_allclose(np.abs(few.directions.T), np.abs(expected.components_), rtol=1e-3, atol=1e-5)
    with pytest.raises(ConfigError, match="whitening to 5 dimensions: 1 to 4 components are there"):
        make_whitening(few, 5)


def by_brute_force(vectors, queries, count, own):
    """Of each query the places by (-score, place), its own left out."""
    product = queries @ vectors.T
    rows = []
    for row, mine in zip(product, own, strict=True):
        order = sorted((place for place in range(len(vectors)) if place != mine), key=lambda p: (-row[p], p))
        rows.append(order[:count] + [-1] * max(0, count - len(order)))
    return np.array(rows)


@pytest.mark.parametrize("count", [1, 7, 400])
def test_the_exact_index_is_brute_force_ties_included(vectors, count, monkeypatch):
    monkeypatch.setattr(search, "BLOCK", 64)  # several blocks, the last not full
    monkeypatch.setattr(search, "QUERIES", 16)
    queries, own = vectors[:20], np.where(np.arange(20) % 3 == 0, -1, np.arange(20))
    found, places = search.search(vectors, queries, count, own)
    expected = by_brute_force(vectors, queries, count, own)
    np.testing.assert_array_equal(places, expected)
    there = expected >= 0
    np.testing.assert_array_equal(found[there], (queries @ vectors.T)[np.nonzero(there)[0], expected[there]])
    assert np.isneginf(found[~there]).all()


def test_a_query_that_is_not_finite_is_refused(vectors):
    queries = vectors[:3].copy()
    queries[1, 0] = np.nan
    with pytest.raises(DataError, match="query 1 is not finite: 1 of 3"):
        search.search(vectors, queries, 3)
    with pytest.raises(DataError, match="queries of 5 dimensions, and the index has 6"):
        search.search(vectors, queries[:, :5], 3)


def test_expansion_is_the_mean_with_the_nearest(vectors):
    unit = descriptors.normalize(vectors + 0.01 * np.random.default_rng(3).normal(size=vectors.shape))
    unit = unit.astype(np.float32)
    order = np.argsort(-(unit[:4] @ unit.T), axis=1)[:, 1:6]
    expected = descriptors.normalize(unit[:4] + unit[order].sum(axis=1))
    np.testing.assert_allclose(search.expand(unit, unit[:4], 5, np.arange(4)), expected, rtol=1e-5, atol=1e-6)


def test_average_precision_is_scikit_learns():
    draw = np.random.default_rng(4)
    vectors, labels = descriptors.normalize(draw.normal(size=(150, 16))), draw.integers(0, 6, 150)
    queries, asked = descriptors.normalize(draw.normal(size=(40, 16))), draw.integers(0, 7, 40)  # of 6 there is none
    found = scores.score(queries, asked, vectors, labels)
    assert found.without == (asked == 6).sum() > 0
    np.testing.assert_array_equal(found.queries, np.flatnonzero(asked < 6))
    near = queries @ vectors.T
    expected = [average_precision_score(labels == asked[q], near[q]) for q in found.queries]
    np.testing.assert_allclose(found.average_precision, expected, rtol=1e-12)
    first = np.argsort(-near, axis=1)[found.queries, :5]
    right = labels[first] == asked[found.queries][:, None]
    np.testing.assert_allclose(found.precision[5], right.mean(axis=1))
    np.testing.assert_allclose(found.recall[5], right.any(axis=1))


def test_a_query_is_never_its_own_answer_and_duplicates_are_told():
    vectors = descriptors.normalize(np.random.default_rng(5).normal(size=(30, 8)))
    vectors[7] = vectors[3]
    labels = np.arange(30) // 2
    found = scores.score(vectors, labels, vectors, labels, np.arange(30))
    assert (found.duplicates, found.without) == (2, 0)
    alone = np.arange(30) != 4
    near = (vectors[4] @ vectors.T)[alone]
    assert found.average_precision[4] == pytest.approx(average_precision_score((labels == 2)[alone], near), rel=1e-12)


def test_distance_is_another_order_than_the_product():
    vectors = np.array([[1.0, 0], [3, 3]])
    near = {measure: scores.similarities(np.array([[1.0, 0.5]]), vectors, measure) for measure in scores.MEASURES}
    assert near["dot"].argmax() == 1 and near["euclid"].argmax() == 0
    np.testing.assert_allclose(near["euclid"], [[-0.25, -(4 + 6.25)]])
