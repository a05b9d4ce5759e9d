"""dse.reporting.report.contents and its parts: what a report shows, as plain data."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import dse
from dse.reporting.data import front_data
from dse.reporting.report.contents import as_json, report_data
from dse.reporting.report.numbers import number, numbers, thinned
from dse.reporting.run_data import layers_data, library_data
from dse.runs.operating_points import choose_operating_points
from dse.runs.point_set import PointSettings
from dse.runs.run_groups import runs_at
from dse.testing.fakes import FakeEvaluator, use_fakes
from dse.testing.written_runs import written_run

ASSETS = Path(__file__).parents[2] / "assets"
SECTIONS = ("progress", "predictions", "tolerances", "library", "table", "layers")


def data_of(*paths):
    """As the page reads it."""
    return json.loads(as_json(report_data([run for run in runs_at(paths) if run.directory.resolved.exists()])))


def only(path):
    return data_of(path)["runs"][0]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return written_run(tmp_path_factory.mktemp("r") / "run")


def copied(run, tmp_path, *drop):
    path = shutil.copytree(run.path, tmp_path / "copy")
    for name in drop:
        (path / name).unlink()
    return path


def test_the_front_is_that_of_the_run(run):
    shown, expected = only(run.path)["designs"][0], front_data(run)
    np.testing.assert_allclose(shown["saved"], expected.energy_saved_pct, atol=1e-4)
    np.testing.assert_allclose(shown["lost"], expected.accuracy_lost_points, atol=1e-4)
    np.testing.assert_allclose(shown["low"], expected.lost_low, atol=1e-4)
    np.testing.assert_allclose(shown["high"], expected.lost_high, atol=1e-4)
    assert shown["exact"] == np.flatnonzero(expected.is_exact).tolist()
    assert shown["images"] == "3,000 report images"


def test_codes_stand_for_what_every_layer_gets(run):
    shown, expected = only(run.path), layers_data(run)
    choices = shown["layers"]["choices"]
    for k, codes in enumerate(shown["designs"][0]["codes"]):
        assert tuple(choices[code][0] for code in codes) == expected.multipliers[k]
        np.testing.assert_allclose([choices[code][1] for code in codes], expected.energy_rel[k], atol=1e-6)
    assert tuple(shown["layers"]["names"]) == expected.layers
    assert shown["layers"]["n_multiplications"] == expected.n_multiplications.tolist()


def test_the_table_has_the_texts_of_the_file(run):
    shown = only(run.path)
    columns, rows = shown["table"]["columns"], shown["table"]["rows"]
    names = [name for name, _ in shown["layers"]["choices"]]
    at = columns.index("assignment")
    rows = [[*row[:at], ";".join(names[code] for code in row[at]), *row[at + 1 :]] for row in rows]
    assert [columns, *rows] == list(csv.reader(run.directory.front.read_text().splitlines()))


def test_the_library_says_what_is_used(run):
    shown, expected = only(run.path)["library"], library_data(run)
    assert shown["names"] == list(expected.names)
    assert shown["n_uses"] == expected.n_uses.tolist()
    assert shown["error"][-1] == 0
    assert shown["is_used"] == expected.is_used.tolist()


def test_how_it_was_made(run):
    made = only(run.path)["made"]
    assert made["command"] == f"dse explore {run.path}/resolved.toml --out {run.path}"
    assert made["changed"] == []
    assert "[search]" in made["settings"]
    assert dict(made["versions"])["dse"] == dse.__version__
    assert len(dict(made["hashes"])["network"]) == 64
    assert dict(made["origin"])["seed"] == "0"


def test_savings_stand_at_the_top(run):
    shown = only(run.path)
    front = shown["designs"][0]
    fits = [saved for saved, lost in zip(front["saved"], front["lost"], strict=True) if lost <= 1]
    at_one = next(fact for fact in shown["facts"] if "1 point of" in fact["label"])
    assert at_one["value"] == f"{max(fits):.1f} %"


def test_what_a_run_lacks_is_said_in_a_sentence(run, tmp_path):
    path = copied(run, tmp_path, "predictions.csv", "tolerances.csv", "generations.csv")
    shown = only(path)
    for section in ("predictions", "tolerances", "progress"):
        assert shown[section]["missing"].endswith(".")
    assert "surrogate" in shown["predictions"]["missing"]
    assert shown["designs"][0]["saved"]


def test_unfinished_runs_show_the_front_so_far(run, tmp_path):
    shown = only(copied(run, tmp_path, "front.csv", "predictions.csv"))
    front = shown["designs"][0]
    assert shown["state"] == "interrupted"
    assert "was interrupted" in shown["notes"][0]
    assert "continues it" in shown["made"]["caption"]
    assert front["images"] == "600 search images"
    assert [front["lost"][k] for k in front["exact"]] == [0]
    assert front["saved"] == sorted(front["saved"], reverse=True)
    assert front["lost"] == sorted(front["lost"], reverse=True)
    assert len(shown["table"]["rows"]) == len(front["saved"]) == len(front["codes"])
    assert "search is not finished" in shown["predictions"]["missing"]


def test_without_the_exact_network_there_is_nothing_to_compare_with(run, tmp_path):
    path = copied(run, tmp_path, "front.csv")
    lines = (path / "evaluations.jsonl").read_text().splitlines()
    (path / "evaluations.jsonl").write_text("\n".join(line for line in lines if "[4,4,4,4,4,4]" not in line) + "\n")
    shown = only(path)
    assert "exact network is not measured" in shown["front_missing"]
    assert shown["table"]["missing"] == shown["front_missing"]
    assert shown["progress"]["evaluations"]


def test_runs_that_have_not_begun_to_search_say_so(run, tmp_path):
    path = copied(run, tmp_path, *(p.name for p in run.path.iterdir() if p.name != "resolved.toml"))
    shown = only(path)
    assert all("missing" in shown[section] for section in SECTIONS)
    assert shown["front_missing"].startswith("The run has not begun")


def test_a_front_whose_exact_network_failed_is_still_reported(run, tmp_path):
    path = copied(run, tmp_path)
    table = run.front.copy()
    table.loc[table["is_exact"], ["accuracy", "state"]] = float("nan"), "failed"
    table.to_csv(path / "front.csv", index=False)
    shown = only(path)
    assert "exact network failed" in shown["front_missing"]
    assert "missing" in shown["library"]


@pytest.mark.parametrize("name", ["run_format_1", "run_format_2"])
def test_old_runs_are_reported(name):
    shown = only(ASSETS / name)
    assert shown["front_missing"] == ""
    assert len(shown["designs"][0]["codes"][0]) == 5


def test_operating_points_lie_on_the_front(tmp_path, monkeypatch):
    use_fakes(monkeypatch, FakeEvaluator())
    run = dse.explore(population_size=8, generations=3, out=tmp_path / "r", initial="random", surrogate=False)
    points = choose_operating_points(run.path, PointSettings(3, 2, "enumerate", max_loss=(3.0, 20.0)))
    shown = only(run.path)
    series = shown["designs"][1]
    assert series["kind"] == "points"
    np.testing.assert_allclose(series["saved"], points.table["energy_saved_pct"], atol=1e-4)
    choices = [name for name, _ in shown["layers"]["choices"]]
    assert tuple(choices[code] for code in series["codes"][0]) == points.assignments[0]
    (points.path / "operating_points.csv").write_text("nothing")
    shown = only(run.path)
    assert [series["kind"] for series in shown["designs"]] == ["front", "other"]
    assert "is left out, it cannot be read" in shown["notes"][0]


def test_other_designs_are_known_layer_by_layer(run, tmp_path):
    shown = only(run.path)
    series, choices = shown["designs"][-1], [name for name, _ in shown["layers"]["choices"]]
    assert (series["kind"], series["low"], series["memory"]) == ("other", None, None)
    searched = run.evaluations[run.evaluations["split"] == "search"].reset_index(drop=True)
    is_other = ~searched["assignment"].isin(run.front["assignment"])
    assert [int(name) - 1 for name in series["names"]] == np.flatnonzero(is_other).tolist()
    for k, name in enumerate(series["names"]):
        row = searched.loc[int(name) - 1]
        assert ";".join(choices[code] for code in series["codes"][k]) == row["assignment"]
        assert series["saved"][k] == pytest.approx(row["energy_saved_pct"], abs=1e-4)
        assert series["accuracy"][k] == pytest.approx(row["accuracy"], abs=1e-6)
    two = data_of(run.path, copied(run, tmp_path))
    assert [each["kind"] for shown in two["runs"] for each in shown["designs"]] == ["front", "front"]


def test_fine_tuned_points_lie_on_the_front(run, tmp_path):
    path = copied(run, tmp_path)
    (path / "finetuned").mkdir()
    header = "name,point,energy_rel,energy_saved_pct,accuracy_untuned,accuracy,accuracy_low,accuracy_high"
    assignment = run.front["assignment"].iloc[0]
    (path / "finetuned" / "finetuned.csv").write_text(
        f"{header},accuracy_exact,n_images_report,assignment\npoint_0,0,0.4,60,0.8,0.88,0.86,0.9,0.9,3000,{assignment}\n"
    )
    series = only(path)["designs"][1]
    assert (series["kind"], series["before"], series["lost"]) == ("tuned", [10.0], [2.0])
    assert (series["names"], series["label"]) == (["point 0"], "fine-tuned points")


def test_several_runs_stand_side_by_side(run, tmp_path):
    folder = tmp_path / "runs"
    for name, seed, network in (("a/0", 0, "resnet8"), ("a/1", 1, "resnet8"), ("b/0", 0, "resnet20")):
        written_run(folder / name, seed=seed, network=network)
    written_run(folder / "b" / "unfinished", is_finished=False)
    data = data_of(folder)
    assert [shown["name"] for shown in data["runs"]] == ["a/0", "a/1", "b/0", "b/unfinished"]
    assert [shown["group"] for shown in data["runs"]][:3] == [0, 0, 1]
    rows = data["comparison"]["rows"]
    assert [row[:2] for row in rows][2:] == [["b/0", "finished"], ["b/unfinished", "interrupted"]]
    assert float(rows[0][2]) > 0.5
    assert rows[3][2:] == ["–"] * 6
    assert [group["n_runs"] for group in data["comparison"]["attainment"]] == [2, 1]
    assert all(len(group["corners"]) == 3 for group in data["comparison"]["attainment"])
    assert any("different networks" in note for note in data["notes"])


def test_three_objectives_have_a_section_of_their_own(tmp_path):
    run = dse.explore(
        objectives=["energy", "accuracy", "memory"], initial="random", surrogate=False, racing=False, images=40,
        population_size=4, generations=1, report_images=40, out=tmp_path / "r",
    )  # fmt: skip
    data, library = layers_data(run), library_data(run)
    for row, point in enumerate(data.points):
        np.testing.assert_allclose(data.energy_rel[row], run.assignment(int(point))["energy_rel"])
    assert not any("%" in name for name in library.names)
    assert library.n_uses.sum() == len(data.points) * len(data.layers)
    shown = only(run.path)
    assert shown["has_memory"]
    np.testing.assert_allclose(shown["designs"][0]["memory"], 100 * (1 - run.front["memory_rel"]), atol=1e-3)
    assert not shown["layers"]["are_multipliers"]
    comparison = data_of(run.path, shutil.copytree(run.path, tmp_path / "again"))["comparison"]
    assert "volume between a front" in comparison["caption"]
    titles = [column["title"] for column in comparison["columns"]]
    assert titles[3:9:3] == ["energy saved % at 0.5 points", "memory saved % at 0.5 points"]
    assert len(comparison["rows"][0]) == len(titles) == 11
    two = written_run(tmp_path / "two")
    assert any("of three objectives, cannot be compared" in note for note in data_of(run.path, two.path)["notes"])
    run.directory.front.unlink()
    shown = only(run.path)
    assert shown["has_memory"]
    assert len(shown["designs"][0]["memory"]) == len(shown["designs"][0]["saved"])


def test_json_ends_no_script_and_has_no_numbers_that_json_lacks():
    text = as_json({"name": "</script><!-- & \u2028 \"'é"})
    assert not any(sign in text for sign in "<>&\u2028")
    assert json.loads(text)["name"] == "</script><!-- & \u2028 \"'é"
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_json({"value": float("nan")})
    with pytest.raises(TypeError, match="a report holds ndarray"):
        as_json({"value": np.zeros(1)})
    assert json.loads(as_json({"path": "a\udcff"}))["path"] == "a?"
    assert number(float("inf"), 2) is None
    assert numbers([1.23456, float("nan")], 2) == [1.23, None]


def test_marks_that_hide_each_other_are_left_out():
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 10_000))
    kept = thinned(x, y, 1000)
    assert 200 < len(kept) <= 1000
    assert len(thinned(x, y, 10_000)) == 10_000
    assert len(thinned(np.zeros(50), np.zeros(50), 10)) == 1
