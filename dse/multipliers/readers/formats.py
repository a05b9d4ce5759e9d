"""Choice of the reader for one table file, by suffix and size, and the rule for its signedness."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from dse.errors import MultiplierError
from dse.multipliers.multiplier import Multiplier

BIN_BYTES = 131072
"""Size of a table of 65,536 16-bit products."""

TABLE_SUFFIXES = (".bin", ".npy", ".npz", ".csv", ".tsv", ".txt", ".h", ".c")
"""Suffixes with a reader."""


def read(path: Path, *, is_signed: bool | None = None, allow_compile: bool = False) -> list[Multiplier]:
    """Read all multipliers of one file.

    Args:
        path: table file; a file of exactly 131,072 bytes and no known suffix is read as `.bin`.
        is_signed: signedness for files that do not state it, see `resolve_sign`.
        allow_compile: C sources may be compiled and run.

    Raises:
        MultiplierError: missing, unreadable or malformed file.
    """
    from dse.multipliers.readers import adapt_header, evoapprox_c, plain, tf_approximate

    require_file(path)
    suffix = path.suffix.lower()
    if suffix == ".c":
        return [evoapprox_c.read(path, is_signed=is_signed, allow_compile=allow_compile)]
    if suffix == ".h":
        return [adapt_header.read(path)]
    if suffix in (".npy", ".npz"):
        return plain.read_numpy(path, is_signed=is_signed)
    if suffix in (".csv", ".tsv", ".txt"):
        return [plain.read_text(path, is_signed=is_signed)]
    if suffix == ".bin" or path.stat().st_size == BIN_BYTES:
        return [tf_approximate.read(path, is_signed=is_signed)]
    raise MultiplierError(
        f"{str(path)!r}: suffix {path.suffix!r} has no reader: expected one of {', '.join(TABLE_SUFFIXES)}; "
        "rename the file or convert the table to .npy"
    )


def require_file(path: Path) -> None:
    """Raise a MultiplierError unless `path` is an existing file."""
    if not path.exists():
        raise MultiplierError(
            f"{str(path)!r} does not exist: expected 'builtin', a table file or a directory; check the path"
        )
    if not path.is_file():
        raise MultiplierError(f"{str(path)!r} is not a file: expected one table; check the path")


def read_bytes(path: Path) -> bytes:
    """Content of a file; an unreadable one is a MultiplierError."""
    require_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise MultiplierError(f"{str(path)!r} cannot be read ({error.strerror}): check its permissions") from error


def resolve_sign(name: str, *, is_signed: bool | None, table: np.ndarray | None = None) -> bool:
    """Signedness of a table whose format does not record it.

    In this order: a name that starts with `mul8s` or `mul8u` (the convention of EvoApproxLib); `is_signed`; signed if
    `table` has a negative entry; else unsigned.
    """
    match = re.match(r"mul8(?:x8)?([su])", name)
    if match:
        return match[1] == "s"
    if is_signed is not None:
        return is_signed
    return table is not None and table.size > 0 and table.dtype.kind in "if" and bool((table < 0).any())


def natural_order(table: np.ndarray) -> np.ndarray:
    """From index = two's-complement byte pattern (0..127, -128..-1) to natural order (-128..127), both operands."""
    return np.roll(table, 128, axis=(0, 1))
