import numpy as np
import pytest

from dse.datasets import load_splits
from dse.datasets.numpy_files import read_numpy
from dse.errors import DataError

_X = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
_Y = np.arange(30) % 3


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_of_two_parts(tmp_path, save):
    save(tmp_path / "data.npz", x_train=_X, y_train=_Y[:, None], x_test=_X[:12], y_test=_Y[:12])
    for place in (tmp_path / "data.npz", tmp_path):
        dataset = read_numpy(place)
        np.testing.assert_array_equal(dataset.test.images.read(np.arange(12)), _X[:12].transpose(0, 3, 1, 2))
        assert (dataset.n_classes, dataset.train.images.n_images) == (3, 30)
    assert load_splits("numpy", data_dir=tmp_path).calibration.n_images == 30


def test_npy_folder_of_one_part(tmp_path):
    np.save(tmp_path / "images.npy", _X)
    np.save(tmp_path / "labels.npy", _Y)
    dataset = read_numpy(tmp_path)
    assert (dataset.train, dataset.test.images.n_images) == (None, 30)


def test_pickled_objects_are_refused(tmp_path):
    np.savez(tmp_path / "data.npz", images=np.array([{}, {}], dtype=object), labels=_Y)
    with pytest.raises(DataError, match="cannot be read"):
        read_numpy(tmp_path / "data.npz")


def test_unknown_names(tmp_path):
    np.savez(tmp_path / "data.npz", pictures=_X, labels=_Y)
    with pytest.raises(DataError, match="has the arrays labels, pictures; expected x_train"):
        read_numpy(tmp_path / "data.npz")


@pytest.mark.parametrize("name", ["images.npy", "data.npz"])
def test_truncated(tmp_path, name):
    np.save(tmp_path / "labels.npy", _Y) if name == "images.npy" else None
    file = tmp_path / name
    np.save(file, _X) if name == "images.npy" else np.savez(file, images=_X, labels=_Y)
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(DataError, match=f"{name} cannot be read"):
        read_numpy(tmp_path)
