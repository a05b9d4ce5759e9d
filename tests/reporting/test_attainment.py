"""dse.reporting.attainment: from collected runs to a picture."""

import numpy as np
import pandas as pd
import pytest

from dse.reporting import attainment as pictures
from dse.reporting.attainment import AttainmentData, SurfaceData, attainment_data, attainment_png
from dse.reporting.pictures.canvas import staircase
from dse.runs.run_collection import Collection, attainment


def collection(groups):
    fronts = pd.DataFrame(
        {
            "run": ["a", "a", "b", "b", "c"],
            "method": ["m", "m", "m", "m", "n"],
            "energy_rel": [0.5, 1.0, 0.6, 1.0, 1.0],
            "accuracy_lost_points": [3.0, 0.0, 2.0, 0.0, 0.0],
        }
    )
    runs, empty = fronts.drop_duplicates("run")[["run", "method"]], pd.DataFrame()
    return Collection(("method",), groups, fronts, runs, empty, attainment(fronts, groups), 0)


def test_data_of_groups():
    data = attainment_data(collection(("method",)), title="t")
    assert [(group.label, group.n_runs, group.n_attained) for group in data.groups] == [
        ("m", 2, (1, 1, 2)), ("n", 1, (1, 1, 1)),
    ]  # fmt: skip
    best, _, all_runs = data.groups[0].corners
    np.testing.assert_allclose(best, [[50, 3], [40, 2], [0, 0]])
    np.testing.assert_allclose(all_runs, [[40, 3], [0, 0]])
    assert [group.label for group in attainment_data(collection(()), title="t").groups] == ["all runs"]


def test_steps_keep_the_loss_while_the_saving_falls():
    steps = staircase(np.array([[50.0, 3.0], [40.0, 2.0]]), 9.0)
    np.testing.assert_array_equal(steps, [[50, 9], [50, 3], [40, 3], [40, 2], [0, 2]])
    assert len(staircase(np.empty((0, 2)), 9.0)) == 0


@pytest.mark.parametrize("n_groups", [1, 9])
def test_picture(n_groups):
    corners = np.array([[50.0, 30.0], [40.0, 2.0], [0.0, 0.0]])
    groups = tuple(SurfaceData(f"g{i}", 3, (1, 2, 3), (corners, corners, corners)) for i in range(n_groups))
    data = AttainmentData("t", groups)
    ax = pictures.attainment(data)
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines[:-1]}) == n_groups
    assert ax.get_ylim()[0] == pictures.MOST_LOST_POINTS
    assert ax.yaxis_inverted()
    assert attainment_png(data).startswith(b"\x89PNG")
