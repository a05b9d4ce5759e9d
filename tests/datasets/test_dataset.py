import numpy as np
import pytest
import torch

from dse.datasets.dataset import ArraySource, Dataset, Part, images_from_array, labels_from_array, part_from_arrays
from dse.errors import DataError


def test_array_source_reads_across_blocks_in_any_order():
    images = np.arange(7 * 4, dtype=np.uint8).reshape(7, 1, 2, 2)
    source = ArraySource([images[:3], images[3:4], images[4:]])
    indices = np.array([6, 0, 3, 4, 2, 2])
    np.testing.assert_array_equal(source.read(indices), images[indices])
    assert (source.n_images, source.shape) == (7, (1, 2, 2))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((4, 3, 8, 8), (4, 3, 8, 8)),
        ((4, 8, 8), (4, 1, 8, 8)),
        ((4, 8, 8, 3), (4, 3, 8, 8)),
        ((4, 8, 8, 1), (4, 1, 8, 8)),
    ],
)
def test_image_layouts(shape, expected):
    assert images_from_array(np.zeros(shape, dtype=np.uint8)).shape == expected


def test_image_types():
    assert images_from_array(np.full((1, 2, 2), 255, dtype=np.int64)).dtype == np.uint8
    assert images_from_array(np.full((1, 2, 2), 0.5)).dtype == np.float32
    assert images_from_array(torch.zeros(1, 3, 2, 2)).dtype == np.float32


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 12), dtype=np.uint8), r"shape \(4, 12\)"),
        (np.zeros((0, 3, 4, 4), dtype=np.uint8), "holds no pixels"),
        (np.full((1, 2, 2), 256), "expected 0..255"),
        (np.full((1, 2, 2), -1), "expected 0..255"),
        (np.full((1, 2, 2), np.nan), "NaN or infinite"),
        (np.zeros((1, 2, 2), dtype=bool), "type bool"),
    ],
)
def test_bad_images(array, message):
    with pytest.raises(DataError, match=message):
        images_from_array(array)


@pytest.mark.parametrize("array", [np.zeros((3, 10), dtype=int), np.zeros(3), np.array(["a"])])
def test_bad_labels(array):
    with pytest.raises(DataError, match="expected integer class indices"):
        labels_from_array(array)


def test_labels_in_a_column():
    assert labels_from_array(np.array([[1], [2]], dtype=np.uint8)).tolist() == [1, 2]


def _part(n, labels, size=2):
    return part_from_arrays(np.zeros((n, 1, size, size), dtype=np.uint8), np.array(labels, dtype=int), where="here")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], "3 images but 2 labels"),
        ([0, 1, 2], "label 2 is outside 0..1"),
        ([0, -1, 1], "label -1 is outside 0..1"),
    ],
)
def test_labels_that_do_not_fit(labels, message):
    with pytest.raises(DataError, match=message):
        Dataset(name="mine", test=_part(3, labels), n_classes=2)


def test_parts_of_two_shapes():
    with pytest.raises(DataError, match="expected one shape"):
        Dataset(name="mine", train=_part(1, [0], size=3), test=_part(1, [0]), n_classes=2)


def test_empty_part():
    part = Part(ArraySource([np.zeros((0, 1, 2, 2), dtype=np.uint8)]), np.zeros(0, dtype=np.int64))
    with pytest.raises(DataError, match="no images"):
        Dataset(name="mine", test=part, n_classes=2)
