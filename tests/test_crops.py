"""What a network is shown of an image, against PIL and a second writing of the papers' geometry in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnn_jax.data import crops
from cnn_jax.data.crops import Interpolation

PIL_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
sides = st.integers(1, 24)


def noise(*shape):
    return np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)


def by_pil(image, height, width, method):
    """(H, W) float32, resized by PIL in float32, so without its rounding to whole levels."""
    return np.asarray(Image.fromarray(image).resize((width, height), PIL_FILTERS[method]))


@pytest.mark.parametrize("method", PIL_FILTERS)
@pytest.mark.parametrize("size", [(16, 16), (5, 21), (40, 33), (18, 23)])
def test_resizing_is_pils(method, size):
    image = noise(1, 18, 23, 1)
    resized = crops.resize(image, *size, Interpolation(method))
    np.testing.assert_allclose(resized[0, :, :, 0], by_pil(image[0, :, :, 0], *size, method), atol=2e-3, rtol=0)


@pytest.mark.parametrize("size", [(7, 9), (31, 40)])
def test_on_uint8_the_difference_from_pil_is_its_rounding(size):
    image = noise(1, 18, 23, 3).astype(np.uint8)
    resized = np.asarray(crops.resize(image, *size)[0])
    pil = np.asarray(Image.fromarray(image[0]).resize(size[::-1], Image.Resampling.BILINEAR))
    assert np.abs(resized - pil).max() <= 1.0  # half a level in each of PIL's two passes


def test_without_antialias_a_pixel_is_an_average_of_four():
    image = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1) ** 2
    halved = crops.resize(image, 2, 2, Interpolation(antialias=False))
    np.testing.assert_allclose(halved[0, :, :, 0], image.reshape(2, 2, 2, 2).mean(axis=(1, 3)), rtol=1e-6)


def test_an_image_of_the_size_asked_for_is_untouched():
    image = noise(2, 8, 8, 3).astype(np.uint8)
    assert crops.resize(image, 8, 8) is image
    assert crops.resize_short_side(image, 8) is image


# torchvision.transforms.functional._compute_resized_output_size of the same sizes.
@pytest.mark.parametrize(
    ("shape", "short", "resized"),
    [((500, 375), 256, (341, 256)), ((375, 500), 256, (256, 341)), ((32, 32), 37, (37, 37)), ((3, 7), 2, (2, 4))],
)
def test_the_short_side_is_as_asked_for(shape, short, resized):
    assert crops.resized_shape(*shape, short) == resized


def corner(pixels, top, left, size):
    return pixels[:, top : top + size, left : left + size]


@settings(deadline=None, max_examples=50)
@given(height=sides, width=sides, size=sides)
def test_center_crop_leaves_margins_that_differ_by_one_at_most(height, width, size):
    rows, columns = np.indices((height, width))
    image = np.stack([rows, columns], axis=-1)[None]
    if size > min(height, width):
        with pytest.raises(ValueError, match="reaches beyond"):
            crops.center_crop(image, size)
        return
    middle = crops.center_crop(image, size)[0]
    assert middle.shape == (size, size, 2)
    for axis, length in enumerate((height, width)):
        before, after = middle[0, 0, axis], length - 1 - middle[-1, -1, axis]
        assert abs(before - after) <= 1


@pytest.mark.parametrize(("length", "size", "offset"), [(37, 32, 2), (39, 32, 4), (256, 224, 16), (341, 224, 58)])
def test_center_crop_begins_where_torchvisions_does(length, size, offset):
    assert crops.center_crop(np.arange(length * length).reshape(1, length, length, 1), size)[0, 0, 0, 0] == (
        offset * length + offset
    )


def test_ten_crops_are_of_the_central_square():
    image = noise(2, 9, 13, 3)
    ten = crops.ten_crop(image, 6)
    assert ten.shape == (2, 10, 6, 6, 3)
    square = image[:, :, 2:11]
    expected = [corner(square, top, left, 6) for top, left in ((0, 0), (0, 3), (3, 0), (3, 3), (2, 2))]
    expected += [np.flip(one, axis=2) for one in expected]
    np.testing.assert_array_equal(ten, np.stack(expected, axis=1))


def test_the_papers_scales_and_those_of_cifar():
    assert crops.scales_144(224) == (256, 288, 320, 352)
    assert crops.scales_144(32) == (37, 41, 46, 50)


@pytest.mark.parametrize(("shape", "count"), [((24, 36), 144), ((36, 24), 144), ((24, 25), 144), ((30, 30), 48)])
def test_144_crops_and_48_of_a_square(shape, count):
    image = jax.ShapeDtypeStruct((2, *shape, 3), jnp.float32)
    assert jax.eval_shape(lambda image: crops.crops_144(image, 16), image).shape == (2, count, 16, 16, 3)


def test_144_crops_lie_where_the_paper_says():
    image = noise(1, 20, 28, 1)
    crops_144 = np.asarray(crops.crops_144(image, 14))
    expected = []
    for scale in (16, 18, 20, 22):  # 14 x 8/7, 9/7, 10/7, 11/7
        width = scale * 28 // 20
        resized = by_pil(image[0, :, :, 0], scale, width, "bilinear")
        for left in (0, round((width - scale) / 2), width - scale):
            square = resized[:, left : left + scale]
            last = scale - 14
            for top, side in ((0, 0), (0, last), (last, 0), (last, last), (last // 2, last // 2)):
                expected.append(square[top : top + 14, side : side + 14])
            expected.append(by_pil(np.ascontiguousarray(square), 14, 14, "bilinear"))
    expected += [one[:, ::-1] for one in expected]
    assert len(expected) == 144
    np.testing.assert_allclose(crops_144[0, ..., 0], np.stack(expected), atol=2e-3, rtol=0)


def test_a_portrait_is_a_landscape_on_its_side():
    landscape = noise(1, 12, 17, 2)
    for lying, standing in zip(crops.squares(landscape), crops.squares(landscape.transpose(0, 2, 1, 3)), strict=True):
        np.testing.assert_array_equal(lying.transpose(0, 2, 1, 3), standing)


def test_one_square_thrice_would_not_change_the_average():
    image = noise(1, 9, 9, 1)
    for square in crops.squares(image):
        np.testing.assert_array_equal(square, image)
