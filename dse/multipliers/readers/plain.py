"""Plain arrays: `.npy`, `.npz`, comma- or whitespace-separated text; 256 x 256 in natural operand order.

These formats do not record the signedness. Rule (`formats.resolve_sign`): a name that starts with `mul8s` or `mul8u`
decides; else the `is_signed` argument; else signed if the table has a negative entry, and unsigned if it has none.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dse.errors import MultiplierError
from dse.multipliers.multiplier import N_CODES, Multiplier
from dse.multipliers.readers.formats import read_bytes, require_file, resolve_sign


def read_numpy(path: Path, *, is_signed: bool | None = None) -> list[Multiplier]:
    """Read a `.npy` file (one multiplier, named by the file) or a `.npz` archive (one per array, named by the array).

    Pickled objects are refused. A single array called `table` or `arr_0` takes the file's name.

    Args:
        path: file; arrays are [256, 256], integers or integer-valued floats.
        is_signed: see the module.
    """
    require_file(path)
    try:
        with path.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            arrays = {path.stem: loaded} if isinstance(loaded, np.ndarray) else dict(loaded.items())
    except Exception as error:  # a damaged header or archive raises almost anything
        raise MultiplierError(
            f"{str(path)!r} is not a readable NumPy file ({error}): expected integers saved by numpy.save or "
            "numpy.savez without pickled objects; save it again"
        ) from error
    if not arrays:
        raise MultiplierError(f"{str(path)!r} holds no array: expected at least one 256 x 256 table; save it again")
    if len(arrays) == 1 and next(iter(arrays)) in ("table", "arr_0"):
        arrays = {path.stem: next(iter(arrays.values()))}
    return [_multiplier(name, array, path, is_signed) for name, array in arrays.items()]


def read_text(path: Path, *, is_signed: bool | None = None) -> Multiplier:
    """Read 256 lines of 256 integers, separated by commas, semicolons or blanks; `#` starts a comment.

    Args:
        path: text file, UTF-8.
        is_signed: see the module.
    """
    try:
        lines = read_bytes(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise MultiplierError(f"{str(path)!r} is not text: expected 256 lines of 256 integers; rename it") from error
    rows = [_numbers(line, f"{str(path)!r}, line {i}") for i, line in enumerate(lines, start=1)]
    rows = [row for row in rows if row]
    lengths = sorted({len(row) for row in rows})
    if len(rows) != N_CODES or lengths != [N_CODES]:
        found = " to ".join(str(n) for n in (lengths[:1] + lengths[1:][-1:])) or "0"
        raise MultiplierError(
            f"{str(path)!r} has {len(rows)} lines of {found} numbers: expected 256 lines of 256, one line per "
            "activation code; export the whole table"
        )
    return _multiplier(path.stem, np.array(rows), path, is_signed)


def _numbers(line: str, where: str) -> list[float]:
    fields = line.split("#", 1)[0].replace(",", " ").replace(";", " ").split()
    try:
        return [float(field) for field in fields]
    except ValueError as error:
        raise MultiplierError(f"{where}: {error}: expected integers only; start headings with #") from error


def _multiplier(name: str, array: np.ndarray, path: Path, is_signed: bool | None) -> Multiplier:
    table_is_signed = resolve_sign(name, is_signed=is_signed, table=array)
    return Multiplier(name, array, table_is_signed, origin=str(path))
