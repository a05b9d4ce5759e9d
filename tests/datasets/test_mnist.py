import gzip

import numpy as np
import pytest

from dse.datasets import load_splits
from dse.datasets.mnist import read_idx, read_mnist
from dse.errors import DataError


def _idx(array):
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def _images(n):
    return np.random.default_rng(n).integers(0, 256, (n, 28, 28), dtype=np.uint8)


@pytest.fixture(params=["", ".gz"])
def folder(request, tmp_path):
    for stem, n in (("train", 40), ("t10k", 20)):
        for name, array in (("images-idx3", _images(n)), ("labels-idx1", (np.arange(n) % 10).astype(np.uint8))):
            content = _idx(array)
            file = tmp_path / f"{stem}-{name}-ubyte{request.param}"
            file.write_bytes(gzip.compress(content) if request.param else content)
    return tmp_path


def test_both_parts(folder):
    dataset = read_mnist(folder)
    np.testing.assert_array_equal(dataset.test.images.read(np.arange(20))[:, 0], _images(20))
    np.testing.assert_array_equal(dataset.train.labels, np.arange(40) % 10)
    assert (dataset.n_classes, dataset.train.images.shape) == (10, (1, 28, 28))
    assert load_splits("mnist", data_dir=folder).search.n_images == 10


def _test_images_file(folder):
    return next(folder.glob("t10k-images*"))


def test_truncated(folder):
    file = _test_images_file(folder)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match="truncated"):
        read_mnist(folder)


def test_missing_labels(folder):
    next(folder.glob("t10k-labels*")).unlink()
    with pytest.raises(DataError, match="no t10k-labels"):
        read_mnist(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "does not begin"),
        (b"\0\0\x08\x03\0\0", "within its header"),
        (b"\0\0\x08\x01\0\0\0\x02abc", "does not hold the 2 values"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "does not hold"),
    ],
)
def test_bad_files(tmp_path, content, message):
    for file in (tmp_path / "x", tmp_path / "x.gz"):
        file.write_bytes(gzip.compress(content) if file.suffix else content)
        with pytest.raises(DataError, match=message):
            read_idx(file)


def test_no_images(tmp_path):
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(_idx(np.zeros((0, 28, 28), dtype=np.uint8)))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(_idx(np.zeros(0, dtype=np.uint8)))
    with pytest.raises(DataError, match="holds no pixels"):
        read_mnist(tmp_path)
