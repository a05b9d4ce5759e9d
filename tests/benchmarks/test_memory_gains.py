"""benchmarks/memory_gains.py: what a front saves within a loss, and its hypervolumes."""

import numpy as np
import pytest

from dse.objectives import reference_point
from dse.reporting.memory_data import MemoryFrontData

SAVED, LOST, MEMORY_SAVED = (60.0, 40.0, 0.0), (2.5, 0.8, 0.0), (50.0, 30.0, 0.0)


def front():
    lost = np.array(LOST)
    return MemoryFrontData(
        title="net on data", points=np.arange(3), energy_saved_pct=np.array(SAVED), accuracy_lost_points=lost,
        lost_low=lost, lost_high=lost, memory_bytes=np.array([500, 700, 1000]), dense_bytes=1000,
        memory_saved_pct=np.array(MEMORY_SAVED), is_exact=np.array([False, False, True]), n_images_report=100,
        projections=(), within=(),
    )  # fmt: skip


def test_what_is_saved_within_a_loss(script):
    accuracy = 0.9 - np.array(LOST) / 100
    row = script.figures("both", 0, front(), accuracy, np.ones(3, dtype=bool))
    assert [row[f"energy_saved_at_{loss}"] for loss in ("0.5", "1", "3")] == [0, 40, 60]
    assert [row[f"memory_saved_at_{loss}"] for loss in ("0.5", "1", "3")] == [0, 30, 50]
    assert row["together_at_2"] == "40.0 and 30.0 (point 1)"
    without = script.figures("both", 0, front(), accuracy, np.array([True, False, True]))
    assert without["energy_saved_at_1"] == 0
    assert without["hypervolume"] < row["hypervolume"]


def test_the_volume_of_one_point_is_a_box(script):
    alone = script.figures("one", 0, front(), np.array([0.875, 0.892, 0.9]), np.array([False, False, True]))
    energy, accuracy, memory = reference_point(3)
    assert alone["hypervolume"] == pytest.approx((energy - 1) * (accuracy - 0.1) * (memory - 1))
    assert alone["hypervolume_memory_accuracy"] == pytest.approx((memory - 1) * (accuracy - 0.1))
