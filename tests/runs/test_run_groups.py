"""dse.runs.run_groups: runs at several paths, and groups of those that differ in seeds only."""

import json
import shutil

import pandas as pd
import pytest

from dse.config import parse_config
from dse.errors import RunError
from dse.runs.run_collection import collect
from dse.runs.run_groups import axes_of, finished_runs_at, group_names, runs_at
from dse.runs.runner import run
from dse.runs.store import RunDirectory, RunLock
from dse.runs.sweep_folder import SweepFolder
from dse.runs.sweep_plan import parse_plan

PLAN = (
    "[search]\npopulation_size = 8\ngenerations = 1\n[sweep]\nsearch.seed = [0, 1]\nsearch.method = ['nsga2', 'random']"
)


@pytest.fixture
def explore(tmp_path, evaluator):
    def explored(name, text="", tables=""):
        run(parse_config(f"[search]\npopulation_size = 8\ngenerations = 1\n{text}\n{tables}"), tmp_path / name)
        return tmp_path / name

    return explored


@pytest.fixture
def methods(explore):
    """Two methods with two seeds each, a folder a method."""
    paths = [
        explore(f"{name}/s{seed}", f"seed = {seed}\n{text}")
        for name, text in (("screened", ""), ("plain", "surrogate = false\nracing = false\ninitial = 'random'"))
        for seed in (0, 1)
    ]
    return paths


def test_names_are_paths_from_where_all_lie(methods):
    folders = [methods[0].parent, methods[2].parent]
    assert [each.name for each in runs_at(folders)] == ["screened/s0", "screened/s1", "plain/s0", "plain/s1"]
    assert [each.name for each in runs_at(methods[:2])] == ["s0", "s1"]
    assert [each.name for each in runs_at([methods[0], methods[0].parent])] == ["s0", "s1"]
    assert [each.name for each in runs_at(methods[:1])] == ["s0"]
    assert [each.name for each in runs_at([str(methods[0].parents[1])])] == [
        "plain/s0",
        "plain/s1",
        "screened/s0",
        "screened/s1",
    ]


def test_wrong_paths_are_told(tmp_path, explore):
    with pytest.raises(RunError, match="name at least one"):
        runs_at([])
    with pytest.raises(RunError, match="is not a directory"):
        runs_at([tmp_path / "absent", explore("one")])


def test_unfinished_runs_are_apart(explore, tmp_path):
    done, begun = explore("done"), explore("begun", "seed = 1")
    (begun / "front.csv").unlink()
    finished, others = finished_runs_at([done, begun])
    assert ([each.name for each in finished], [each.name for each in others]) == (["done"], ["begun"])
    with pytest.raises(RunError, match="no run is finished: begun is interrupted. Repeat the command"):
        finished_runs_at([begun])


def test_sweeps_have_their_own_axes(tmp_path, evaluator):
    folder, plan = SweepFolder(tmp_path / "sweep"), parse_plan(PLAN)
    with RunLock(RunDirectory(folder.path)):
        folder.claim(plan)
    for each in plan.runs:
        run(each.config, folder.run(each.name).path)
    found = runs_at([folder.path])
    assert axes_of(found)[0] == {"seed": "0", "method": "nsga2"}
    other = run(parse_config("[search]\npopulation_size = 8\ngenerations = 1\nseed = 2"), tmp_path / "other")
    mixed = axes_of(runs_at([folder.path, other.path]))
    assert mixed[0] == {"search.method": "nsga2", "search.seed": "0"}
    assert mixed[-1] == {"search.method": "nsga2", "search.seed": "2"}
    collected = collect(found)
    assert group_names(collected.runs, collected.groups).tolist() == collected.runs["method"].tolist()


def test_what_lies_elsewhere_but_is_the_same_is_no_difference(explore):
    first = explore("first", tables="[data]\ndir = 'here'")
    second = explore("second", "seed = 1", tables="[data]\ndir = 'there'")
    assert axes_of(runs_at([first, second])) == [{"search.seed": "0"}, {"search.seed": "1"}]
    manifest = json.loads((second / "manifest.json").read_text())
    manifest["hashes"]["report images"] = "others"
    (second / "manifest.json").write_text(json.dumps(manifest))
    assert axes_of(runs_at([first, second]))[0] == {"data.dir": "here", "search.seed": "0"}
    (second / "manifest.json").unlink()
    assert axes_of(runs_at([first, second]))[0] == {"data.dir": "here", "search.seed": "0"}


def test_groups_are_called_by_their_folders(methods, tmp_path, explore):
    collected = collect(runs_at([tmp_path]))
    assert group_names(collected.runs, collected.groups).tolist() == ["plain"] * 2 + ["screened"] * 2
    one = collect(runs_at([methods[0], methods[2]]))
    assert group_names(one.runs, one.groups).tolist() == ["screened/s0", "plain/s0"]
    alone = collect(runs_at([methods[0].parent]))
    assert group_names(alone.runs, alone.groups).tolist() == ["all runs"] * 2
    shutil.move(methods[3], methods[0].parent / "s3")  # a folder for both methods tells nothing
    mixed = collect(runs_at([tmp_path]))
    names = group_names(mixed.runs, mixed.groups)
    assert set(names) == {"random, surrogate=false, racing=false", "agn, surrogate=true, racing=true"}


def test_group_names_of_values():
    runs = pd.DataFrame({"run": ["a0", "a1", "b0", "b1"], "size": ["8", "8", "16", "16"], "seed": ["0", "1", "0", "1"]})
    assert group_names(runs, ("size",)).tolist() == ["size=8"] * 2 + ["size=16"] * 2
