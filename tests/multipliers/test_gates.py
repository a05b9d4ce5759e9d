import pytest

from dse.multipliers import gates


@pytest.mark.parametrize("n", [2, 4, 7, 8])
def test_array_multiplier_has_the_textbook_adders(n):
    textbook = n * n + (n * n - 2 * n) * gates.FULL_ADDER + n * gates.HALF_ADDER
    assert gates.array_multiplier(n, n) == textbook


def test_exact_eight_bit_array():
    assert gates.array_multiplier(8, 8) == 64 + 48 * 7 + 8 * 3 == 424


def test_two_by_two_block():
    assert gates.array_multiplier(2, 2) == 4 + 2 * gates.HALF_ADDER == 10


def test_last_column_has_no_carry():
    assert gates.adders([3]) == 2 * gates.XOR
    assert gates.adders([2]) == gates.XOR
    assert gates.adders([1]) == gates.adders([]) == 0


def test_ripple_adder():
    assert gates.ripple_adder(4) == gates.HALF_ADDER + 3 * gates.FULL_ADDER


def test_leading_one_and_encoder():
    assert gates.leading_one(8) == 14
    assert gates.encoder(8) == 9  # three OR trees of four lines
    assert gates.encoder(2) == 0


def test_shifter():
    assert gates.shifter(1, 1) == 2  # one bit to one of two places: two ANDs
    assert gates.shifter(4, 1) == 2 + 3 * gates.MULTIPLEXER
    assert gates.shifter(8, 7, low=4) < gates.shifter(8, 7)
    assert gates.shifter(8, 0) == 0


def test_shifter_grows_with_range():
    assert gates.shifter(8, 3) < gates.shifter(8, 7) < gates.shifter(8, 15)


def test_negation():
    assert gates.negation(8, is_exact=False) == 16
    assert gates.negation(8, is_exact=True) == 16 + 7 * 3


def test_cost_is_labelled_as_a_model():
    cost = gates.gate_cost(424, "array multiplier")
    assert (cost.value, cost.unit, cost.technology) == (424.0, "gates", "unit-gate")
