import sys
import textwrap

import pytest

from dse.datasets import load_splits, read_dataset
from dse.errors import DataError

_SOURCE = """
    import numpy as np
    X, Y = np.zeros((9, 1, 4, 4), dtype=np.uint8), np.arange(9) % 3
    def one(): return X, Y
    def two(): return (X, Y), [X[:6], Y[:6]]
    def named(): return {"train": (X, Y), "test": (X[:6], Y[:6])}
    def only_test(): return {"test": (X, Y)}
    def from_folder(folder): return X[: len(list(folder.iterdir()))], Y[: len(list(folder.iterdir()))]
    def nothing(): return None
    def strange(): return {"trian": (X, Y)}
    def lonely(): return {"test": X}
    def short(): return X, Y[:5]
    def failing(): return 1 / 0
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path.copy())
    file = tmp_path / "my_entry_point_data.py"
    file.write_text(textwrap.dedent(_SOURCE))
    yield str(file)
    sys.modules.pop(file.stem, None)


@pytest.mark.parametrize(("function", "n_train"), [("one", None), ("two", 9), ("named", 9), ("only_test", None)])
def test_forms(module, function, n_train):
    dataset = read_dataset(f"{module}:{function}")
    assert (dataset.train.images.n_images if dataset.train else None) == n_train
    assert dataset.n_classes == 3
    assert load_splits(f"{module}:{function}").search.n_images in (3,)


def test_data_folder_is_handed_on(module, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for k in range(4):
        (folder / str(k)).touch()
    assert read_dataset(f"{module}:from_folder", data_dir=folder).test.images.n_images == 4


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("nothing", "returned a NoneType; expected"),
        ("strange", "dictionary with .*trian"),
        ("lonely", "expected a pair"),
        ("short", "9 images but 5 labels"),
        ("failing", "failed with ZeroDivisionError"),
        ("from_folder", "failed with TypeError"),
        ("tow", "did you mean 'two'"),
    ],
)
def test_bad_results(module, function, message):
    with pytest.raises(DataError, match=message):
        read_dataset(f"{module}:{function}")
