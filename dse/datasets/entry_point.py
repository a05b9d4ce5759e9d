"""A user's own data through `MODULE:FUNCTION`.

The function is called without arguments, or with the data folder as its one argument where `data_dir` is given. It
returns one of:

    (images, labels)                                                    one part, cut in three disjoint splits
    ((train_images, train_labels), (test_images, test_labels))          two parts: the first only calibrates
    {"test": (images, labels), "train": (images, labels)}               the same by name; "train" may be left out
    a `dse.datasets.Dataset`

Images are arrays or tensors [n, C, H, W], [n, H, W] or [n, H, W, 1 or 3]: uint8 to be preprocessed (default `unit`), or
floats, which `unit` leaves as they are. Labels are integer class indices from 0, [n].
"""

from pathlib import Path

from dse.datasets.dataset import Dataset, Part, count_classes, part_from_arrays
from dse.entry_points import call_entry_point
from dse.errors import DataError

_EXPECTED = (
    "(images, labels), ((train_images, train_labels), (test_images, test_labels)), "
    "a dictionary with 'test' and maybe 'train', or a Dataset"
)


def read_entry_point(name: str, *, data_dir: Path | None) -> Dataset:
    """Dataset that the function `name` returns."""
    arguments = () if data_dir is None else (data_dir,)
    result = call_entry_point(name, *arguments, error=DataError)
    if isinstance(result, Dataset):
        return result
    pairs = _sort_out(result, name)
    test = _part(pairs["test"], f"{name}, test")
    train = _part(pairs["train"], f"{name}, train") if "train" in pairs else None
    return Dataset(name=name, train=train, test=test, n_classes=count_classes(train, test), found=(name,))


def _sort_out(result: object, name: str) -> dict[str, object]:
    if isinstance(result, dict):
        if "test" not in result or result.keys() - {"train", "test"}:
            raise DataError(f"{name} returned a dictionary with {sorted(map(str, result))}; expected {_EXPECTED}")
        return result
    if not _is_pair(result):
        raise DataError(f"{name} returned a {type(result).__name__}; expected {_EXPECTED}")
    if _is_pair(result[0]) and _is_pair(result[1]):
        return {"train": result[0], "test": result[1]}
    return {"test": result}


def _part(pair: object, where: str) -> Part:
    if not _is_pair(pair):
        raise DataError(f"{where}: a {type(pair).__name__}; expected a pair (images, labels)")
    return part_from_arrays(pair[0], pair[1], where=where)


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2
