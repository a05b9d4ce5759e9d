"""C headers of AdaPT and TransAxx (Danopoulos et al., IEEE TCAD 2022, github.com/dimdano/adapt), read as data.

`const int16_t lut[256][256] = {{...}, ...};` where both operands are indexed by their byte pattern: a signed element
type means signed operands (0..127, then -128..-1), an unsigned one 0..255. The first index becomes the row. AdaPT's
convolution indexes `lut[weight][activation]` and its linear layer the opposite, so for a multiplier that is not
commutative either orientation may be the one that was simulated there.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np

from dse.errors import MultiplierError
from dse.multipliers.checks import is_negative_quadrant_suspicious
from dse.multipliers.multiplier import N_CODES, Multiplier
from dse.multipliers.readers.formats import natural_order, read_bytes

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_TABLE = re.compile(r"([\w \t]*?)\b\w+\s*\[\s*256\s*\]\s*\[\s*256\s*\]\s*=\s*\{(.*?)\}\s*;", re.DOTALL)
_DATA = re.compile(r"[\s\d{},+-]*")

_logger = logging.getLogger("dse")


def read(path: Path) -> Multiplier:
    """Read the table of one header, named by the file; a suspicious negative quadrant is logged as a warning."""
    text = _COMMENT.sub(" ", read_bytes(path).decode("utf-8", errors="replace"))
    found = _TABLE.search(text)
    if found is None:
        raise MultiplierError(
            f"{str(path)!r} holds no 256 x 256 array: expected `const int16_t lut[256][256] = {{...}};`; "
            "give the header of a multiplier's table"
        )
    declaration, body = found.groups()
    if not _DATA.fullmatch(body):
        raise MultiplierError(f"{str(path)!r}: the table holds more than integers: expected literal numbers; expand it")
    rows = [re.findall(r"[+-]?\d+", row) for row in body.replace("{", "").split("}")]
    rows = [row for row in rows if row]
    if len(rows) == 1 and len(rows[0]) == N_CODES * N_CODES:  # inner braces are optional in C
        rows = [rows[0][i : i + N_CODES] for i in range(0, N_CODES * N_CODES, N_CODES)]
    wrong = next((i for i, row in enumerate(rows) if len(row) != N_CODES), None)
    if len(rows) != N_CODES or wrong is not None:
        detail = f"{len(rows)} rows" if wrong is None else f"{len(rows[wrong])} numbers in row {wrong}"
        raise MultiplierError(f"{str(path)!r}: table has {detail}: expected 256 rows of 256; copy the file again")
    is_signed = not re.search(r"\bunsigned\b|\buint\d+_t\b", declaration)
    try:
        table = np.array(rows, dtype=np.int64)
    except OverflowError:
        raise MultiplierError(
            f"{str(path)!r}: the table has numbers beyond 64 bits: expected products of 8-bit operands; copy it again"
        ) from None
    multiplier = Multiplier(path.stem, natural_order(table) if is_signed else table, is_signed, origin=str(path))
    if is_negative_quadrant_suspicious(multiplier):
        _logger.warning(
            "%s: products of two negative operands repeat those of two positive ones, though the table is not "
            "odd-symmetric; the header may have been generated wrongly",
            path,
        )
    return multiplier
