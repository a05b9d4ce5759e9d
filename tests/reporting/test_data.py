"""dse.reporting.data: the numbers behind the picture."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dse.config import load_config, parse_config
from dse.errors import RunError
from dse.reporting.data import finetuned_data, front_data, points_data, prediction_data, tolerance_data
from dse.runs.operating_points import choose_operating_points
from dse.runs.point_set import PointSettings
from dse.runs.results import open_run
from dse.runs.runner import run
from dse.testing.fakes import FakeEvaluator, use_fakes
from dse.testing.tiny import tiny_tolerances


@pytest.fixture
def finished(tmp_path, monkeypatch):
    use_fakes(monkeypatch, FakeEvaluator())
    plain = "initial = 'random'\nsurrogate = false\nracing = false"
    return run(parse_config(f"[search]\npopulation_size = 8\ngenerations = 4\n{plain}"), tmp_path)


def test_losses_are_relative_to_the_exact_network(finished):
    data = front_data(finished)
    assert data.is_exact.sum() == 1
    assert data.accuracy_lost_points[data.is_exact] == 0
    assert data.energy_saved_pct[data.is_exact] == 0
    exact = finished.front.loc[finished.front["is_exact"], "accuracy"].iloc[0]
    np.testing.assert_allclose(data.accuracy_lost_points, 100 * (exact - finished.front["accuracy"]))


def test_intervals_hold_the_points(finished):
    data = front_data(finished)
    assert (data.lost_low < data.accuracy_lost_points).all()
    assert (data.accuracy_lost_points < data.lost_high).all()


def test_every_other_design_that_was_searched_is_shown(finished):
    data = front_data(finished)
    searched = finished.evaluations.query("split == 'search' and state == 'ok'")
    on_front = searched["assignment"].isin(finished.front["assignment"])
    assert len(data.other_saved_pct) == len(data.other_lost_points) == (~on_front).sum() > 0
    table = finished.front.iloc[1:]  # a point that more images did not confirm is dominated by none that is shown
    finished.__dict__["front"] = table
    assert len(front_data(finished).other_saved_pct) == (~on_front).sum() + 1


def test_tolerances_are_rows_by_coefficient():
    found = [tiny_tolerances(coefficient=c, accuracy=0.9, accuracy_with_noise=0.9 - c) for c in (0.1, 0.2)]
    data = tolerance_data(found, title="net")
    assert data.layers == found[0].layers
    np.testing.assert_array_equal(data.coefficients, [0.1, 0.2])
    np.testing.assert_array_equal(data.sigma[1], found[1].sigma)
    assert data.is_saturated.tolist() == [[False, False, True]] * 2
    np.testing.assert_allclose(data.accuracy_lost_points, [10, 20])


def test_predictions_stand_against_measurements(tmp_path, monkeypatch):
    use_fakes(monkeypatch, FakeEvaluator())
    result = run(parse_config("[search]\npopulation_size = 8\ngenerations = 5"), tmp_path)
    data = prediction_data(result)
    table = result.predictions
    assert len(data.predicted_points) == table["is_complete"].sum()
    assert data.is_blind.sum() == ((table["batch"] == 0) & table["is_complete"]).sum()
    assert data.rank_correlation > 0.9
    assert 0 <= data.share_within_2_std <= 1
    assert data.n_images == 200
    exact = table["assignment"] == "exact;exact;exact;exact"
    assert table.loc[exact, "measured_loss"].tolist() == pytest.approx([0])


def test_runs_without_a_surrogate_have_no_predictions(finished):
    with pytest.raises(RunError, match="has no predictions"):
        _ = finished.predictions


def test_operating_points_lie_on_the_front_of_their_run(finished):
    points = choose_operating_points(finished.path, PointSettings(3, 2, "enumerate", max_loss=(3.0, 20.0)))
    data = points_data(points)
    assert data.names == points.multipliers
    np.testing.assert_array_equal(data.front.energy_saved_pct, front_data(finished).energy_saved_pct)
    np.testing.assert_allclose(data.energy_saved_pct, points.table["energy_saved_pct"])
    lost = 100 * (points.table["accuracy_exact"] - points.table["accuracy"])
    np.testing.assert_allclose(data.accuracy_lost_points, lost)
    assert (data.lost_low < data.accuracy_lost_points).all()
    assert (data.accuracy_lost_points < data.lost_high).all()
    for k, accuracy in enumerate(points.table["accuracy_search"]):
        better = finished.front.loc[finished.front["accuracy_search"] >= accuracy, "energy_saved_pct"]
        assert data.price_pct[k] == pytest.approx(better.max() - data.energy_saved_pct[k])
    finished.directory.front.unlink()
    assert points_data(points).front is None
    assert np.isnan(points_data(points).price_pct).all()


def test_fine_tuned_points_lose_against_the_exact_network_of_their_images():
    columns = {"accuracy_untuned": 0.7, "accuracy": 0.85, "accuracy_low": 0.8, "accuracy_high": 0.95}
    table = pd.DataFrame({"energy_saved_pct": [40.0], "accuracy_exact": 0.9, "n_images_report": 77, **columns})
    data = finetuned_data(table, load_config(None, {"data.top": 5}))
    assert data.untuned_lost_points[0] == pytest.approx(20)
    np.testing.assert_allclose([data.lost_low[0], data.lost_points[0], data.lost_high[0]], [-5, 5, 10])
    assert data.title == "digits_cnn, digits (top 5), fine-tuned"
    assert data.n_images_report == 77


def test_predictions_of_losses_that_are_all_alike():
    stored = open_run(Path(__file__).resolve().parents[1] / "assets" / "run_format_2")
    stored.__dict__["predictions"] = stored.predictions.assign(batch=1, is_complete=True, measured_loss=0.0)
    assert np.isnan(prediction_data(stored).rank_correlation)


def test_a_journal_without_the_exact_network_is_damaged(finished):
    lines = finished.directory.journal.read_text().splitlines()
    finished.directory.journal.write_text(lines[0] + "\n")
    with pytest.raises(RunError, match=r"evaluations.jsonl is damaged \(the exact network is not measured"):
        front_data(open_run(finished.path))
