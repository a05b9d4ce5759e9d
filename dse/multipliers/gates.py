"""Unit-gate counts of the circuits behind the built-in multipliers. A model, not silicon.

Unit-gate model (Tyagi, "A reduced-area scheme for carry-select adders", IEEE Trans. Computers 42(10), 1993; Zimmermann,
"Binary adder architectures for cell-based VLSI", ETH 1997): a two-input AND, OR, NAND or NOR counts 1, XOR and XNOR 2,
an inverter 0; hence a multiplexer 3, a half adder 3, a full adder 7. Wires, drive strengths and switching activity are
ignored, and the count stands in for energy: use measured power where it matters.
"""

from __future__ import annotations

from collections.abc import Sequence

from dse.multipliers.multiplier import Cost

XOR = 2
MULTIPLEXER = 3
HALF_ADDER = 3
FULL_ADDER = 7

TECHNOLOGY = "unit-gate"
"""`Cost.technology` of every cost from this model."""


def gate_cost(n_gates: int, source: str) -> Cost:
    """A gate count as a `Cost`; `source` names the circuit."""
    return Cost(value=float(n_gates), unit="gates", technology=TECHNOLOGY, source=source)


def adders(heights: Sequence[int]) -> int:
    """Gates that add a dot diagram, column by column with full adders while three bits are left, then a half adder.

    Args:
        heights: bits per column, least significant first; carries out of the last column are not built, so its adders
            are XOR gates only.

    An `n x n` array multiplier needs `n^2 - 2n` full and `n` half adders:

    >>> adders([1, 2, 3, 4, 3, 2, 1, 0]) == 8 * FULL_ADDER + 4 * HALF_ADDER
    True
    """
    total, carries = 0, 0
    for column, height in enumerate(heights):
        n_full, n_half = divmod(max(height + carries - 1, 0), 2)
        is_last = column == len(heights) - 1
        total += n_full * (2 * XOR if is_last else FULL_ADDER) + n_half * (XOR if is_last else HALF_ADDER)
        carries = n_full + n_half
    return total


def ripple_adder(width: int) -> int:
    """Gates of a two-operand adder of `width` bits with carry out: one half adder, then full adders."""
    return adders([2] * width + [0])


def array_multiplier(n: int, m: int) -> int:
    """Gates of an exact unsigned `n x m` array multiplier: `n m` ANDs and the adders of its dot diagram."""
    heights = [sum(1 for i in range(n) if 0 <= column - i < m) for column in range(n + m)]
    return n * m + adders(heights)


def leading_one(width: int) -> int:
    """Gates of a one-hot leading-one detector: a chain of `width - 1` ORs, and as many ANDs."""
    return 2 * (width - 1)


def encoder(n_lines: int) -> int:
    """Gates that encode a one-hot number of `n_lines` lines: one OR tree per output bit."""
    bits = range((n_lines - 1).bit_length())
    return sum(max(sum(line >> bit & 1 for line in range(n_lines)) - 1, 0) for bit in bits)


def shifter(width: int, max_shift: int, *, low: int = 0, high: int | None = None) -> int:
    """Gates of a logarithmic left shifter by 0..`max_shift`, of which output bits `low <= i < high` are used.

    A stage's output bit is a multiplexer where both sources can be non-zero, an AND where one can, and is not built
    where no later stage needs it.
    """
    stages, live = [], set(range(width))
    for step in (1 << bit for bit in range(max_shift.bit_length())):
        stages.append((live, step))
        live = {i + shift for i in live for shift in (0, step) if i + shift < width + max_shift}
    needed = {i for i in live if i >= low and (high is None or i < high)}
    total = 0
    for live, step in reversed(stages):
        total += sum(MULTIPLEXER if i in live and i - step in live else 1 for i in needed)
        needed = {source for i in needed for source in (i, i - step) if source in live}
    return total


def negation(width: int, *, is_exact: bool) -> int:
    """Gates of a conditional negation: XORs, and for exact two's complement an incrementer of half adders."""
    return XOR * width + (HALF_ADDER * (width - 1) if is_exact else 0)
