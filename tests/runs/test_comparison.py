"""dse.runs.comparison: groups, tests over seeds, who is ahead, and what is refused."""

import json
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

import dse
from dse.config import parse_config
from dse.errors import ConfigError, RunError
from dse.runs.comparison import compare_runs
from dse.runs.runner import run
from dse.runs.seed_tests import mann_whitney
from dse.testing.fakes import FakeEvaluator, use_fakes
from tests.runs.conftest import written_front

PLAIN = "initial = 'random'\nsurrogate = false\nracing = false"
METHODS = {
    "long": f"population_size = 12\ngenerations = 6\n{PLAIN}",
    "short": f"population_size = 4\ngenerations = 1\n{PLAIN}",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two methods, four seeds each."""
    path = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_fakes(monkeypatch, FakeEvaluator())
        for name, text in METHODS.items():
            for seed in range(4):
                run(parse_config(f"[search]\nseed = {seed}\n{text}"), path / name / f"s{seed}")
    return path


@pytest.fixture(scope="module")
def found(folder):
    return compare_runs([folder / "long", folder / "short"], losses=(1, 5))


def test_groups_are_medians_over_seeds(found):
    assert found.groups["group"].tolist() == ["long", "short"]
    assert found.groups["n_runs"].tolist() == [4, 4]
    values = found.runs.loc[found.runs["group"] == "long", "saved_at_5_pct"]
    assert found.groups["saved_at_5_pct_median"].iloc[0] == values.median()
    assert found.figures == ("hypervolume", "saved_at_1_pct", "saved_at_5_pct")
    assert {"evaluations", "n_images", "time_s", "accuracy_exact", "n_points"} <= set(found.runs)


def test_rows_say_what_a_run_found(found, folder):
    row = found.runs.set_index("run").loc["short/s1"]
    one = dse.open_run(folder / "short" / "s1")
    exact = one.front.loc[one.front["is_exact"], "accuracy"].iloc[0]
    assert row["accuracy_exact"] == exact
    assert row["n_points"] == len(one.front)
    assert row["n_images"] == one.generations["n_images"].iloc[-1]
    near = one.front[exact - one.front["accuracy"] <= 0.05 + 1e-9]
    assert row["saved_at_5_pct"] == near["energy_saved_pct"].max()


def test_tests_are_those_of_the_figures(found):
    assert found.tests["figure"].tolist() == list(found.figures)
    row = found.tests.iloc[0]
    long, short = (found.runs.loc[found.runs["group"] == name, "hypervolume"] for name in ("long", "short"))
    expected = mann_whitney(long, short)
    assert (row["p"], row["a12"], row["n_a"], row["n_b"]) == (expected.p, expected.a12, 4, 4)
    assert row["p_holm"] == row["p"]  # of one pair
    assert row["p"] < 0.05
    assert row["effect"] == "large"
    assert row["difference"] == pytest.approx(long.median() - short.median())
    assert row["smallest_p"] == pytest.approx(2 / 70)


def test_several_pairs_are_corrected(folder, tmp_path):
    from dse.runs.comparison import _tests

    runs = compare_runs([folder / "long", folder / "short"]).runs
    third = runs[runs["group"] == "short"].assign(group="third", hypervolume=lambda table: table["hypervolume"] + 1)
    tests = _tests(pd.concat([runs, third]), ["hypervolume"], list(combinations(["long", "short", "third"], 2)))
    assert len(tests) == 3
    np.testing.assert_allclose(tests["p_holm"], np.minimum(3 * tests["p"], 1))  # all are the smallest possible
    assert tests["smallest_p"].iloc[0] == pytest.approx(6 / 70)


def test_a_baseline_leaves_fewer_pairs(folder):
    paths = [folder / "long", folder / "short"]
    found = compare_runs(paths, baseline="long")
    assert found.standings[["group_a", "group_b"]].to_numpy().tolist() == [["short", "long"]]
    assert found.tests["group_b"].unique().tolist() == ["long"]
    with pytest.raises(ConfigError, match="unknown group 'lng': did you mean 'long'"):
        compare_runs(paths, baseline="lng")


def test_runs_given_twice_are_told(folder, tmp_path):
    for file in (folder / "long" / "s0").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    found = compare_runs([folder / "long", tmp_path])
    assert len(found.runs) == 5
    assert found.notes[0].startswith("the same experiment with the same seed counts as several runs: ")


def test_who_is_ahead_where(found):
    pair = found.standings.iloc[0]
    assert (pair["group_a"], pair["group_b"]) == ("long", "short")
    assert pair["share_a"] > 0.5
    ahead = found.ahead
    assert (ahead["loss_from"].iloc[0], ahead["loss_to"].iloc[-1]) == (0, 10)
    assert (ahead["loss_from"].iloc[1:].to_numpy() == ahead["loss_to"].iloc[:-1].to_numpy()).all()
    assert set(ahead["ahead"]) <= {"long", "short", ""}
    widths = ahead["loss_to"] - ahead["loss_from"]
    assert (widths[ahead["ahead"] == "long"].sum() / 10) == pytest.approx(pair["share_a"])


def test_budgets_that_differ_are_told(found):
    assert any(note.startswith("budgets differ: long simulated") for note in found.notes)


def test_few_seeds_are_told(folder):
    alone = compare_runs([folder / "long" / "s0", folder / "short" / "s0"])
    assert len(alone.tests) == 0
    assert len(alone.standings) == 1
    assert "every group has one seed" in alone.notes[0]
    mixed = compare_runs([folder / "long", folder / "short" / "s0"])
    assert "short/s0 has one seed" in mixed.notes[0]
    three = compare_runs([folder / name / f"s{seed}" for name in METHODS for seed in range(3)])
    assert "too few seeds for any difference to be significant: long and short; the smallest" in three.notes[0]
    assert three.notes[0].endswith("possible p is 0.1")


def test_memory_is_a_figure_where_all_runs_have_it(tmp_path, evaluator):
    columns = {"energy_rel": [0.5, 1.0], "accuracy": [0.9, 0.9], "memory_rel": [0.8, 1.0]}
    for seed in range(3):
        written_front(tmp_path / "dense" / f"{seed}", columns)
        written_front(tmp_path / "small" / f"{seed}", columns | {"memory_rel": [0.4, 1.0]})
    found = compare_runs([tmp_path / "dense", tmp_path / "small"], losses=(1, 5))
    assert found.figures[3:] == ("memory_saved_at_1_pct", "memory_saved_at_5_pct")
    by_group = found.runs.groupby(found.runs["run"].str[:5])
    assert by_group["memory_saved_at_1_pct"].first().tolist() == pytest.approx([20, 60])
    # .6 * .9 * .3 and .6 * .9 * .7; the exact network adds nothing
    assert by_group["hypervolume"].first().tolist() == pytest.approx([0.162, 0.378])
    assert not any("memory" in note for note in found.notes)


def test_memory_is_left_out_and_that_is_said(folder, tmp_path, evaluator):
    columns = {"energy_rel": [0.5, 1.0], "accuracy": [0.9, 0.9], "memory_rel": [0.8, 1.0]}
    written_front(tmp_path, columns)
    found = compare_runs([tmp_path, folder / "long" / "s0"])
    assert any(note.startswith("memory is an objective of 1 of 2 runs: hypervolumes") for note in found.notes)
    assert found.figures[1:] == ("saved_at_0.5_pct", "saved_at_1_pct", "saved_at_2_pct")
    assert found.runs["hypervolume"].iloc[0] == pytest.approx(0.6 * 0.9)


def test_one_run_alone(folder):
    found = compare_runs([folder / "long" / "s0"])
    assert found.groups["group"].tolist() == ["s0"]
    assert (len(found.tests), len(found.ahead), len(found.standings), found.notes) == (0, 0, 0, ())


def test_fronts_that_cannot_be_compared_are_refused(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for file in (folder / "long" / "s0").iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    record = json.loads((other / "manifest.json").read_text())
    record["layers"][0]["n_multiplications"] = 1
    (other / "manifest.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"cannot be compared: they have different networks: .* Give only runs of one"):
        compare_runs([folder / "long" / "s0", other])


def test_unfinished_runs_are_left_out_and_named(folder, tmp_path):
    begun = tmp_path / "begun"
    begun.mkdir()
    for file in (folder / "long" / "s0").iterdir():
        if file.name != "front.csv":
            (begun / file.name).write_bytes(file.read_bytes())
    found = compare_runs([folder / "long" / "s1", begun])
    assert len(found.runs) == 1
    assert any("left out, as they have no front yet" in note and "begun (interrupted)" in note for note in found.notes)


@pytest.mark.parametrize("losses", [(), (1, 1), (-1,), (float("nan"),)])
def test_losses_must_be_losses(folder, losses):
    with pytest.raises(ConfigError, match="expected different percentage points"):
        compare_runs([folder / "long" / "s0"], losses=losses)


def test_notebooks_show_it(found, folder):
    html = found._repr_html_()
    assert html.count("<table") == 3
    assert "budgets differ" in html
    assert repr(found) == "Comparison(8 runs in 2 groups)"
    assert compare_runs([folder / "long" / "s0"])._repr_html_().count("<table") == 1


def test_python_takes_paths_and_runs(folder):
    opened = [dse.open_run(folder / "long" / "s0"), folder / "short" / "s0"]
    assert dse.compare(opened).groups["group"].tolist() == ["long/s0", "short/s0"]
    assert dse.compare(opened[0], losses=[3]).figures == ("hypervolume", "saved_at_3_pct")
    assert len(dse.compare(str(folder)).groups) == 2
