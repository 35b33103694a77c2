"""Augmentation against a second implementation in NumPy, and its randomness against what it claims to be."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cnn_jax.data.augment import average_pool, example_keys, pixel_mean, random_crop_and_flip, standardize, take

PAD = 2


@partial(jax.jit, static_argnums=(2, 3))
def moved(keys, image, pad, flip):
    return random_crop_and_flip({"image": image}, {"image": "image"}, keys, pad, flip)["image"]


def crop(keys, image, pad):
    return moved(keys, image, pad, False)


def flip(keys, image):
    return moved(keys, image, 0, True)


def keys(count, seed=0):
    return jax.jit(example_keys)(jax.random.key(seed), jnp.arange(count, dtype=jnp.int32))


def pictures(count, height=5, width=6, channels=3):
    """Images in which every number is another one, and none is zero: a crop tells where it was taken."""
    return np.arange(1, count * height * width * channels + 1, dtype=np.float32).reshape(count, height, width, channels)


def numpy_crops(image, pad):
    """Every crop there is of one image: {(top, left): (H, W, C)}, copied pixel by pixel."""
    height, width, _ = image.shape
    crops = {}
    for top in range(2 * pad + 1):
        for left in range(2 * pad + 1):
            picture = np.zeros_like(image)
            for row in range(height):
                for column in range(width):
                    y, x = row + top - pad, column + left - pad
                    if 0 <= y < height and 0 <= x < width:
                        picture[row, column] = image[y, x]
            crops[top, left] = picture
    return crops


def crop_offsets(count):
    """The offsets `random_crop` draws, read off its result: int (count, 2)."""
    image = jnp.broadcast_to(pictures(1, 5, 5, 1), (count, 5, 5, 1))
    centre = crop(keys(count), image, PAD)[:, 2, 2, 0].astype(int) - 1  # (count,), 5 * top + left
    return np.stack(np.divmod(np.asarray(centre), 5), axis=1)


def test_a_crop_is_one_of_the_crops_numpy_makes():
    image = pictures(40)
    cropped = np.asarray(crop(keys(40), jnp.asarray(image), PAD))
    assert cropped.shape == image.shape and cropped.dtype == image.dtype
    for one, result in zip(image, cropped, strict=True):
        assert sum(np.array_equal(other, result) for other in numpy_crops(one, PAD).values()) == 1


def test_crop_offsets_are_uniform():
    counts = np.zeros((5, 5))
    np.add.at(counts, tuple(crop_offsets(10_000).T), 1)
    assert ((counts - 400) ** 2 / 400).sum() < 52.6  # chi-square with 24 degrees of freedom exceeds it once in 1500


def test_no_padding_is_no_crop():
    image = jnp.asarray(pictures(3))
    assert (crop(keys(3), image, 0) == image).all()


def test_a_flip_mirrors_left_to_right_half_of_the_images():
    image = pictures(2000, 2, 3, 1)
    flipped = np.asarray(flip(keys(2000), jnp.asarray(image)))
    same, mirrored = ((flipped == other).all(axis=(1, 2, 3)) for other in (image, image[:, :, ::-1]))
    assert (same ^ mirrored).all()
    assert abs(int(mirrored.sum()) - 1000) < 75  # 3.3 standard deviations


def test_crop_and_flip_with_the_same_keys_are_independent():
    top = crop_offsets(10_000)[:, 0]
    image = jnp.broadcast_to(jnp.asarray([1.0, 2.0]).reshape(1, 1, 2, 1), (10_000, 1, 2, 1))
    flipped = np.asarray(flip(keys(10_000), image)[:, 0, 0, 0] == 2)
    shares = [flipped[top == offset].mean() for offset in range(5)]
    assert max(abs(share - 0.5) for share in shares) < 0.04  # 3.6 standard deviations


@jax.jit
def augment(slots, image, seed):
    return moved(example_keys(jax.random.key(seed), slots), image, PAD, True)


def test_an_example_is_augmented_by_its_slot_wherever_it_is():
    image, slots = pictures(12), np.arange(12, dtype=np.int32)
    first, second = (np.asarray(augment(slots[part], image[part], 0)) for part in (slice(0, 8), slice(4, 12)))
    assert (first[4:] == second[:4]).all()
    assert (np.asarray(augment(slots[7::-1], image[7::-1], 0))[::-1] == first).all()
    assert (np.asarray(augment(slots[:8], image[:8], 1)) != first).any()


def test_a_sharded_batch_gets_the_same_numbers_and_stays_where_it_is():
    batch = NamedSharding(Mesh(np.array(jax.devices()[:2]), ("data",)), PartitionSpec("data"))
    image, slots = pictures(8), np.arange(8, dtype=np.int32)
    compiled = jax.jit(augment, in_shardings=(batch, batch, None), out_shardings=batch).lower(slots, image, 0).compile()
    sharded = compiled(jax.device_put(slots, batch), jax.device_put(image, batch), 0)
    assert (np.asarray(sharded) == np.asarray(augment(slots, image, 0))).all()
    assert not any(word in compiled.as_text() for word in ("all-gather", "all-to-all", "collective-permute"))


def test_take_gathers_every_array_of_the_batch():
    arrays = {"image": np.random.default_rng(0).integers(0, 256, (9, 4, 4, 3), np.uint8), "label": np.arange(9)}
    indices = np.array([8, 0, 0, 3], np.int32)
    batch = jax.jit(take)({name: jnp.asarray(array) for name, array in arrays.items()}, jnp.asarray(indices))
    assert batch["image"].dtype == jnp.uint8
    for name, array in arrays.items():
        assert np.array_equal(batch[name], array[indices])


def test_standardized_training_images_have_mean_zero_in_every_pixel():
    images = np.random.default_rng(0).integers(0, 256, (300, 4, 5, 3), np.uint8)
    mean = pixel_mean(images)
    assert mean.shape == (4, 5, 3) and mean.dtype == np.float32
    np.testing.assert_allclose(mean, (images / 255.0).mean(axis=0), rtol=1e-6)
    with jax.numpy_rank_promotion("raise"):
        standard = jax.jit(standardize)(jnp.asarray(images), mean)
    assert standard.shape == images.shape and standard.dtype == jnp.float32
    np.testing.assert_allclose(np.asarray(standard), images / 255.0 - mean, atol=1e-6)
    np.testing.assert_allclose(np.asarray(standard).mean(axis=0), 0, atol=1e-6)


def test_the_mean_of_many_white_images_is_exactly_one():
    assert (pixel_mean(np.full((70_000, 1, 1, 1), 255, np.uint8)) == 1).all()


def test_average_pool_is_the_mean_of_each_square():
    image = pictures(2, height=4, width=6)
    pooled = average_pool(jnp.asarray(image), 2)
    assert pooled.shape == (2, 2, 3, 3)
    expected = [
        [[image[b, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((0, 1)) for j in (0, 1, 2)] for i in (0, 1)]
        for b in (0, 1)
    ]
    np.testing.assert_allclose(pooled, expected, rtol=1e-6)
    np.testing.assert_array_equal(average_pool(jnp.asarray(image), 1), image)


def scenes(draw, count, height, width, boxes):
    """Images whose pixels tell their row and column, the same as label maps, and boxes at random, the last no box."""
    rows, columns = np.mgrid[:height, :width]
    place = np.broadcast_to(rows * width + columns, (count, height, width))
    low = np.stack([draw.integers(0, size, (count, boxes)) for size in (width, height)], axis=-1)
    high = np.stack([draw.integers(low[..., axis] + 1, size + 1) for axis, size in enumerate((width, height))], axis=-1)
    mask = np.arange(boxes) < boxes - 1
    return {
        "image": (place[..., None] + 1).astype(np.float32),
        "label_map": place.astype(np.uint8),
        "boxes": (np.concatenate([low, high], axis=-1) * mask[:, None]).astype(np.float32),
        "box_mask": np.broadcast_to(mask, (count, boxes)),
        "label": np.arange(count, dtype=np.int32),
    }


KINDS = {name: name for name in ("image", "label_map", "boxes", "box_mask", "label")}
augment_all = jax.jit(
    lambda keys, batch, pad, flip: random_crop_and_flip(batch, KINDS, keys, pad, flip), static_argnums=(2, 3)
)


@given(st.sampled_from([(0, True), (2, False), (2, True), (9, True)]), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_all_that_lies_in_the_image_moves_alike(how, seed):
    """A label stays on its pixel, void is where the image is padding, and a box holds what is left of its pixels."""
    (pad, flip), (height, width) = how, (5, 7)
    before = scenes(np.random.default_rng(seed), 8, height, width, 3)
    after = {name: np.asarray(array) for name, array in augment_all(keys(8, seed), before, pad, flip).items()}
    image, inside = after["image"][..., 0], after["image"][..., 0] > 0
    np.testing.assert_array_equal(image[inside] - 1, after["label_map"][inside])
    assert (after["label_map"][~inside] == 255).all()
    np.testing.assert_array_equal(after["label"], before["label"])
    np.testing.assert_array_equal(image, moved(keys(8, seed), before["image"], pad, flip)[..., 0])
    for example in range(8):
        for index, (x0, y0, x1, y1) in enumerate(before["boxes"][example].astype(int)):
            pixels = before["image"][example, y0:y1, x0:x1, 0]
            rows, columns = np.nonzero(np.isin(image[example], pixels) & inside[example])
            assert after["box_mask"][example, index] == (len(rows) > 0)
            expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else [0, 0, 0, 0]
            np.testing.assert_array_equal(after["boxes"][example, index], expected)


def test_all_fields_of_a_sharded_batch_stay_where_they_are():
    batch = NamedSharding(Mesh(np.array(jax.devices()[:2]), ("data",)), PartitionSpec("data"))
    before = scenes(np.random.default_rng(0), 8, 9, 9, 3)
    function = jax.jit(
        lambda keys, batch: random_crop_and_flip(batch, KINDS, keys, 2, True), in_shardings=(batch, batch)
    )
    compiled = function.lower(keys(8), before).compile()
    assert not any(word in compiled.as_text() for word in ("all-gather", "all-to-all", "collective-permute"))
