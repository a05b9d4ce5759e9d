import pickle

import numpy as np
import pytest

from dse.errors import MultiplierError
from dse.multipliers.library import Library, load_library
from dse.multipliers.multiplier import Multiplier


def test_ordered_by_energy_then_key_whatever_the_input_order(make):
    members = [make("exact", 0, 2.0), make("a", 1, 1.0), make("b", 2, 1.0), make("unknown", 3, None)]
    library, other = Library(members), Library(members[::-1])
    assert library.names == other.names
    assert library.names[2:] == ("exact", "unknown")
    assert library[0].key < library[1].key
    assert library == other
    assert library.fingerprint == other.fingerprint


def test_indexing(make):
    library = Library([make("exact", 0, 2.0), make("a", 1, 1.0)], name="lib")
    assert library.index("a") == 0
    assert library["exact"] is library[1]
    assert library[-1].name == "exact"
    assert library[:1].names == ("a",)
    assert library.index(make("other_name", 0)) == 1
    assert "a" in library
    assert "z" not in library
    assert make("z", 1) in library
    assert len(list(library)) == len(library) == 2
    with pytest.raises(MultiplierError, match="did you mean 'exact'"):
        library.index("exakt")


def test_equal_tables_merge_with_cheapest_cost(make):
    library = Library([make("a", 1, 3.0), make("b", 1, 2.0), make("c", 1, None), make("exact", 0, 5.0)])
    assert library.names == ("a", "exact")
    assert library["a"].aliases == ("b", "c")
    assert library["c"].cost.value == 2.0
    assert library.index("b") == 0


def test_equal_tables_of_two_technologies_stay_apart(make):
    library = Library([make("exact", 0, 5.0), make("exact", 0, 424.0, unit="gates", technology="unit-gate")])
    assert len(library) == 2
    assert len(set(library.names)) == 2
    assert library.select(technology="unit-gate")["exact"].cost.unit == "gates"


def test_reused_name_is_told_apart_by_key(make):
    library = Library([make("m", 1, 1.0), make("m", 2, 2.0), make("exact", 0, 3.0)])
    assert library.names == ("m", f"m@{make('m', 2).key[:6]}", "exact")
    assert library["m"].error[0, 0] == 1
    assert len(set(library.names)) == 3


def test_mixed_signedness_is_an_error_only_when_asked(make):
    library = Library([make("u", 0), make("s", 0, is_signed=True)])
    with pytest.raises(MultiplierError, match="mixes signed and unsigned"):
        _ = library.is_signed
    assert library.select(True).names == ("s",)
    assert library.select(True).is_signed
    assert not library.select(is_signed=False).is_signed


def test_select(make):
    other = make("x", 3, 1.0, technology="7 nm")
    library = Library([make("exact", 0, 3.0), make("a", 1, 1.0), make("b", 2, 2.0), other])
    assert library.select(names=["b", "exact"]).names == ("b", "exact")
    assert library.select(technology="7 nm").names == ("x",)
    with pytest.raises(MultiplierError, match="unknown multiplier 'c'"):
        library.select(names=["c"])
    with pytest.raises(MultiplierError, match="unknown technology '7nm': did you mean '7 nm'"):
        library.select(technology="7nm")


def test_searchable_drops_free_constants_and_keeps_the_rest(make):
    library = Library([make("const", 0, 0.0), make("const2", 5, 0.5), make("a", 1, 1.0), make("exact", 0, 2.0)])
    searchable = library.searchable()
    assert searchable.names == ("const2", "a", "exact")
    assert searchable.exact_index == 2
    assert searchable.energy_rel.tolist() == [0.25, 0.5, 1.0]
    assert searchable.searchable() == searchable


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "is empty"),
        ([("exact", {}), ("s", {"is_signed": True})], "mixes signed and unsigned"),
        ([("exact", {}), ("a", {"offset": 1, "technology": "7 nm"})], "cannot be compared: 45 nm .mW.; 7 nm .mW."),
        ([("exact", {}), ("a", {"offset": 1, "unit": "gates"})], "cannot be compared"),
        ([("exact", {}), ("a", {"offset": 1, "clock_mhz": 100.0})], "100 MHz"),
        ([("exact", {}), ("a", {"offset": 1, "value": None})], "unknown cost: a: "),
        ([("a", {"offset": 1, "value": None})], "states no cost"),
        ([("a", {"offset": 1}), ("b", {"offset": 9})], "no exact multiplier .closest: 'a'."),
        ([("exact", {"value": 0.0})], "exact multiplier costs 0"),
    ],
)
def test_unsearchable_libraries_say_why(make, members, message):
    library = Library([make(name, **options) for name, options in members], name="lib")
    with pytest.raises(MultiplierError, match=message):
        library.searchable()


def test_tables_and_energy_are_read_only(make):
    library = Library([make("exact", 0, 2.0), make("a", 1, 1.0)])
    assert library.tables.shape == (2, 256, 256)
    assert library.tables.dtype == np.int32
    assert (library.tables[0] == library[0].table).all()
    for array in (library.tables, library.energy_rel):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_fingerprint_follows_names_tables_and_costs(make):
    base = Library([make("exact", 0, 2.0)])
    assert base.fingerprint == Library([make("exact", 0, 2.0)], name="elsewhere").fingerprint
    for other in (make("other", 0, 2.0), make("exact", 1, 2.0), make("exact", 0, 3.0), make("exact", 0, None)):
        assert Library([other]).fingerprint != base.fingerprint


def test_dataframe(make):
    library = Library([make("exact", 0, 2.0), make("a", 1, 1.0), make("s", 0, 4.0, is_signed=True), make("n", 5, None)])
    frame = library.to_dataframe().set_index("name")
    assert frame.loc["a", "energy_rel"] == 0.5
    assert frame.loc["s", "energy_rel"] == 1.0
    assert frame.loc["a", "bias"] == 1.0
    assert np.isnan(frame.loc["n", "cost"])
    assert np.isnan(frame.loc["n", "energy_rel"])
    assert "<table" in library._repr_html_()


def test_pickle(make):
    library = Library([make("exact", 0, 2.0), make("a", 1, 1.0)], name="lib")
    copy = pickle.loads(pickle.dumps(library))
    assert copy == library
    assert copy.name == "lib"


def test_members_must_be_multipliers():
    with pytest.raises(MultiplierError, match="expected a Multiplier"):
        Library([np.zeros((256, 256))])


def test_load_builtin_by_signedness():
    assert load_library("builtin", is_signed=True).is_signed
    assert not load_library(is_signed=False).is_signed
    assert load_library() is load_library("builtin")


def test_load_missing_path(tmp_path):
    with pytest.raises(MultiplierError, match="does not exist"):
        load_library(tmp_path / "none.bin")


def test_load_shared_set(shared_data):
    library = load_library(shared_data / "evoapprox")
    assert len(library) == 49
    unsigned, signed = library.select(False), library.select(True)
    assert (len(unsigned), len(signed)) == (36, 13)
    assert unsigned[unsigned.exact_index].name == "mul8u_1JFF"
    assert signed[signed.exact_index].name == "mul8s_1KV8"
    assert unsigned[unsigned.exact_index].cost.value == 0.391
    assert signed[signed.exact_index].cost.value == 0.425
    assert sum(m.is_exact for m in library) == 2
    assert library.technology == "PDK45 45 nm"
    searchable = unsigned.searchable()
    assert len(searchable) == 35
    assert "mul8u_199Z" not in searchable
    assert searchable.energy_rel.max() == 1.0
    assert (np.diff(searchable.energy_rel) >= 0).all()


def test_mixing_shared_and_builtin_needs_a_technology(shared_data):
    both = Library([*load_library(shared_data / "evoapprox", is_signed=False), *load_library(is_signed=False)])
    with pytest.raises(MultiplierError, match=r"PDK45 45 nm \(mW\); unit-gate \(gates\)"):
        both.searchable()
    assert both.select(technology="unit-gate").searchable() == load_library(is_signed=False).searchable()


def test_load_directory_without_the_asked_signedness(tmp_path):
    np.save(tmp_path / "mul8u_x.npy", Multiplier.from_function("x", np.multiply, is_signed=False).table)
    assert load_library(tmp_path).names == ("mul8u_x",)
    with pytest.raises(MultiplierError, match="has no signed multiplier"):
        load_library(tmp_path, is_signed=True)
