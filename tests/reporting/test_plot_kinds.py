"""dse.reporting.plot_kinds: what every kind reads, and what it says where there is nothing to read."""

import json
import logging

import numpy as np
import pytest

from dse.config import parse_config, to_toml
from dse.errors import ConfigError, RunError
from dse.reporting.plot_kinds import KINDS, Wanted, default_kind, default_point, make_drawing, plain_height
from dse.reporting.run_data import LayersData
from dse.runs.operating_points import choose_operating_points
from dse.runs.point_set import PointSettings
from dse.runs.runner import run
from dse.runs.tolerance_sweep import SWEEP_FILE
from dse.testing.fakes import FakeEvaluator, use_fakes
from dse.testing.tiny import tiny_tolerances
from tests.runs.conftest import written_front

RUN_KINDS = ("front", "progress", "attainment", "layers", "energy", "library", "predictions", "tolerances")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two methods, two seeds each."""
    path = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_fakes(monkeypatch, FakeEvaluator())
        for name, generations in (("long", 5), ("short", 2)):
            for seed in (0, 1):
                text = f"[search]\npopulation_size = 8\nseed = {seed}\ngenerations = {generations}"
                run(parse_config(text), path / name / f"s{seed}")
    return path


def table_of(kind, *paths, **wanted):
    return make_drawing(kind, Wanted(paths, **wanted))[1].table


@pytest.mark.parametrize("kind", RUN_KINDS)
def test_every_kind_of_a_run_has_numbers(folder, kind):
    name, drawing = make_drawing(kind, Wanted((folder / "long" / "s0",)))
    assert name == kind
    assert len(drawing.table) > 0
    assert 1 < drawing.height(3.5) < 9


def test_numbers_are_those_of_the_run(folder):
    from dse.runs.results import open_run

    one = open_run(folder / "long" / "s0")
    front = table_of("front", one.path)
    np.testing.assert_array_equal(front["energy_saved_pct"], one.front["energy_saved_pct"])
    assert table_of("progress", one.path)["hypervolume"].tolist() == one.generations["hypervolume"].tolist()
    assert table_of("predictions", one.path).shape[0] == one.predictions["is_complete"].sum()
    assert table_of("tolerances", one.path)["layer"].tolist() == ["layer0", "layer1", "layer2", "layer3"]
    assert set(table_of("energy", one.path, point=1)["point"]) == {1}


def test_several_runs_are_groups(folder):
    table = table_of("front", folder / "long", folder / "short")
    assert table["front"].nunique() == 4
    assert table["group"].unique().tolist() == ["long", "short"]
    progress = table_of("progress", folder / "long", folder / "short", spent_on="images")
    assert progress.groupby("group")["n_runs"].first().to_dict() == {"long": 2, "short": 2}
    assert "n_images" in progress
    assert {"share", "energy_saved_pct"} <= set(table_of("attainment", folder))


@pytest.mark.parametrize("kind", ["layers", "energy", "library", "predictions", "tolerances"])
def test_kinds_of_one_run_refuse_several(folder, kind):
    with pytest.raises(RunError, match=f"kind {kind} shows one run, 4 are given"):
        make_drawing(kind, Wanted((folder,)))


@pytest.mark.parametrize("kind", KINDS)
def test_no_runs_at_all_are_told(kind):
    with pytest.raises(RunError, match="no runs are given|: 0 are given"):
        make_drawing(kind, Wanted(()))


def test_unknown_kinds_are_told(folder):
    with pytest.raises(ConfigError, match="unknown kind 'fronts': did you mean 'front'"):
        make_drawing("fronts", Wanted((folder,)))


def test_runs_that_do_not_compare_are_told(folder, tmp_path, caplog):
    other = tmp_path / "other"
    other.mkdir()
    for file in (folder / "long" / "s0").iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    record = json.loads((other / "manifest.json").read_text())
    record["layers"][0]["name"] = "x"
    (other / "manifest.json").write_text(json.dumps(record))
    with caplog.at_level(logging.WARNING, logger="dse"):
        make_drawing("front", Wanted((folder / "long" / "s0", other)))
    assert "different networks" in caplog.text


def test_hypervolumes_of_two_and_of_three_objectives_are_not_drawn_together(folder, tmp_path, monkeypatch):
    use_fakes(monkeypatch, FakeEvaluator())
    written_front(tmp_path / "three", {"energy_rel": [0.5, 1.0], "accuracy": [0.9, 0.9], "memory_rel": [0.8, 1.0]})
    assert len(table_of("progress", tmp_path / "three")) == 1
    with pytest.raises(RunError, match=r"energy, accuracy in .*s0; energy, accuracy, memory in .*three. Draw these"):
        make_drawing("progress", Wanted((folder / "long" / "s0", tmp_path / "three")))


def test_unfinished_runs_have_progress_but_no_front(folder, tmp_path):
    begun = tmp_path / "begun"
    begun.mkdir()
    for file in (folder / "long" / "s0").iterdir():
        if file.name not in ("front.csv", "predictions.csv", "tolerances.csv"):
            (begun / file.name).write_bytes(file.read_bytes())
    assert len(table_of("progress", begun)) == 5
    for kind, message in (
        ("front", "no run is finished"), ("layers", "is not finished"), ("predictions", "has no predictions"),
        ("tolerances", "learned no tolerances"),
    ):  # fmt: skip
        with pytest.raises(RunError, match=message):
            make_drawing(kind, Wanted((begun,)))
    (begun / "generations.csv").unlink()
    with pytest.raises(RunError, match="has ended a generation yet"):
        make_drawing("progress", Wanted((begun,)))


def test_operating_points(folder, monkeypatch):
    use_fakes(monkeypatch, FakeEvaluator())
    points = choose_operating_points(folder / "long" / "s0", PointSettings(3, 2, "enumerate", max_loss=(3.0, 20.0)))
    assert default_kind([points.path]) == "points"
    kind, drawing = make_drawing(None, Wanted((points.path,)))
    assert (kind, len(drawing.table)) == ("points", 2)
    with pytest.raises(RunError, match="one directory of operating points"):
        make_drawing("points", Wanted((points.path, points.path)))


def test_tolerances_of_their_own_directory(tmp_path):
    (tmp_path / SWEEP_FILE).write_text(to_toml(parse_config("")))
    assert default_kind([tmp_path]) == "tolerances"
    with pytest.raises(RunError, match="no tolerances that are finished"):
        make_drawing(None, Wanted((tmp_path,)))
    for coefficient in (0.1, 0.3):
        text = tiny_tolerances(coefficient=coefficient).to_json()
        (tmp_path / f"coefficient_{coefficient}.json").write_text(text)
    drawing = make_drawing(None, Wanted((tmp_path,)))[1]
    assert drawing.table["coefficient"].unique().tolist() == [0.1, 0.3]
    assert drawing.on_figure is not None
    with pytest.raises(ConfigError, match="as many panels: leave out ax"):
        drawing.on_axes(None)


def test_fine_tuned_points(folder):
    path = folder / "long" / "s0" / "finetuned"
    with pytest.raises(RunError, match="holds nothing fine-tuned"):
        make_drawing("finetuned", Wanted((path.parent,)))
    path.mkdir()
    settings = {"training_images": 10, "validation_images": 5}
    (path / "finetuning.json").write_text(json.dumps({"format": 1, "source": "..", "settings": settings, "hashes": {}}))
    (path / "finetuned.csv").write_text(
        "name,point,energy_saved_pct,accuracy_untuned,accuracy,accuracy_low,accuracy_high,accuracy_exact,n_images_report\n"
        "point_0,0,50,0.7,0.8,0.75,0.85,0.9,200\n"
    )
    for given in (path, path.parent):
        table = table_of("finetuned", given)
        np.testing.assert_allclose(table[["untuned_lost_points", "lost_points"]], [[20, 10]])
    assert default_kind([path]) == "finetuned"


def test_memory_is_refused_where_it_is_unknown(folder):
    with pytest.raises(RunError, match="does not know the memory of its weights"):
        make_drawing("memory", Wanted((folder / "long" / "s0",)))


@pytest.mark.parametrize(
    ("saved", "lost", "point"),
    [([80, 60, 40, 0], [9, 0.9, 0.1, 0], 1), ([80, 60, 0], [9, 5, 0], 1), ([0], [0], 0)],
)
def test_the_point_whose_energy_is_shown(saved, lost, point):
    n = len(saved)
    data = LayersData(
        "net", ("l",), np.ones(1), np.arange(n), (("m",),) * n, np.ones((n, 1)), np.array(saved, float), np.array(lost)
    )
    assert default_point(data) == point


def test_heights_suit_columns():
    assert plain_height(3.5) == pytest.approx(2.52)
    assert plain_height(7.16) == pytest.approx(3.58)
    assert plain_height(2.0) < plain_height(3.5) < plain_height(5.0) <= plain_height(7.16)
    assert set(RUN_KINDS) < set(KINDS)
