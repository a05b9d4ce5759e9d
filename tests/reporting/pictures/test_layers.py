"""dse.reporting.pictures.layers: rows are layers, columns points."""

import numpy as np
import pytest

from dse.reporting.pictures.canvas import new_axes
from dse.reporting.pictures.layers import layers, layers_table
from dse.reporting.run_data import LayersData


def data_of(n_points, n_layers):
    energy = np.linspace(0, 1, n_points * n_layers).reshape(n_points, n_layers)
    return LayersData(
        "net", tuple(f"l{i}" for i in range(n_layers)), np.full(n_layers, 10), np.arange(n_points),
        (tuple(f"m{i}" for i in range(n_layers)),) * n_points, energy, np.linspace(90, 0, n_points),
        np.linspace(5, -0.0, n_points),
    )  # fmt: skip


def test_map():
    data = data_of(4, 3)
    ax = layers(data)
    (image,) = ax.images
    np.testing.assert_allclose(image.get_array(), data.energy_rel.T)
    assert image.get_clim() == (0, 1)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["l0", "l1", "l2"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["90 %\n5.0", "60 %\n3.3", "30 %\n1.7", "0 %\n0.0"]
    assert "exact = 1" in ax.figure.axes[1].get_ylabel()


@pytest.mark.parametrize("width", [3.5, 7.16])
def test_large_maps_stay_readable(width):
    ax = layers(data_of(500, 100), new_axes((width, 9)))
    assert 2 <= len(ax.get_xticklabels()) <= 6
    assert 30 < len(ax.get_yticklabels()) <= 100


def test_one_point_is_a_column():
    assert len(layers(data_of(1, 2)).get_xticklabels()) == 1


def test_table():
    table = layers_table(data_of(4, 3))
    assert table["point"].tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert table["layer"].tolist() == ["l0", "l1", "l2"] * 4
    assert table.loc[4, "multiplier"] == "m1"
