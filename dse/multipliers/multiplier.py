"""One 8x8-bit multiplier as a table, with its cost.

Canonical form: `int32 [256, 256]`, operands in natural order (unsigned 0..255; signed -128..127), row = first operand =
activation code, column = second operand = weight code. The key is the SHA-256 of the canonical table and never the
name: published libraries reuse names for other functions between releases (100 (release, name) pairs of EvoApproxLib
hold 66 functions).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from types import MappingProxyType

import numpy as np

from dse.errors import MultiplierError

N_CODES = 256
"""Codes of one 8-bit operand: a table has `N_CODES` rows and columns."""

_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class Cost:
    """What one multiplier costs, and where the number comes from. Costs compare only within one technology and unit.

    Attributes:
        value: power at a common clock (`unit` "mW"), or a gate count (`unit` "gates"); finite, >= 0.
        unit: "mW" or "gates".
        technology: e.g. "PDK45 45 nm", or "unit-gate" for the gate-count model of the built-in library.
        source: file, release or model that states the value.
        clock_mhz: clock of a power figure, None where the source does not say.
        area_um2: cell area, None if unknown.
        delay_ns: critical path, None if unknown.

    >>> Cost(0.391, "mW", technology="PDK45 45 nm", source="synthesis report").scale
    ('PDK45 45 nm', 'mW', None)
    """

    value: float
    unit: str
    technology: str
    source: str
    clock_mhz: float | None = None
    area_um2: float | None = None
    delay_ns: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value >= 0):
            raise MultiplierError(
                f"cost value {self.value!r}: expected a finite number >= 0; correct it in {self.source or 'its source'}"
            )
        if self.unit not in ("mW", "gates"):
            raise MultiplierError(f"cost unit {self.unit!r}: expected 'mW' or 'gates'; convert the value")

    @property
    def scale(self) -> tuple[str, str, float | None]:
        """(technology, unit, clock): costs may be compared and added only where these agree."""
        return self.technology, self.unit, self.clock_mhz


@lru_cache(maxsize=2)
def operand_codes(is_signed: bool) -> np.ndarray:
    """The 256 operand codes in table order.

    Returns:
        int64 [256], read-only: -128..127 if `is_signed`, else 0..255.

    >>> operand_codes(True)[:2].tolist(), operand_codes(False)[-1].item()
    ([-128, -127], 255)
    """
    codes = np.arange(-128, 128) if is_signed else np.arange(N_CODES)
    return _frozen(codes.astype(np.int64))


@lru_cache(maxsize=2)
def exact_table(is_signed: bool) -> np.ndarray:
    """Table of exact products.

    Returns:
        int32 [256, 256], read-only: `table[i, j] = codes[i] * codes[j]` with `codes = operand_codes(is_signed)`.
    """
    codes = operand_codes(is_signed)
    return _frozen(np.multiply.outer(codes, codes).astype(np.int32))


@dataclass(frozen=True, eq=False)
class Multiplier:
    """A multiplier: table, signedness, and what is known about its hardware. Equality and hash go by `key`.

    Attributes:
        name: label for people; may be shared by different tables.
        table: int32 [256, 256], natural operand order, row = activation, column = weight; any integer-valued array is
            accepted and copied to a read-only C-contiguous int32 array.
        is_signed: operands are -128..127 (True) or 0..255 (False).
        cost: None where no source states one.
        aliases: further names of the same table.
        published: error metrics as printed by the source (`mae_pct`, ...), possibly rounded.
        origin: file or definition the table comes from.

    >>> half = Multiplier.from_function("no_lsb", lambda a, b: (a & ~1) * b, is_signed=False)
    >>> half.table[3, 5].item(), half.error[3, 5].item(), half.is_exact
    (10, -5, False)
    """

    name: str
    table: np.ndarray
    is_signed: bool
    cost: Cost | None = None
    aliases: tuple[str, ...] = ()
    published: Mapping[str, float] = field(default_factory=dict)
    origin: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or ";" in self.name:
            raise MultiplierError(f"multiplier name {self.name!r}: expected a non-empty text without ';'; rename it")
        object.__setattr__(self, "table", _canonical(self.table, self.name))
        object.__setattr__(self, "is_signed", bool(self.is_signed))
        object.__setattr__(self, "aliases", tuple(self.aliases))
        object.__setattr__(self, "published", MappingProxyType(dict(self.published)))

    @classmethod
    def from_function(
        cls,
        name: str,
        function: Callable[[np.ndarray, np.ndarray], np.ndarray],
        *,
        is_signed: bool,
        cost: Cost | None = None,
    ) -> Multiplier:
        """Tabulate a vectorized function of the two operands.

        Args:
            name: label of the multiplier.
            function: called once with the activation and the weight codes, both int64 [256, 256]; returns the products,
                integers of that shape.
            is_signed: operands are -128..127 (True) or 0..255 (False).
            cost: None where unknown.

        >>> half = Multiplier.from_function("no_lsb", lambda a, b: (a & ~1) * b, is_signed=False)
        >>> half.table[3, 5].item()
        10
        """
        codes = operand_codes(is_signed)
        table = function(*np.meshgrid(codes, codes, indexing="ij"))
        return cls(name, table, is_signed=is_signed, cost=cost, origin="function")

    @cached_property
    def key(self) -> str:
        """SHA-256 (hex) of the signedness letter and the canonical table, little-endian."""
        digest = hashlib.sha256(b"s" if self.is_signed else b"u")
        digest.update(self.table.astype("<i4", copy=False).tobytes())
        return digest.hexdigest()

    @cached_property
    def error(self) -> np.ndarray:
        """Table minus exact products, int32 [256, 256], read-only."""
        difference = self.table.astype(np.int64) - exact_table(self.is_signed)
        if difference.min() < _INT32.min or difference.max() > _INT32.max:
            raise MultiplierError(f"table of {self.name!r}: error beyond int32; expected products near the exact ones")
        return _frozen(difference.astype(np.int32))

    @property
    def is_exact(self) -> bool:
        """Every product is exact."""
        return not self.error.any()

    @property
    def is_constant(self) -> bool:
        """Every product is the same number, so the circuit computes nothing."""
        return bool((self.table == self.table[0, 0]).all())

    def __eq__(self, other: object) -> bool:
        return self.key == other.key if isinstance(other, Multiplier) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        cost = "no cost" if self.cost is None else f"{self.cost.value:g} {self.cost.unit}, {self.cost.technology}"
        sign = "signed" if self.is_signed else "unsigned"
        return f"Multiplier({self.name!r}, {sign}, {cost}, key {self.key[:8]})"

    def _repr_html_(self) -> str:
        from dse.multipliers.notebook import multiplier_html

        return multiplier_html(self)

    def __reduce__(self) -> tuple:
        # rebuilt by the constructor: a plain unpickled array would be writable, and a mapping proxy does not pickle
        fields = (self.name, self.table, self.is_signed, self.cost, self.aliases, dict(self.published), self.origin)
        return type(self), fields


def _canonical(table: np.ndarray, name: str) -> np.ndarray:
    """Validate and copy a table to read-only C-contiguous int32 [256, 256]."""
    try:
        values = np.asarray(table)
    except ValueError as error:
        raise MultiplierError(f"table of {name!r} is ragged: expected 256 rows of 256 numbers; complete it") from error
    if values.shape != (N_CODES, N_CODES):
        raise MultiplierError(
            f"table of {name!r} has shape {values.shape}: expected (256, 256), one row per activation code and one "
            "column per weight code; export all 65,536 products"
        )
    if values.dtype.kind not in "iuf":
        raise MultiplierError(f"table of {name!r} has dtype {values.dtype}: expected integers; convert it to int32")
    if values.dtype.kind == "f":
        _require_integers(values, name)
    if values.min() < _INT32.min or values.max() > _INT32.max:
        raise MultiplierError(f"table of {name!r} has entries beyond int32: expected 8x8-bit products; check its scale")
    return _frozen(np.array(values, dtype=np.int32, order="C"))


def _require_integers(values: np.ndarray, name: str) -> None:
    """Reject NaN, infinities and fractions, naming the first bad entry."""
    bad = np.argwhere(~np.isfinite(values) | (values != np.floor(values)))
    if len(bad):
        row, column = bad[0]
        raise MultiplierError(
            f"table of {name!r}: entry [{row}, {column}] is {values[row, column]!s} ({len(bad)} such entries): "
            "expected integer products; round the table or remove its scale factor"
        )


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
