"""dse.reporting.pictures.energy: two bars a layer."""

import numpy as np

from dse.reporting.pictures.canvas import new_axes
from dse.reporting.pictures.energy import energy, energy_table
from dse.reporting.run_data import EnergyShareData


def data_of(n_layers, name="mul8u_1JFF"):
    before = np.full(n_layers, 100 / n_layers)
    return EnergyShareData(
        "net", 3, tuple(f"l{i}" for i in range(n_layers)), (name,) * n_layers, before, before / 4, 75.0, -0.0
    )


def test_bars_and_names():
    ax = energy(data_of(4))
    assert [bar.get_width() for bar in ax.patches] == [25] * 4 + [6.25] * 4
    assert [text.get_text() for text in ax.texts] == ["mul8u_1JFF"] * 4
    assert ax.yaxis_inverted()  # the first layer is on top
    assert "point 3: 75.0 % saved, 0.0 points lost" in ax.get_title()


def test_names_only_where_there_is_room():
    assert len(energy(data_of(100)).texts) == 100
    assert len(energy(data_of(100), new_axes((3.5, 4))).texts) == 0
    assert len(energy(data_of(4, "mul8u_1JFF+mul8u_12N4@50"), new_axes((3.5, 4))).texts) == 0


def test_table():
    table = energy_table(data_of(4))
    assert table.columns.tolist() == ["point", "layer", "multiplier", "before_pct", "after_pct"]
    assert table["before_pct"].sum() == 100
