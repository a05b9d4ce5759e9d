"""Precision scaling as multipliers: a table that keeps the most significant bits of both operands.

Venkataramani, Ranjan, Roy and Raghunathan, "AxNN: energy-efficient neuromorphic systems using approximate computing",
ISLPED 2014, computes resilient neurons with fewer bits of their inputs and weights. Of `b` bits:

    T[x, w] = r(x) r(w),  r(v) = the multiple of 2^(8-b) next to v, half-way up, at most the largest that 8 bits hold

[ours] The published energies of a precision level are not in what we hold. A level costs `(b/8)^2` of the exact
multiplier, as the number of partial products of an array multiplier says.
"""

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from dse.errors import ConfigError, MultiplierError
from dse.multipliers.multiplier import Cost, Multiplier, operand_codes

FULL_BITS = 8
"""Of an operand."""

FEWEST_BITS = 2
"""One bit would leave a single magnitude."""

LEVELS = (7, 6, 5, 4, 3, 2)
"""Precision levels below the full one, in bits."""


def rounded_codes(bits: int, *, is_signed: bool) -> NDArray[np.int64]:
    """All 256 operand codes rounded to their `bits` most significant bits.

    Args:
        bits: 2..8.
        is_signed: two's-complement operands.

    Returns:
        int64 `[256]`, in table order.

    >>> rounded_codes(2, is_signed=False)[[31, 32, 96, 255]].tolist()
    [0, 64, 128, 192]
    """
    _require_bits(bits)
    step = 1 << FULL_BITS - bits
    codes = operand_codes(is_signed)
    nearest = (codes + step // 2) // step * step
    return np.minimum(nearest, codes[-1] // step * step)


def precision_scaled(exact: Multiplier, bits: int) -> Multiplier:
    """The exact multiplier on operands rounded to `bits` bits.

    Args:
        exact: an exact multiplier; its cost is that of the full precision.
        bits: 2..8; for 8 `exact` itself is returned.

    Raises:
        ConfigError: another number of bits.
        MultiplierError: a multiplier that is not exact.

    >>> from dse.multipliers.families import exact
    >>> precision_scaled(exact(), 4).table[9, 200].item()  # 16 * 208
    3328
    """
    _require_bits(bits)
    if not exact.is_exact:
        raise MultiplierError(
            f"{exact.name!r} is approximate: expected the exact multiplier, whose operands are rounded. "
            "Take the exact one of the library"
        )
    if bits == FULL_BITS:
        return exact
    codes = rounded_codes(bits, is_signed=exact.is_signed)
    return Multiplier(
        f"{exact.name}_p{bits}",
        np.multiply.outer(codes, codes),
        exact.is_signed,
        cost=None if exact.cost is None else _scaled_cost(exact.cost, bits),
        origin=f"exact product of operands rounded to {bits} bits",
    )


def precision_levels(exact: Multiplier, bits: Sequence[int] = LEVELS) -> tuple[Multiplier, ...]:
    """`precision_scaled` for several numbers of bits, in the order given."""
    return tuple(precision_scaled(exact, each) for each in bits)


def _scaled_cost(cost: Cost, bits: int) -> Cost:
    """Power or gates of `bits` bits; area and delay are not claimed."""
    share = (bits / FULL_BITS) ** 2
    source = f"{cost.source}, times ({bits}/{FULL_BITS})^2"
    return replace(cost, value=cost.value * share, source=source, area_um2=None, delay_ns=None)


def _require_bits(bits: int) -> None:
    is_number = isinstance(bits, Integral) and not isinstance(bits, bool)
    if not is_number or not FEWEST_BITS <= bits <= FULL_BITS:
        raise ConfigError(
            f"a precision level of {bits!r} bits: expected {FEWEST_BITS} to {FULL_BITS} bits of 8-bit operands; "
            "choose another level"
        )
