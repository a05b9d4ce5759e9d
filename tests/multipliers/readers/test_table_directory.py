import numpy as np
import pytest

from dse.errors import MultiplierError
from dse.multipliers.library import load_library
from dse.multipliers.metrics import error_metrics
from dse.multipliers.multiplier import exact_table
from dse.multipliers.readers import table_directory


def _write(folder, index, **tables):
    for name, table in tables.items():
        np.save(folder / f"{name}.npy", table)
    (folder / "index.csv").write_text(index)


def test_index_states_name_sign_cost_and_published_metrics(tmp_path):
    index = (
        "name,file,signed,power_mw,technology,release,clock_mhz,area_um2,delay_ns,mae_pct,mse\n"
        "first,a.npy,0,0.5,45 nm,v9,100,3.5,1.25,0.1,\n"
        "second,b.npy,1,,,,,,,,\n"
    )
    _write(tmp_path, index, a=exact_table(False), b=exact_table(True))
    first, second = table_directory.read(tmp_path)
    assert (first.name, first.is_signed, second.name, second.is_signed) == ("first", False, "second", True)
    cost = first.cost
    assert (cost.value, cost.unit, cost.technology, cost.source) == (0.5, "mW", "45 nm", "v9")
    assert (cost.clock_mhz, cost.area_um2, cost.delay_ns) == (100.0, 3.5, 1.25)
    assert dict(first.published) == {"mae_pct": 0.1}
    assert second.cost is None


def test_gate_counts_and_missing_technology(tmp_path):
    _write(tmp_path, "name,file,gates\nm,a.npy,424\n", a=exact_table(False))
    (m,) = table_directory.read(tmp_path)
    assert (m.cost.value, m.cost.unit, m.cost.technology) == (424.0, "gates", "unstated")
    assert not m.is_signed


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("", "lacks column 'name': the file is empty"),
        ("nam,file\nx,a.npy\n", "lacks column 'name': unknown column 'name': did you mean 'nam'"),
        ("name,file\n", "lists no multiplier"),
        ("name,file\nx,missing.npy\n", "missing.npy' does not exist"),
        ("name,file,power_mw\nx,a.npy,high\n", "multiplier 'x', column 'power_mw': 'high' is not a number"),
        ("name,file,power_mw\nx,a.npy,-1\n", "expected a finite number >= 0"),
        ("name,file,signed\nx,a.npy,maybe\n", "signed is 'maybe': expected 0 or 1"),
    ],
)
def test_bad_index(tmp_path, index, message):
    _write(tmp_path, index, a=exact_table(False))
    with pytest.raises(MultiplierError, match=message):
        table_directory.read(tmp_path)


@pytest.mark.parametrize("row", ["x", ",a.npy", "x,a.npy,0,0.391"])
def test_incomplete_or_overlong_row_in_index(tmp_path, row):
    _write(tmp_path, f"name,file\n{row}\n", a=exact_table(False))
    with pytest.raises(MultiplierError, match="line 2 .*expected a name and a file"):
        table_directory.read(tmp_path)


def test_loose_tables_of_several_formats(tmp_path):
    np.save(tmp_path / "mul8u_a.npy", exact_table(False) + 1)
    (tmp_path / "sub").mkdir()
    np.savetxt(tmp_path / "sub" / "mul8s_b.csv", exact_table(True), fmt="%d", delimiter=",")
    (tmp_path / "README.txt").write_text("not a table")
    (tmp_path / ".hidden.bin").write_bytes(b"x")
    (tmp_path / "notes.md").write_text("not a table")
    found = table_directory.read(tmp_path)
    assert [(m.name, m.is_signed) for m in found] == [("mul8u_a", False), ("mul8s_b", True)]


def test_empty_directory(tmp_path):
    with pytest.raises(MultiplierError, match="holds no index.csv and no table"):
        load_library(tmp_path)


def test_one_bad_table_is_named(tmp_path):
    np.save(tmp_path / "good.npy", exact_table(False))
    np.save(tmp_path / "wide.npy", np.zeros((256, 255), int))
    with pytest.raises(MultiplierError, match=r"'wide' has shape \(256, 255\)"):
        load_library(tmp_path)


def test_shared_tables_agree_with_their_published_metrics(shared_data):
    library = load_library(shared_data / "evoapprox")
    n_compared = 0
    for m in library:
        computed = error_metrics(m.table, is_signed=m.is_signed).to_dict()
        assert set(m.published) == {"mae_pct", "wce_pct", "ep_pct", "mre_pct", "mse"}
        for name, printed in m.published.items():
            n_compared += 1
            assert computed[name] == pytest.approx(printed, rel=0.06, abs=0.01), (m.name, name)
    assert n_compared == 49 * 5


def test_loose_shared_tables_are_the_indexed_ones(shared_data):
    indexed = load_library(shared_data / "evoapprox")
    loose = load_library(shared_data / "evoapprox" / "tables")
    assert {m.key for m in loose} == {m.key for m in indexed}
    assert all(m.cost is None for m in loose)
