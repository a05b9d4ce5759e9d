import numpy as np
import pytest

from dse.datasets.augmentation import SHIFT, augment
from dse.recovery.finetuning_settings import AUGMENTATIONS


def images(n=40, channels=3, height=16, width=24, dtype=np.uint8):
    return np.random.default_rng(0).integers(1, 256, (n, channels, height, width)).astype(dtype)


def changed(kind, given, seed=1):
    return augment(given, kind, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", AUGMENTATIONS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_type_and_shape_stay_and_nothing_is_changed_in_place(kind, dtype):
    given = images(dtype=dtype)
    before = given.copy()
    found = changed(kind, given)
    assert (found.dtype, found.shape) == (given.dtype, given.shape)
    np.testing.assert_array_equal(given, before)
    np.testing.assert_array_equal(found, changed(kind, given))
    assert (kind == "none") == np.array_equal(found, given)
    assert (kind == "none") == np.array_equal(found, changed(kind, given, seed=2))


def test_flips_half_of_the_images():
    given = images(200)
    found = changed("flip", given)
    is_mirrored = (found == given[..., ::-1]).all((1, 2, 3))
    is_same = (found == given).all((1, 2, 3))
    assert (is_mirrored ^ is_same).all()
    assert 60 < is_mirrored.sum() < 140


def shift_of(image, shifted):
    """The (down, right) by which `image` was moved, or None."""
    height, width = image.shape[1:]
    for down in range(-(height // SHIFT), height // SHIFT + 1):
        for right in range(-(width // SHIFT), width // SHIFT + 1):
            moved = np.zeros_like(image)
            moved[:, max(down, 0) : height + down, max(right, 0) : width + right] = image[
                :, max(-down, 0) : height - down, max(-right, 0) : width - right
            ]
            if np.array_equal(moved, shifted):
                return down, right
    return None


def test_crops_shift_each_image_over_a_black_border():
    given = images(200)
    shifts = [shift_of(before, after) for before, after in zip(given, changed("crop", given), strict=True)]
    assert None not in shifts
    assert {down for down, _ in shifts} == set(range(-2, 3))
    assert {right for _, right in shifts} == set(range(-3, 4))


def test_both():
    given = images()
    found = changed("crop-flip", given)
    either = [shift_of(a, b) or shift_of(a[..., ::-1], b) for a, b in zip(given, found, strict=True)]
    assert None not in either


def test_images_too_small_to_be_shifted():
    given = images(height=4, width=4)
    np.testing.assert_array_equal(changed("crop", given), given)
