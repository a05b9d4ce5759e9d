"""dse.reporting.pictures.library: used multipliers stand out."""

from dataclasses import replace

import numpy as np
import pytest

from dse.errors import RunError
from dse.reporting.pictures.library import N_NAMED, library, library_table
from dse.reporting.run_data import LibraryData


@pytest.fixture
def data():
    n = 12
    uses = np.arange(n) * (np.arange(n) % 2 == 0)
    errors = np.geomspace(10, 1e-4, n) * (np.arange(n) < 11)
    return LibraryData(
        "net", tuple(f"m{i}" for i in range(n)), np.linspace(0.1, 1, n), errors, np.arange(n) == 11, uses > 0, uses, 5,
    )  # fmt: skip


def test_marks(data):
    ax = library(data)
    unused, used, exact = (group.get_offsets() for group in ax.collections)
    assert len(used) == data.is_used.sum() == 5
    assert len(unused) == 6
    np.testing.assert_allclose(exact, [[1, 0]])
    assert {text.get_text() for text in ax.texts} == {f"m{i}" for i in (2, 4, 6, 8, 10)}
    assert len(ax.texts) <= N_NAMED
    assert ax.get_yscale() == "symlog"
    assert "5 of 12 multipliers used" in ax.get_title()


def test_unknown_errors_are_left_out(data):
    some = replace(data, mae_pct=np.where(np.arange(12) < 6, np.nan, data.mae_pct))
    assert sum(len(group.get_offsets()) for group in library(some).collections) == 6
    with pytest.raises(RunError, match="errors of the multipliers are not known"):
        library(replace(data, mae_pct=np.full(12, np.nan)))


def test_unfinished_runs_and_exact_libraries(data):
    begun = replace(data, n_points=0, n_uses=np.zeros(12, dtype=np.int64), is_used=np.zeros(12, dtype=bool))
    assert "no front yet" in library(begun).get_title()
    exact = LibraryData("net", ("e",), np.ones(1), np.zeros(1), np.ones(1, bool), np.ones(1, bool), np.ones(1, int), 1)
    assert library(exact).get_yscale() == "linear"


def test_table(data):
    assert library_table(data)["n_uses"].sum() == data.n_uses.sum()


def test_the_legend_names_what_is_drawn(data):
    begun = replace(data, n_points=0, n_uses=np.zeros(12, dtype=np.int64), is_used=np.zeros(12, dtype=bool))
    assert [text.get_text() for text in library(begun).get_legend().get_texts()] == ["not used", "exact"]


def test_the_linear_part_of_the_scale_has_no_ticks_but_its_ends(data):
    ax = library(data)
    smallest = data.mae_pct[data.mae_pct > 0].min()
    ticks = [tick for tick in ax.get_yticks() if 0 < tick < smallest]
    assert len(ticks) <= 1
