import pickle

import numpy as np
import pytest

from dse.errors import MultiplierError
from dse.multipliers.multiplier import Cost, Multiplier, exact_table, operand_codes


def test_exact_table_in_natural_order():
    assert exact_table(False)[3, 250] == 750
    assert exact_table(True)[0, 0] == 128 * 128
    assert exact_table(True)[0, 255] == -128 * 127
    assert exact_table(True).dtype == np.int32
    assert operand_codes(True).dtype == np.int64


def test_table_is_copied_contiguous_and_read_only():
    source = np.asfortranarray(exact_table(False).astype(np.float64))
    multiplier = Multiplier("m", source, is_signed=False)
    source[0, 0] = 99
    assert multiplier.table.dtype == np.int32
    assert multiplier.table.flags.c_contiguous
    assert multiplier.table[0, 0] == 0
    with pytest.raises(ValueError, match="read-only"):
        multiplier.table[0, 0] = 1


def test_key_depends_on_table_and_signedness_only():
    table = exact_table(False)
    first = Multiplier("a", table, is_signed=False)
    second = Multiplier("b", table.astype(">i8"), is_signed=False, cost=Cost(1.0, "mW", "t", "s"))
    assert first == second
    assert hash(first) == hash(second)
    assert first.key == second.key
    assert Multiplier("a", table, is_signed=True).key != first.key
    assert first != "a"


def test_key_is_the_documented_digest():
    import hashlib

    multiplier = Multiplier("a", exact_table(True), is_signed=True)
    assert multiplier.key == hashlib.sha256(b"s" + exact_table(True).astype("<i4").tobytes()).hexdigest()


def test_error_and_exactness():
    exact = Multiplier("exact", exact_table(True), is_signed=True)
    assert exact.is_exact
    assert not exact.is_constant
    shifted = Multiplier("plus_two", exact_table(True) + 2, is_signed=True)
    assert not shifted.is_exact
    assert (shifted.error == 2).all()
    assert Multiplier("zero", np.zeros((256, 256), int), is_signed=False).is_constant


def test_from_function_passes_activation_as_rows():
    multiplier = Multiplier.from_function("rows", lambda a, b: a + 0 * b, is_signed=True)
    assert multiplier.table[0].tolist() == [-128] * 256
    assert multiplier.table[:, 7].tolist() == list(range(-128, 128))


def test_pickle_keeps_everything():
    cost = Cost(0.5, "mW", "PDK45 45 nm", "v1", area_um2=3.0)
    m = Multiplier("m", exact_table(False), False, cost, aliases=("n",), published={"mse": 1.0}, origin="file")
    copy = pickle.loads(pickle.dumps(m))
    assert copy == m
    assert (copy.name, copy.cost, copy.aliases, copy.origin) == ("m", cost, ("n",), "file")
    assert dict(copy.published) == {"mse": 1.0}
    assert not copy.table.flags.writeable


def _with_entry(value):
    table = exact_table(False).astype(np.float64)
    table[3, 4] = value
    return table


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.zeros((256, 255), int), r"shape \(256, 255\): expected \(256, 256\)"),
        (np.zeros((65536,), int), "shape"),
        (_with_entry(0.5), r"entry \[3, 4\] is 0.5"),
        (_with_entry(np.nan), r"entry \[3, 4\] is nan"),
        (_with_entry(np.inf), r"entry \[3, 4\] is inf"),
        (_with_entry(2.0**31), "beyond int32"),
        (np.zeros((256, 256), complex), "dtype complex128"),
        (np.zeros((256, 256), bool), "dtype bool"),
        ([[1, 2], [3]], "ragged"),
    ],
)
def test_bad_tables_are_refused(table, message):
    with pytest.raises(MultiplierError, match=message):
        Multiplier("bad", table, is_signed=False)


@pytest.mark.parametrize("name", ["", "a;b", None])
def test_bad_names_are_refused(name):
    with pytest.raises(MultiplierError, match="expected a non-empty text"):
        Multiplier(name, exact_table(False), is_signed=False)


@pytest.mark.parametrize(("value", "unit"), [(-1.0, "mW"), (float("nan"), "mW"), (1.0, "W")])
def test_bad_costs_are_refused(value, unit):
    with pytest.raises(MultiplierError, match="cost"):
        Cost(value, unit, "t", "s")
