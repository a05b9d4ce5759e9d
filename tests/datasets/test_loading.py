import numpy as np
import pytest

from dse.datasets import dataset_names, load_splits, read_dataset
from dse.errors import DataError


def test_unknown_name():
    with pytest.raises(DataError, match="did you mean 'cifar10'.*MODULE:FUNCTION"):
        load_splits("cifar")


def test_without_data_folder(monkeypatch):
    monkeypatch.delenv("DSE_DATA", raising=False)
    for name in set(dataset_names()) - {"digits"}:
        with pytest.raises(DataError, match=r"pass data_dir \(--data DIR\).*DSE_DATA"):
            load_splits(name)


@pytest.mark.parametrize("name", sorted(set(dataset_names()) - {"digits"}))
def test_missing_and_empty_folders(tmp_path, name):
    with pytest.raises(DataError, match="does not exist"):
        load_splits(name, data_dir=tmp_path / "nowhere")
    with pytest.raises(DataError, match=f"no {name} in"):
        load_splits(name, data_dir=tmp_path)


def test_places(tmp_path, monkeypatch):
    folder = tmp_path / "numpy"
    folder.mkdir()
    np.savez(folder / "d.npz", images=np.zeros((9, 4, 4)), labels=np.arange(9) % 3)
    monkeypatch.setenv("DSE_DATA", str(tmp_path))
    prints = {
        load_splits("numpy").fingerprint,
        load_splits("numpy", data_dir=str(tmp_path)).fingerprint,
        load_splits("numpy", data_dir=folder).fingerprint,
        load_splits("numpy", data_dir=folder / "d.npz").fingerprint,
    }
    assert len(prints) == 1


def test_found_files_are_told():
    assert load_splits("digits").found == read_dataset("digits").found != ()
