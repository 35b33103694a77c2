"""Batches: every example exactly once an epoch, as a function of (seed, step) alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.data import DataError
from cnn_jax.data.batches import epoch_order, evaluation_indices, training_indices

SIZES = {"count": st.integers(1, 40), "batch_size": st.integers(1, 60)}


@settings(deadline=None)
@given(**SIZES, seed=st.integers(0, 2**63), epochs=st.integers(1, 4))
def test_training_shows_each_example_exactly_once_an_epoch(count, batch_size, seed, epochs):
    steps = -(-epochs * count // batch_size)
    batches = [training_indices(count, batch_size, seed, step) for step in range(steps)]
    assert {(batch.shape, batch.dtype) for batch in batches} == {((batch_size,), np.dtype(np.int32))}
    line = np.concatenate(batches)[: epochs * count].reshape(epochs, count)
    assert (np.sort(line, axis=1) == np.arange(count)).all()


@settings(deadline=None)
@given(**SIZES, seed=st.integers(0, 2**32), step=st.integers(0, 10**12))
def test_training_batch_is_a_window_of_the_line_of_epochs_at_any_step(count, batch_size, seed, step):
    positions = range(step * batch_size, (step + 1) * batch_size)
    expected = [np.random.default_rng([seed, p // count]).permutation(count)[p % count] for p in positions]
    assert training_indices(count, batch_size, seed, step).tolist() == expected
    epoch_order.cache_clear()  # the cache must not matter
    assert training_indices(count, batch_size, seed, step).tolist() == expected


def test_training_order_is_the_same_on_every_machine_and_numpy():
    assert training_indices(10, 10, seed=0, step=0).tolist() == [4, 6, 2, 7, 3, 5, 9, 0, 8, 1]


def test_epochs_and_seeds_have_different_orders():
    orders = {epoch_order(50, seed, epoch).tobytes() for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_a_caller_cannot_change_the_order_that_others_share():
    training_indices(10, 5, seed=1, step=0)[:] = 0
    assert sorted(training_indices(10, 10, seed=1, step=0)) == list(range(10))
    with pytest.raises(ValueError, match="read-only"):
        epoch_order(10, 1, 0)[:] = 0


@settings(deadline=None)
@given(**SIZES)
def test_evaluation_holds_each_example_exactly_once(count, batch_size):
    batches = evaluation_indices(count, batch_size)
    assert {(i.shape, i.dtype, m.shape, m.dtype) for i, m in batches} == {
        ((batch_size,), np.dtype(np.int32), (batch_size,), np.dtype(bool))
    }
    assert np.concatenate([indices[mask] for indices, mask in batches]).tolist() == list(range(count))
    assert all(mask.all() for _, mask in batches[:-1]) and batches[-1][1].any()
    assert not any(indices[~mask].any() for indices, mask in batches)


@pytest.mark.parametrize("count, batch_size", [(0, 4), (4, 0), (-1, 1)])
def test_empty_splits_and_batches_are_refused(count, batch_size):
    with pytest.raises(DataError, match="at least 1"):
        training_indices(count, batch_size, 0, 0)
    with pytest.raises(DataError, match="at least 1"):
        evaluation_indices(count, batch_size)


@pytest.mark.parametrize("seed, step", [(-1, 0), (0, -1)])
def test_negative_seeds_and_steps_are_refused(seed, step):
    with pytest.raises(DataError, match="must not be negative"):
        training_indices(10, 2, seed, step)
