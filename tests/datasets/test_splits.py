import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dse.datasets.dataset import Dataset, part_from_arrays
from dse.datasets.splits import Split, balanced_halves, balanced_order, make_splits
from dse.errors import DataError


def _dataset(n_test, n_train=None, n_classes=5):
    """Images whose single pixel is their position, labels in turn."""

    def part(n):
        images = np.arange(n, dtype=np.uint8).reshape(-1, 1, 1, 1)
        return part_from_arrays(images, np.arange(n) % n_classes, where="toy")

    return Dataset(name="toy", test=part(n_test), train=part(n_train) if n_train else None, n_classes=n_classes)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.integers(0, 3))
def test_prefixes_keep_class_frequencies(labels, seed):
    labels = np.array(labels)
    order, _ = balanced_order(labels, np.random.default_rng(seed))
    assert sorted(order) == list(range(len(labels)))
    for c in np.unique(labels):
        counts = np.cumsum(labels[order] == c)
        expected = np.arange(1, len(labels) + 1) * (labels == c).mean()
        assert np.abs(counts - expected).max() <= len(np.unique(labels))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80))
def test_halves_are_disjoint_and_balanced(labels):
    labels = np.array(labels)
    first, second = balanced_halves(labels, np.random.default_rng(0))
    assert sorted([*first, *second]) == list(range(len(labels)))
    for c in range(5):
        assert abs((labels[first] == c).sum() - (labels[second] == c).sum()) <= 1


def test_two_parts():
    splits = make_splits(_dataset(100, 60), n_calibration=20)
    assert (splits.calibration.part, splits.search.part, splits.report.part) == ("train", "test", "test")
    assert [s.n_images for s in (splits.calibration, splits.search, splits.report)] == [20, 50, 50]
    assert not set(splits.search.indices) & set(splits.report.indices)
    for split in (splits.calibration, splits.search, splits.report):
        assert set(np.bincount(split.labels)) == {split.n_images // 5}
        np.testing.assert_array_equal(split.stored[:, 0, 0, 0], split.indices)


def test_one_part_is_cut_in_three():
    splits = make_splits(_dataset(90), n_calibration=1000)
    indices = [set(s.indices) for s in (splits.calibration, splits.search, splits.report)]
    assert [len(i) for i in indices] == [30, 30, 30]
    assert set.union(*indices) == set(range(90))


def test_seed_fixes_the_splits_and_smaller_ones_are_prefixes():
    whole, again, small = (make_splits(_dataset(100, 60), n_search=n, n_report=n) for n in (None, None, 17))
    other = make_splits(_dataset(100, 60), seed=1)
    assert whole.fingerprint == again.fingerprint != other.fingerprint
    np.testing.assert_array_equal(small.search.indices, whole.search.indices[:17])
    np.testing.assert_array_equal(small.report.indices, whole.report.indices[:17])
    assert whole.search.subset(17).fingerprint == small.search.fingerprint


def test_calibration_size_does_not_move_the_halves():
    few, many = (make_splits(_dataset(100, 60), n_calibration=n) for n in (5, 50))
    np.testing.assert_array_equal(few.report.indices, many.report.indices)


@pytest.mark.parametrize("sizes", [{"n_search": 51}, {"n_report": 0}, {"n_calibration": 0}])
def test_impossible_sizes(sizes):
    with pytest.raises(DataError, match="expected"):
        make_splits(_dataset(100, 60), **sizes)


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_images(n):
    with pytest.raises(DataError, match="three disjoint"):
        make_splits(_dataset(n))


def test_no_half_left():
    with pytest.raises(DataError, match="at least two test images"):
        make_splits(_dataset(1, 60))


def test_batches_are_the_images():
    split = make_splits(_dataset(100, 60), preprocessing="raw").search
    batches = torch.cat([split.batch(k, k + 16) for k in range(0, split.n_images, 16)])
    assert torch.equal(batches, split.images)
    assert (batches.dtype, tuple(batches.shape), split.labels.dtype) == (torch.float32, (50, 1, 1, 1), torch.int64)


def test_preprocessing_is_checked_before_images_are_read():
    with pytest.raises(DataError, match="channels"):
        make_splits(_dataset(100), preprocessing="imagenet")


def test_fingerprint_sees_pixels_labels_and_preprocessing():
    images, labels = np.zeros((4, 1, 2, 2), dtype=np.uint8), np.array([0, 1, 0, 1])
    changed = images.copy()
    changed[2, 0, 1, 1] = 1
    prints = {
        Split.from_arrays(images, labels).fingerprint,
        Split.from_arrays(changed, labels).fingerprint,
        Split.from_arrays(images, labels[::-1]).fingerprint,
        Split.from_arrays(images, labels, preprocessing="raw").fingerprint,
        Split.from_arrays(images.reshape(4, 1, 1, 4), labels).fingerprint,
    }
    assert len(prints) == 5


def test_split_survives_pickling():
    split = make_splits(_dataset(100, 60)).search
    copy = pickle.loads(pickle.dumps(split))
    assert copy.fingerprint == split.fingerprint
    assert torch.equal(copy.images, split.images)


def test_from_arrays():
    x = torch.randn(6, 3, 4, 4)
    split = Split.from_arrays(x, torch.tensor([0, 1, 2, 0, 1, 2]))
    assert torch.equal(split.images, x)
    assert (split.n_classes, len(split), split.shape) == (3, 6, (3, 4, 4))


@pytest.mark.parametrize(
    ("images", "labels", "n_classes"),
    [
        (np.zeros((2, 1, 2, 2)), [0], None),
        (np.zeros((2, 1, 2, 2)), [0, 5], 3),
        (np.zeros((0, 1, 2, 2)), np.zeros(0, dtype=int), None),
        (np.zeros((2, 4)), [0, 1], None),
    ],
)
def test_from_bad_arrays(images, labels, n_classes):
    with pytest.raises(DataError, match="expected"):
        Split.from_arrays(images, labels, n_classes=n_classes)


@pytest.mark.parametrize("n", [0, 7, -1])
def test_bad_subset(n):
    with pytest.raises(DataError, match=r"expected 1\.\.6"):
        Split.from_arrays(np.zeros((6, 1, 2, 2)), np.zeros(6, dtype=int)).subset(n)
