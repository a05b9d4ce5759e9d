from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dse.config import load_config
from dse.errors import RunError
from dse.pareto import nondominated
from dse.reporting.memory_data import BOUNDS_POINTS, PROJECTIONS, memory_front_data
from dse.reporting.pictures.memory import memory_front, memory_front_png
from dse.reporting.terminal.fronts import front_summary
from dse.runs.runner import run

OPTIONS = {
    "search.objectives": ["energy", "accuracy", "memory"], "search.evaluations": 24, "search.population_size": 8,
    "data.images": 60, "data.calibration_images": 100, "data.report_images": 100, "tolerances.steps": 2,
    "library.include": ["u8_exact", "u8_trunc4", "u8_trunc6", "u8_trunc8"], "execution.threads": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(load_config(None, OPTIONS), tmp_path_factory.mktemp("runs") / "memory")


def test_rows_are_those_of_the_front(finished):
    data, front = memory_front_data(finished), finished.front
    assert data.points.tolist() == front["point"].tolist()
    assert data.memory_bytes.tolist() == front["memory_bytes"].tolist()
    assert data.memory_saved_pct == pytest.approx(100 * (1 - front["memory_rel"]))
    assert data.dense_bytes * (1 - data.memory_saved_pct / 100) == pytest.approx(data.memory_bytes)
    assert data.is_exact.sum() == 1
    assert data.accuracy_lost_points[data.is_exact] == 0
    assert (data.lost_low <= data.accuracy_lost_points).all()
    assert (data.accuracy_lost_points <= data.lost_high).all()


def test_each_projection_has_its_own_front(finished):
    data = memory_front_data(finished)
    columns = {
        "energy": -data.energy_saved_pct, "memory": -data.memory_saved_pct, "loss": data.accuracy_lost_points
    }  # fmt: skip
    assert [(p.x, p.y) for p in data.projections] == list(PROJECTIONS)
    for projection in data.projections:
        F = np.column_stack([columns[projection.x], columns[projection.y]])
        for i, point in enumerate(F):
            is_beaten = ((point >= F).all(axis=1) & (point > F).any(axis=1)).any()
            assert projection.is_front[i] == (not is_beaten)


def test_fronts_within_bounds(finished):
    data = memory_front_data(finished)
    F = np.column_stack([-data.energy_saved_pct, -data.memory_saved_pct])
    for bound, found in zip(BOUNDS_POINTS, data.within, strict=True):
        fits = data.accuracy_lost_points <= bound + 1e-9
        assert not found[~fits].any()
        assert (found[fits] == nondominated(F[fits])).all()
        assert fits.any()


def test_failed_points_are_left_out(finished):
    shown = replace_front(finished, finished.front.assign(state=["failed", *["ok"] * (len(finished.front) - 1)]))
    assert len(memory_front_data(shown).points) == len(finished.front) - 1


def replace_front(finished, front: pd.DataFrame):
    from dse.runs.results import open_run

    shown = open_run(finished.path)
    shown.__dict__["front"] = front
    return shown


def test_runs_without_pruning_have_none(tmp_path):
    options = {key: value for key, value in OPTIONS.items() if key != "search.objectives"}
    plain = run(load_config(None, options | {"search.evaluations": 4, "search.initial": "uniform"}), tmp_path)
    with pytest.raises(RunError, match="objectives energy, accuracy and memory"):
        memory_front_data(plain)


def test_the_picture_shows_four_views(finished):
    data = memory_front_data(finished)
    before = data.energy_saved_pct.copy()
    figure = memory_front(data)
    assert len(figure.axes) == 4
    labels = {ax.get_xlabel() for ax in figure.axes} | {ax.get_ylabel() for ax in figure.axes}
    assert {"accuracy lost (percentage points)", "memory of the weights saved (%)"} <= labels
    for ax in figure.axes[1:3]:
        bottom, top = ax.get_ylim()
        assert bottom > top  # lost points downwards
    assert np.array_equal(data.energy_saved_pct, before)
    png = memory_front_png(data)
    assert png[:4] == b"\x89PNG"
    assert png == memory_front_png(data)


def test_a_front_of_one_point_is_drawn(finished):
    data = memory_front_data(finished)
    only = data.is_exact
    columns = ("points", "energy_saved_pct", "accuracy_lost_points", "lost_low", "lost_high", "memory_bytes",
               "memory_saved_pct", "is_exact")  # fmt: skip
    single = replace(
        data,
        **{name: getattr(data, name)[only] for name in columns},
        projections=tuple(replace(p, is_front=p.is_front[only]) for p in data.projections),
        within=tuple(mask[only] for mask in data.within),
    )
    assert memory_front_png(single)[:4] == b"\x89PNG"


def test_the_terminal_shows_memory(finished):
    summary = front_summary(finished)
    assert summary.columns[2] == "memory saved %"
    assert summary["memory saved %"].iloc[-1] == "0.00"
