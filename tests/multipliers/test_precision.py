"""Precision levels against the definition, number by number."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.errors import ConfigError, MultiplierError
from dse.multipliers.families import drum, exact
from dse.multipliers.multiplier import Multiplier, exact_table, operand_codes
from dse.multipliers.precision import LEVELS, precision_levels, precision_scaled, rounded_codes

bits = st.integers(2, 7)
position = st.integers(0, 255)


def by_definition(value: int, n_bits: int, *, is_signed: bool) -> int:
    step = 2 ** (8 - n_bits)
    low, high = (-128, 127) if is_signed else (0, 255)
    multiples = [m for m in range(low, high + 1) if m % step == 0]
    nearest = step * math.floor(Fraction(value, step) + Fraction(1, 2))
    return min(nearest, max(multiples))


@given(st.booleans(), bits, position, position)
def test_a_product_is_that_of_the_rounded_operands(is_signed, n_bits, row, column):
    table = precision_scaled(exact(is_signed=is_signed), n_bits).table
    codes = operand_codes(is_signed)
    a, b = (by_definition(int(codes[i]), n_bits, is_signed=is_signed) for i in (row, column))
    assert table[row, column] == a * b


@given(st.booleans(), bits)
def test_rounding_keeps_the_order_and_what_has_few_bits(is_signed, n_bits):
    codes = rounded_codes(n_bits, is_signed=is_signed)
    assert (np.diff(codes) >= 0).all()
    assert len(np.unique(codes)) == 2**n_bits
    index = codes - operand_codes(is_signed)[0]
    assert (codes[index] == codes).all()


@pytest.mark.parametrize(("is_signed", "top", "saturated"), [(False, 255, 192), (True, 127, 64)])
def test_the_largest_codes_saturate(is_signed, top, saturated):
    codes = rounded_codes(2, is_signed=is_signed)
    assert operand_codes(is_signed)[-1] == top
    assert codes[-1] == saturated
    assert codes[0] == operand_codes(is_signed)[0]


def test_half_way_values_go_up():
    codes = rounded_codes(4, is_signed=True)
    assert [codes[v + 128] for v in (-24, -8, 8, 24)] == [-16, 0, 16, 32]


def test_cost_falls_with_the_square_and_says_so():
    full = exact()
    level = precision_scaled(full, 4)
    assert level.cost.value == full.cost.value / 4
    assert level.cost.scale == full.cost.scale
    assert level.cost.source == f"{full.cost.source}, times (4/8)^2"
    assert (level.name, level.is_signed) == ("u8_exact_p4", False)
    assert level.origin == "exact product of operands rounded to 4 bits"


def test_without_a_cost_there_is_none():
    bare = Multiplier("mine", exact_table(True), True)
    assert precision_scaled(bare, 3).cost is None


def test_eight_bits_are_the_exact_multiplier():
    full = exact(is_signed=True)
    assert precision_scaled(full, 8) is full
    assert (rounded_codes(8, is_signed=True) == operand_codes(True)).all()


def test_levels_have_rising_errors_and_their_own_keys():
    levels = precision_levels(exact())
    errors = [float(np.abs(level.error).mean()) for level in levels]
    assert [level.name for level in levels] == [f"u8_exact_p{n}" for n in LEVELS]
    assert errors == sorted(errors)
    assert len({level.key for level in levels}) == len(LEVELS)


@pytest.mark.parametrize("n_bits", [1, 0, -3, 9, 2.5, True, "4"])
def test_other_numbers_of_bits_are_refused(n_bits):
    with pytest.raises(ConfigError, match="expected 2 to 8 bits"):
        precision_scaled(exact(), n_bits)


def test_an_approximate_multiplier_is_refused():
    with pytest.raises(MultiplierError, match="is approximate: expected the exact multiplier"):
        precision_scaled(drum(3), 4)
