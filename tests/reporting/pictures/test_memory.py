"""dse.reporting.pictures.memory: three objectives, in space and by two."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from dse.reporting.memory_data import BOUNDS_POINTS, PROJECTIONS, MemoryFrontData, Projection
from dse.reporting.pictures.memory import memory_front, memory_front_png, memory_table


@pytest.fixture
def data():
    lost = np.array([20.0, 4.0, 1.0, 0.0])
    everything = np.ones(4, dtype=bool)
    return MemoryFrontData(
        title="net", points=np.arange(4), energy_saved_pct=np.array([90.0, 60.0, 30.0, 0.0]), accuracy_lost_points=lost,
        lost_low=lost - 1, lost_high=lost + 1, memory_bytes=np.array([10, 30, 60, 100]),
        memory_saved_pct=np.array([90.0, 70.0, 40.0, 0.0]), is_exact=lost == 0, dense_bytes=100, n_images_report=50,
        projections=tuple(Projection(x, y, everything) for x, y in PROJECTIONS),
        within=tuple(lost <= bound for bound in BOUNDS_POINTS),
    )  # fmt: skip


def test_panels(data):
    figure = memory_front(data)
    assert len(figure.axes) == 4
    assert [ax.get_ylabel() for ax in figure.axes[1:3]] == ["accuracy lost (percentage points)"] * 2
    assert memory_front_png(data).startswith(b"\x89PNG")


def test_narrow_figures_have_the_projections_alone(data):
    figure = Figure(figsize=(3.5, 7), layout="constrained")
    assert memory_front(data, figure) is figure
    assert len(figure.axes) == 3


def test_table(data):
    table = memory_table(data)
    assert table["memory_bytes"].tolist() == [10, 30, 60, 100]
    assert table["is_exact"].sum() == 1
