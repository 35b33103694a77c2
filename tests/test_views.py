"""What is shown of an encoded image when it is tested: pixels that a second implementation agrees with."""

import io

import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import evaluation
from cnn_jax.data import stream
from cnn_jax.data.crops import resize_short_side
from tests.pictures import draw_picture


@pytest.mark.parametrize(("width", "height"), [(60, 41), (41, 60), (28, 28), (90, 33)])
def test_evaluation_pixels_are_those_of_the_crops_on_devices(width, height):
    """data.crops resizes in float on the device, by another implementation: they agree to one level of rounding."""
    image = draw_picture(np.random.default_rng(1), width, height)
    file = io.BytesIO()
    image.save(file, "png")
    ours = stream.Middle(24, 28)(file.getvalue(), "")
    theirs = np.asarray(resize_short_side(jnp.asarray(np.asarray(image)[None], jnp.float32), 28)[0])
    top, left = (round((length - 24) / 2) for length in theirs.shape[:2])
    assert np.abs(ours - theirs[top : top + 24, left : left + 24]).max() <= 1.01


@pytest.mark.parametrize(("width", "height"), [(60, 41), (41, 60), (50, 50), (90, 33)])
@pytest.mark.parametrize(("crops", "sides"), [(1, (28,)), (1, (28, 40)), (10, (28, 33)), (144, (28, 32, 37, 40))])
def test_views_are_those_of_the_crops_on_devices(width, height, crops, sides):
    """To one level of rounding, and where squares of the rounded are resized again, to two."""
    image = draw_picture(np.random.default_rng(2), width, height)
    file = io.BytesIO()
    image.save(file, "png")
    shown = stream.Views(crops, 24, sides)
    ours = shown(file.getvalue(), "")
    pixels = jnp.asarray(np.asarray(image)[None], jnp.float32)
    theirs = np.concatenate(evaluation.make_views(pixels, evaluation.Protocol(crops, 24, sides)), axis=1)[0]
    assert ours.shape == (shown.views, 24, 24, 3)
    if crops == 144:  # there all mirror images come last, and of a square image the three squares are one
        ours = ours.reshape(4, 2, 3, 6, 24, 24, 3).swapaxes(0, 1)
        theirs = theirs.reshape(2, 4, -1, 6, 24, 24, 3)
    assert np.abs(ours - theirs).max() <= 2.01
