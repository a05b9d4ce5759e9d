import numpy as np
import pytest

from dse.multipliers.checks import (
    check_library,
    check_multiplier,
    describe,
    is_negative_quadrant_suspicious,
    printed_unit,
)
from dse.multipliers.families import builtin_library, drum
from dse.multipliers.library import Library, load_library
from dse.multipliers.multiplier import Cost, Multiplier, exact_table


def _found(multiplier):
    return {finding.name: finding.severity for finding in check_multiplier(multiplier)}


def test_exact_multiplier_with_cost_is_clean(make):
    assert check_multiplier(make("exact")) == []


def test_table_traps(make):
    assert _found(make("plus", 32)) == {"zero_product": "warning"}
    assert _found(make("const", 0, 0.0)) == {"constant": "error", "zero_power": "error"}
    rows = Multiplier.from_function("rows", lambda a, b: a * b + a, is_signed=False, cost=make("x").cost)
    assert _found(rows) == {"not_commutative": "info"}


def test_cost_traps(make):
    assert _found(make("m", 0, None)) == {"no_cost": "warning"}
    assert _found(make("m", 0, 0.0)) == {"zero_power": "warning"}
    assert _found(make("m", 0, 1.0, technology="unstated")) == {"no_technology": "warning"}


def _mirrored(table):
    """Fill the negative quadrant from the positive one, as in the header shipped with AdaPT."""
    table = np.array(table)
    table[1:128, 1:128] = table[129:, 129:][::-1, ::-1]
    return table


def test_negative_quadrant_filled_by_mirroring(make):
    # a two's-complement array whose low bits are dropped rounds towards minus infinity in all quadrants
    codes = np.arange(-128, 128)
    honest = np.multiply.outer(codes & ~3, codes & ~3)
    assert not is_negative_quadrant_suspicious(Multiplier("m", honest, is_signed=True))
    wrong = Multiplier("m", _mirrored(honest), is_signed=True, cost=make("x").cost)
    assert is_negative_quadrant_suspicious(wrong)
    assert _found(wrong) == {"negative_quadrant": "warning"}


def test_sign_magnitude_circuits_are_not_suspicious(make):
    assert not is_negative_quadrant_suspicious(drum(4, is_signed=True))
    assert not is_negative_quadrant_suspicious(make("exact", is_signed=True))
    assert not is_negative_quadrant_suspicious(make("unsigned"))


@pytest.mark.parametrize("is_signed", [False, True])
def test_table_in_another_operand_order(make, is_signed):
    rolled = Multiplier("m", np.roll(exact_table(True), 128, axis=(0, 1)), is_signed, cost=make("x").cost)
    assert _found(rolled)["operand_order"] == "error"


def test_unsigned_table_declared_signed(make):
    wrong = Multiplier("m", exact_table(False), is_signed=True, cost=make("x").cost)
    assert _found(wrong)["operand_order"] == "error"


def test_operand_order_is_quiet_on_real_and_builtin_tables(shared_data):
    frame = check_library([*load_library(shared_data / "evoapprox"), *builtin_library()])
    assert "operand_order" not in set(frame.finding)


def test_published_metadata():
    table = exact_table(False) + 1
    cost = Cost(1.0, "mW", "45 nm", "test")
    good = Multiplier("m", table, False, cost, published={"mse": 1.0, "ep_pct": 100.0, "mae_pct": 0.0015, "other": 3.0})
    assert _found(good) == {"zero_product": "warning"}
    wrong = Multiplier("m", table, False, cost, published={"mae_pct": 0.0025})
    details = [f.detail for f in check_multiplier(wrong) if f.name == "metadata"]
    assert details == ["mae_pct is published as 0.0025, the table has 0.00152588: metadata of another table?"]


@pytest.mark.parametrize(
    ("value", "unit"),
    [(0.0076, 1e-4), (2.5, 0.1), (44.0, 1.0), (100.0, 1.0), (139814.0, 1.0), (120000.0, 6000.0), (1700.0, 85.0)],
)
def test_printed_unit(value, unit):
    assert printed_unit(value) == pytest.approx(unit)


def test_library_name_collisions(make):
    library = Library([make("m", 1, 1.0), make("m", 2, 2.0), make("exact", 0, 3.0), make("same", 0, 3.0)])
    frame = check_library(library)
    assert list(frame.columns) == ["multiplier", "severity", "finding", "detail"]
    assert frame[frame.finding == "name_reused"].multiplier.tolist() == ["m"]
    assert frame[(frame.finding == "aliases") & (frame.multiplier == "exact")].detail.item().endswith("same")


def test_unmerged_multipliers_of_one_table(make):
    frame = check_library([make("a", 0), make("b", 0)])
    assert frame.finding.tolist() == ["aliases"]


def test_same_name_in_both_signednesses_is_no_collision():
    assert "name_reused" not in set(check_library(builtin_library()).finding)


def test_empty_library():
    assert check_library([]).empty


def test_describe(make):
    m = make("plus", 32)
    frame = describe(m).set_index("property")
    assert frame.loc["mae", "value"] == 32
    assert frame.loc["cost", "value"] == "1 mW"
    assert frame.loc["technology", "value"] == "45 nm"


def test_shared_set(shared_data):
    frame = check_library(load_library(shared_data / "evoapprox"))
    found = {name: set(rows.multiplier) for name, rows in frame.groupby("finding")}
    assert found["zero_product"] == {"mul8u_2AC", "mul8u_2HH"}
    assert found["constant"] == found["zero_power"] == {"mul8u_199Z"}
    # printed 0.0018 %, the table has 0.0019 %; every other printed number agrees
    assert found["metadata"] == {"mul8s_1KVA"}
    assert "negative_quadrant" not in found
    assert "T[0, 0] = 32" in frame[(frame.multiplier == "mul8u_2AC") & (frame.finding == "zero_product")].detail.item()
