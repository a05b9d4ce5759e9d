"""Raw 16-bit tables: the `.bin` files of tf-approximate (Vaverka et al., DATE 2020, github.com/ehw-fit/tf-approximate).

131,072 bytes, little-endian uint16, entry `(a << 8) | b` with `a` the activation. tf-approximate holds unsigned tables
only; signed ones of the same layout (int16, both operands indexed by their two's-complement byte) are read too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dse.errors import MultiplierError
from dse.multipliers.multiplier import N_CODES, Cost, Multiplier
from dse.multipliers.readers.formats import BIN_BYTES, natural_order, read_bytes, resolve_sign


def read(path: Path, *, is_signed: bool | None = None) -> Multiplier:
    """Read one `.bin` file, named by its stem.

    Args:
        path: file of 131,072 bytes.
        is_signed: used where the name does not start with `mul8s` or `mul8u`; None: unsigned.
    """
    table_is_signed = resolve_sign(path.stem, is_signed=is_signed)
    return read_as(path, name=path.stem, is_signed=table_is_signed)


def read_as(
    path: Path,
    *,
    name: str,
    is_signed: bool,
    cost: Cost | None = None,
    published: Mapping[str, float] | None = None,
) -> Multiplier:
    """Read one `.bin` file whose name, signedness and cost are stated elsewhere."""
    content = read_bytes(path)
    if len(content) != BIN_BYTES:
        state = "truncated" if len(content) < BIN_BYTES else "too long"
        raise MultiplierError(
            f"{str(path)!r} has {len(content)} bytes ({state}): expected {BIN_BYTES}, 256 x 256 little-endian 16-bit "
            "products; copy the file again"
        )
    table = np.frombuffer(content, dtype="<i2" if is_signed else "<u2").reshape(N_CODES, N_CODES)
    table = natural_order(table) if is_signed else table
    return Multiplier(name, table, is_signed, cost=cost, published=published or {}, origin=str(path))
