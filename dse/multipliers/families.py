"""Approximate 8x8 multipliers made by formula, and the embedded library `builtin` of them.

Each family states the publication that defines it, its formula, and how its gates are counted; counts are those of
`gates` (technology "unit-gate": a model, not silicon). Signed members of `truncated` and `broken_array` omit
partial products of a Baugh-Wooley array; the other families work on magnitudes (`_sign_magnitude`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from dse.errors import MultiplierError
from dse.multipliers import gates
from dse.multipliers.library import Library
from dse.multipliers.multiplier import Multiplier, exact_table, operand_codes

_BITS = 8
_TOP = _BITS - 1

UnsignedFunction = Callable[[np.ndarray, np.ndarray], np.ndarray]


def exact(*, is_signed: bool = False) -> Multiplier:
    """The exact array multiplier: unsigned, or Baugh-Wooley (IEEE Trans. Computers C-22(12), 1973).

    Gates: 64 AND or NAND, 48 full and 8 half adders; signed two more half adders for the constants.
    """
    n_gates = _array_gates(np.ones((_BITS, _BITS), dtype=bool), is_signed=is_signed)
    cost = gates.gate_cost(n_gates, "array multiplier")
    name = _prefix(is_signed) + "exact"
    return Multiplier(name, exact_table(is_signed), is_signed, cost=cost, aliases=("exact",), origin="exact product")


def truncated(k: int, *, is_signed: bool = False) -> Multiplier:
    """Array multiplier without its `k` low columns of partial products, uncompensated.

    Schulte and Swartzlander, "Truncated multiplication with correction constant", VLSI Signal Processing VI, 1993, here
    with correction constant zero: `T[a, b] = sum_{i + j >= k} a_i b_j 2^(i+j)`, products with exactly one sign bit
    negative. Never above the product when unsigned.

    Args:
        k: omitted columns, 0..15.
        is_signed: two's-complement operands.
    """
    _require("k", k, 0, 15)
    kept = np.add.outer(np.arange(_BITS), np.arange(_BITS)) >= k
    return _array(f"trunc{k}", kept, is_signed=is_signed, source=f"truncated array, {k} columns omitted")


def broken_array(vertical: int, horizontal: int, *, is_signed: bool = False) -> Multiplier:
    """Broken-array multiplier (BAM): carry-save cells right of a vertical and above a horizontal line are omitted.

    Mahdiani, Ahmadi, Fakhraie and Lucas, "Bio-inspired imprecise computational blocks for efficient VLSI implementation
    of soft-computing applications", IEEE Trans. Circuits and Systems I 57(4), 2010:
    `T[a, b] = sum_{i + j >= VBL, j >= HBL} a_i b_j 2^(i+j)`. Rows belong to the second operand: not commutative.

    Args:
        vertical: VBL, omitted columns, 0..15.
        horizontal: HBL, omitted rows, 0..7.
        is_signed: two's-complement operands; signs of partial products as in `truncated`.
    """
    _require("vertical", vertical, 0, 15)
    _require("horizontal", horizontal, 0, 7)
    row = np.arange(_BITS)
    kept = (np.add.outer(row, row) >= vertical) & (row >= horizontal)
    name, source = f"bam_v{vertical}_h{horizontal}", f"broken array, VBL {vertical}, HBL {horizontal}"
    return _array(name, kept, is_signed=is_signed, source=source)


def kulkarni(level: int, *, is_signed: bool = False, exact_negation: bool = True) -> Multiplier:
    """Recursive multiplier of 2x2 blocks, the low ones approximate: 3 * 3 = 7, in three output bits instead of four.

    Kulkarni, Gupta and Ercegovac, "Trading accuracy for power with an underdesigned multiplier architecture", VLSI
    Design 2011: with base-4 digits `a_i, b_j` (0..3),
    `T[a, b] = sum_ij (a_i b_j - 2 [a_i = b_j = 3 and i + j < level]) 4^(i+j)`. `level = 7` makes all sixteen blocks
    approximate, as published; the largest relative error is then 2/9.

    Gates: 5 for an approximate block (4 AND, 1 OR), 10 for an exact one (4 AND, 2 half adders), only the ANDs where a
    digit has one bit (7-bit magnitudes), and the adders.

    Args:
        level: blocks with `i + j < level` are approximate, 1..7.
        is_signed: sign-magnitude around the unsigned multiplier.
        exact_negation: see `_sign_magnitude`.
    """
    _require("level", level, 1, 7)
    digits = range(_BITS // 2)

    def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        product = a * b
        for i, j in ((i, j) for i in digits for j in digits if i + j < level):
            both_three = ((a >> 2 * i & 3) == 3) & ((b >> 2 * j & 3) == 3)
            product = product - (both_three.astype(np.int64) << 2 * (i + j) + 1)
        return product

    width = _core_width(is_signed, exact_negation)
    heights, n_gates = np.zeros(2 * _BITS, dtype=int), 0
    for i, j in ((i, j) for i in digits for j in digits):
        n_ands = min(2, width - 2 * i) * min(2, width - 2 * j)
        n_bits = n_ands if n_ands < 4 else 3 if i + j < level else 4
        heights[2 * (i + j) : 2 * (i + j) + n_bits] += 1
        n_gates += n_ands if n_ands < 4 else 5 if i + j < level else 10
    n_gates += gates.adders(heights[: 2 * width].tolist())
    return _magnitudes(f"kulkarni{level}", multiply, n_gates, is_signed=is_signed, exact_negation=exact_negation)


def drum(k: int, *, is_signed: bool = False, exact_negation: bool = True) -> Multiplier:
    """DRUM-k: both operands reduced to the `k` bits from their leading one, the last of them set to 1.

    Hashemi, Bahar and Reda, "DRUM: a dynamic range unbiased multiplier for approximate applications", ICCAD 2015:
    `T[a, b] = r(a) r(b)`, `r(a) = a` for `a < 2^k`, else `((a >> s) | 1) << s` with `s = floor(log2 a) - k + 1`.

    Gates: two leading-one detectors over the bits above the low `k`, two AND-OR selections of the window, two encoders
    of its place, a `k x k` array multiplier, the adder of the two places, the output shifter.

    Args:
        k: bits kept, 3..7; below 7 without `exact_negation`.
        is_signed: sign-magnitude around the unsigned multiplier.
        exact_negation: see `_sign_magnitude`.
    """
    _require("k", k, 3, _core_width(is_signed, exact_negation) - 1)

    def reduce_operand(a: np.ndarray) -> np.ndarray:
        shift = np.maximum(_floor_log2(a) - k + 1, 0)
        return np.where(shift > 0, (a >> shift | 1) << shift, a)

    places = _core_width(is_signed, exact_negation) - k
    window = (k - 2) * (2 * places + 1) + places + 1
    per_operand = 2 * places + window + gates.encoder(places + 1)
    n_gates = 2 * per_operand + gates.array_multiplier(k, k)
    n_gates += gates.ripple_adder(places.bit_length()) + gates.shifter(2 * k, 2 * places)
    return _magnitudes(
        f"drum{k}",
        lambda a, b: reduce_operand(a) * reduce_operand(b),
        n_gates,
        is_signed=is_signed,
        exact_negation=exact_negation,
    )


def mitchell(fraction: int, *, is_signed: bool = False, exact_negation: bool = True) -> Multiplier:
    """Mitchell's logarithmic multiplier, the logarithm's fraction cut to `fraction` bits.

    Mitchell, "Computer multiplication and division using binary logarithms", IRE Trans. Electronic Computers EC-11(4),
    1962: for `a = 2^k (1 + x)`, `log2 a ~ k + x`; the two are added and the result `K + F` read back as
    `floor(2^K (1 + F))`; zero if an operand is zero. Never above the product; with all fraction bits (exact `x`) at
    most 1/9 below.

    Gates: per operand a leading-one detector, an encoder and the normalizing shifter; the adder of the logarithms; the
    output shifter; an AND per output for zero operands.

    Args:
        fraction: bits kept of each fraction, 1..7, below 7 without `exact_negation`; the others are dropped before the
            addition.
        is_signed: sign-magnitude around the unsigned multiplier.
        exact_negation: see `_sign_magnitude`.
    """
    width = _core_width(is_signed, exact_negation)
    _require("fraction", fraction, 1, width - 1)

    def logarithm(a: np.ndarray) -> np.ndarray:
        characteristic = _floor_log2(a)
        mantissa = (a << _TOP - characteristic) - (1 << _TOP)
        return (characteristic << fraction) + (mantissa >> _TOP - fraction)

    def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        total = logarithm(a) + logarithm(b)
        one_and_fraction = (1 << fraction) + (total & (1 << fraction) - 1)
        return np.where((a == 0) | (b == 0), 0, one_and_fraction << (total >> fraction) >> fraction)

    per_operand = gates.leading_one(width) + gates.encoder(width)
    per_operand += gates.shifter(width - 1, width - 1, low=width - 1 - fraction, high=width - 1)
    n_gates = 2 * per_operand + gates.ripple_adder(fraction + 3) + 2 * width + 1
    n_gates += gates.shifter(fraction + 1, 2 * width - 1, low=fraction, high=fraction + 2 * width)
    return _magnitudes(f"mitchell{fraction}", multiply, n_gates, is_signed=is_signed, exact_negation=exact_negation)


def roba(columns: int = 0, *, is_signed: bool = False, exact_negation: bool = True) -> Multiplier:
    """RoBA: operands rounded to powers of two, `T[a, b] = r(a) b + r(b) a - r(a) r(b) = a b - (r(a) - a)(r(b) - b)`.

    Zendegani, Kamal, Bahadori, Afzali-Kusha and Pedram, "RoBA multiplier: a rounding-based approximate multiplier for
    high-speed yet energy-efficient digital signal processing", IEEE Trans. VLSI 25(2), 2017. `r` is the nearest power
    of two; half-way values round up, except 3, which becomes 2; `r(0) = 0`. The largest relative error is 1/9. Signed
    with `exact_negation` it is the paper's S-RoBA, without it AS-RoBA. `columns > 0` [ours] leaves out that many low
    columns of the two addends `r(a) b` and `r(b) (a - r(a))`.

    Gates: per operand a leading-one detector, the bit below it by AND-OR, an encoder and an incrementer for the rounded
    exponent, and a mask for zero; the difference `a - r(a)` by masking and sign filling; two shifters; one adder.

    Args:
        columns: omitted low columns, 0..8.
        is_signed: sign-magnitude around the unsigned multiplier.
        exact_negation: see `_sign_magnitude`.
    """
    _require("columns", columns, 0, 8)

    def nearest_power(a: np.ndarray) -> np.ndarray:
        exponent = _floor_log2(a)
        has_next = (a >> np.maximum(exponent - 1, 0) & 1).astype(bool) & (exponent > 0) & (a != 3)
        return np.where(a == 0, 0, 1 << exponent + has_next)

    def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        first, second = nearest_power(a) * b, nearest_power(b) * (a - nearest_power(a))
        return (first >> columns << columns) + (second >> columns << columns)

    width = _core_width(is_signed, exact_negation)
    bit_below = 2 * width - 5
    rounding = gates.leading_one(width) + bit_below + gates.encoder(width) + 3 * gates.HALF_ADDER + width
    difference = 3 * (width - 1) + width
    shifters = 2 * gates.shifter(width, width, low=columns)
    n_gates = 2 * rounding + difference + shifters + gates.ripple_adder(2 * width - columns)
    name = "roba" + (f"_c{columns}" if columns else "")
    return _magnitudes(name, multiply, n_gates, is_signed=is_signed, exact_negation=exact_negation)


@lru_cache(maxsize=1)
def builtin_library() -> Library:
    """The embedded library: unsigned and signed, without members that are no cheaper than the exact multiplier.

    Deterministic, and the same object on every call. Signed families on magnitudes come with both kinds of negation.
    """
    kept = []
    for is_signed in (False, True):
        reference = exact(is_signed=is_signed)
        kept += [reference, *(m for m in _candidates(is_signed) if m.cost.value < reference.cost.value)]
    return Library(kept, name="builtin")


def _candidates(is_signed: bool) -> list[Multiplier]:
    lines = [(v, h) for v in (2, 4, 6, 8) for h in (1, 2, 3) if h > v - _TOP]  # else no row is cut beyond the columns
    found = [truncated(k, is_signed=is_signed) for k in range(1, 9)]
    found += [broken_array(v, h, is_signed=is_signed) for v, h in lines]
    for exact_negation in (True, False) if is_signed else (True,):
        options = {"is_signed": is_signed, "exact_negation": exact_negation}
        found += [kulkarni(level, **options) for level in range(1, 8)]
        width = _core_width(is_signed, exact_negation)
        found += [drum(k, **options) for k in range(3, width)]
        found += [mitchell(fraction, **options) for fraction in range(1, width)]
        found += [roba(columns, **options) for columns in (0, 2, 4, 6)]
    return found


def _array(name: str, kept: np.ndarray, *, is_signed: bool, source: str) -> Multiplier:
    """Array multiplier whose partial products `a_i b_j` are formed where `kept[i, j]`, bool [8, 8]; others are 0."""
    codes = operand_codes(is_signed)
    bits = codes[:, None] >> np.arange(_BITS) & 1
    weight = np.where(kept, _partial_weights(is_signed), 0)
    table = bits @ weight @ bits.T
    cost = gates.gate_cost(_array_gates(kept, is_signed=is_signed), source)
    return Multiplier(_prefix(is_signed) + name, table, is_signed, cost=cost, origin=source)


def _partial_weights(is_signed: bool) -> np.ndarray:
    """Weight of `a_i b_j`, int64 [8, 8]: 2^(i+j), negative where exactly one of the two is a sign bit."""
    index = np.arange(_BITS)
    weight = 1 << np.add.outer(index, index)
    is_negative = (index == _TOP)[:, None] ^ (index == _TOP)
    return np.where(is_negative & is_signed, -weight, weight)


def _array_gates(kept: np.ndarray, *, is_signed: bool) -> int:
    """Gates of an array multiplier with partial products `kept`; signed: Baugh-Wooley, its constant as further dots."""
    index = np.arange(_BITS)
    column = np.add.outer(index, index)[kept]
    heights = np.bincount(column, minlength=2 * _BITS)
    weights = _partial_weights(is_signed)[kept]
    constant = int(weights[weights < 0].sum()) % (1 << 2 * _BITS)
    heights = heights + (constant >> np.arange(2 * _BITS) & 1)
    return int(kept.sum()) + gates.adders(heights.tolist())


def _magnitudes(
    name: str, multiply: UnsignedFunction, n_gates: int, *, is_signed: bool, exact_negation: bool
) -> Multiplier:
    """Multiplier from an unsigned function and its gates, as it is or on magnitudes (`_sign_magnitude`)."""
    if not is_signed:
        cost = gates.gate_cost(n_gates, f"{name} circuit")
        return Multiplier.from_function(_prefix(False) + name, multiply, is_signed=False, cost=cost)
    width = _core_width(is_signed, exact_negation)
    n_gates += 2 * gates.negation(width, is_exact=exact_negation)
    n_gates += gates.negation(2 * width - 1, is_exact=exact_negation)
    suffix = "" if exact_negation else "_oc"
    cost = gates.gate_cost(n_gates + gates.XOR, f"{name} circuit on magnitudes")
    function = _sign_magnitude(multiply, exact_negation=exact_negation)
    return Multiplier.from_function(_prefix(True) + name + suffix, function, is_signed=True, cost=cost)


def _sign_magnitude(multiply: UnsignedFunction, *, exact_negation: bool) -> UnsignedFunction:
    """Signed function: magnitudes (0..128) through `multiply`, then the product's sign.

    Without `exact_negation` a negative number is negated by inverting its bits (one's complement, `-x - 1`), as in
    AS-RoBA and in Kim, Del Barrio, Hermida and Bagherzadeh, "Low-power implementation of Mitchell's approximate
    logarithmic multiplication for convolutional neural networks", ASP-DAC 2018: -1 is then taken for 0, -128 for 127
    (so that 7-bit magnitudes are enough), and 0 * -2 gives -1.
    """
    offset = 0 if exact_negation else 1

    def multiply_signed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        magnitudes = (np.where(x < 0, -x - offset, x) for x in (a, b))
        product = multiply(*magnitudes)
        return np.where((a < 0) ^ (b < 0), -product - offset, product)

    return multiply_signed


def _core_width(is_signed: bool, exact_negation: bool) -> int:
    """Bits of an operand of the unsigned core: one's complement leaves no magnitude of 128."""
    return _BITS - 1 if is_signed and not exact_negation else _BITS


def _floor_log2(a: np.ndarray) -> np.ndarray:
    """`floor(log2 a)` of integers 0..255, 0 for 0."""
    return sum((a >> bit > 0).astype(np.int64) for bit in range(1, _BITS))


def _prefix(is_signed: bool) -> str:
    return "s8_" if is_signed else "u8_"


def _require(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise MultiplierError(f"{name} is {value}: expected {low} to {high} for 8-bit operands; choose another value")
