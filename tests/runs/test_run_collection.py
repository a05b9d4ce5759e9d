"""dse.runs.run_collection: fronts of many runs, and statistics over seeds."""

import numpy as np
import pandas as pd
import pytest

from dse.config import parse_config
from dse.errors import RunError
from dse.pareto import hypervolume
from dse.runs.results import open_run
from dse.runs.run_collection import attainment, collect_runs, front_with_losses, saved_at, statistics
from dse.runs.runner import run
from dse.runs.store import RunDirectory, RunLock
from dse.runs.sweep_folder import SweepFolder
from dse.runs.sweep_plan import parse_plan
from tests.runs.conftest import written_front

SWEEP = """
[search]
population_size = 8
generations = 3
evaluations = 20
[sweep]
search.seed = [0, 1, 2]
search.method = ["nsga2", "random"]
"""


@pytest.fixture
def folder(tmp_path, evaluator):
    folder, plan = SweepFolder(tmp_path / "sweep"), parse_plan(SWEEP)
    with RunLock(RunDirectory(folder.path)):
        folder.claim(plan)
    for each in plan.runs[:-1]:
        run(each.config, folder.run(each.name).path)
    return folder


def test_a_sweep_as_tables(folder):
    found = collect_runs(folder.path)
    assert (found.axes, found.groups, found.n_unfinished) == (("method", "seed"), ("method",), 1)
    assert found.fronts.columns[:4].tolist() == ["run", "method", "seed", "point"]
    assert found.fronts["run"].nunique() == 5
    one = open_run(folder.run("method_nsga2-seed_1").path)
    rows = found.fronts[found.fronts["run"] == "method_nsga2-seed_1"].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows[one.front.columns], one.front)
    figures = found.runs.set_index("run").loc["method_nsga2-seed_1"]
    F = np.column_stack([one.front["energy_rel"], 1 - one.front["accuracy"]])
    assert figures["hypervolume"] == pytest.approx(hypervolume(F, (1.1, 1.0)))
    assert figures["evaluations"] == one.generations["n_images"].iloc[-1] / 200
    assert figures["time_s"] == one.generations["time_s"].iloc[-1]
    exact = one.front.loc[one.front["is_exact"], "accuracy"].iloc[0]
    near = one.front[exact - one.front["accuracy"] <= 0.02 + 1e-9]
    assert figures["saved_at_2_pct"] == near["energy_saved_pct"].max()


def test_statistics_of_groups(folder):
    found = collect_runs(folder.path)
    assert found.statistics["n_runs"].tolist() == [3, 2]
    values = found.runs.loc[found.runs["method"] == "nsga2", "hypervolume"]
    row = found.statistics.iloc[0]
    expected = [values.median(), values.quantile(0.25), values.quantile(0.75)]
    assert [row[f"hypervolume_{end}"] for end in ("median", "q25", "q75")] == expected
    everything = statistics(found.runs, found.axes, ())
    assert everything["n_runs"].tolist() == [5]


def test_attainment_of_groups(folder):
    found = collect_runs(folder.path)
    nsga2 = found.attainment[found.attainment["method"] == "nsga2"]
    assert nsga2.groupby("share")["n_attained"].first().tolist() == [1, 2, 3]
    best = nsga2[nsga2["share"] == 0.25]
    points = found.fronts.loc[found.fronts["method"] == "nsga2", ["energy_saved_pct", "accuracy_lost_points"]]
    assert best["energy_saved_pct"].max() == pytest.approx(points["energy_saved_pct"].max())
    assert attainment(found.fronts, ())["n_runs"].unique().tolist() == [5]


def test_runs_without_a_sweep_differ_in_keys(tmp_path, evaluator):
    for seed in (0, 1):
        for generations in (2, 3):
            text = f"[search]\npopulation_size = 8\nseed = {seed}\ngenerations = {generations}"
            run(parse_config(text), tmp_path / f"{seed}{generations}")
    found = collect_runs(tmp_path)
    assert (found.axes, found.groups) == (("search.generations", "search.seed"), ("search.generations",))
    assert found.statistics["n_runs"].tolist() == [2, 2]
    one = collect_runs(tmp_path / "02")
    assert (one.axes, one.groups, len(one.statistics)) == ((), (), 1)


def test_failed_points_are_left_out(folder):
    path = folder.run("method_nsga2-seed_0").front
    table = pd.read_csv(path)
    is_first = (table.index == 0) & ~table["is_exact"]
    table.loc[is_first, ["state", "accuracy"]] = ["failed", np.nan]
    table.to_csv(path, index=False)
    assert len(front_with_losses(open_run(path.parent))) == len(table) - is_first.sum()
    table.assign(state="failed").to_csv(path, index=False)
    with pytest.raises(RunError, match="the exact network failed"):
        collect_runs(folder.path)


BY_HAND = {"energy_rel": [0.5, 0.7, 1.0], "accuracy": [0.8, 0.9, 0.9], "memory_rel": [0.5, 0.6, 1.0]}
"""Boxes up to (1.1, 1, 1.1): .6 * .8 * .6 = .288 and .4 * .9 * .5 = .18, of which .4 * .8 * .5 = .16 is common."""


def test_memory_is_counted_where_all_runs_have_it(tmp_path, evaluator):
    written_front(tmp_path / "a", BY_HAND)
    written_front(tmp_path / "b", BY_HAND | {"memory_rel": [0.5, 1.0, 1.0]})
    found = collect_runs(tmp_path)
    assert (found.has_memory, found.n_with_memory) == (True, 2)
    # the second box of b is .4 * .9 * .1 = .036, of which .4 * .8 * .1 = .032 is common
    assert found.runs["hypervolume"].tolist() == pytest.approx([0.308, 0.292])
    savings = found.runs[["saved_at_1_pct", "memory_saved_at_1_pct"]].to_numpy().tolist()
    assert savings == [pytest.approx([30, 40]), pytest.approx([30, 0])]
    assert found.fronts["memory_saved_pct"].tolist() == pytest.approx([50, 40, 0, 50, 0, 0])
    assert "memory_saved_at_1_pct_median" in found.statistics


def test_memory_is_left_out_where_a_run_has_none(tmp_path, evaluator):
    written_front(tmp_path / "a", BY_HAND)
    written_front(tmp_path / "b", {name: BY_HAND[name] for name in ("energy_rel", "accuracy")})
    found = collect_runs(tmp_path)
    assert (found.has_memory, found.n_with_memory) == (False, 1)
    assert found.runs["hypervolume"].tolist() == pytest.approx([0.52, 0.52])  # .6 * .8 + .4 * .9 - .4 * .8
    assert not any(name.startswith("memory_saved_at") for name in found.runs)


def test_a_front_that_lost_its_memory_is_refused(tmp_path, evaluator):
    written_front(tmp_path / "a", BY_HAND)
    path = tmp_path / "a" / "front.csv"
    pd.read_csv(path).drop(columns="memory_rel").to_csv(path, index=False)
    with pytest.raises(RunError, match="front.csv is damaged .without a column 'memory_rel'.: restore it"):
        collect_runs(tmp_path)


def test_savings_at_a_loss():
    front = pd.DataFrame({"accuracy_lost_points": [3.0, 1.0, 0.0], "energy_saved_pct": [50.0, 30.0, 0.0]})
    assert [saved_at(front, loss) for loss in (0.5, 1.0, 5.0)] == [0.0, 30.0, 50.0]
    front["memory_saved_pct"] = [10.0, 20.0, 1.0]
    assert [saved_at(front, loss, column="memory_saved_pct") for loss in (0.5, 1.0, 5.0)] == [1.0, 20.0, 20.0]


def test_nothing_finished_is_refused(tmp_path):
    folder = SweepFolder(tmp_path)
    with RunLock(RunDirectory(folder.path)):
        folder.claim(parse_plan(SWEEP))
    with pytest.raises(RunError, match="none of the 6 runs in .* is finished"):
        collect_runs(tmp_path)
