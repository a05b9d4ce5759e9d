"""dse.runs.comparison_notes: sentences only where there is something to say; see also test_comparison."""

from types import SimpleNamespace

import pandas as pd

from dse.runs.comparison_notes import few_seeds, left_out, unlike_budgets


def test_many_pairs_are_one_sentence():
    runs = pd.DataFrame({"group": [name for name in "abcd" for _ in range(3)]})
    pairs = [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")]
    tests = pd.DataFrame([{"group_a": a, "group_b": b, "smallest_p": 0.6} for a, b in pairs])
    (note,) = few_seeds(runs, tests)
    assert "a and b, a and c, a and d and 3 more pairs" in note
    assert note.endswith("the smallest possible p is 0.6 after correction for 6 pairs")
    assert few_seeds(runs, tests.assign(smallest_p=0.01)) == []


def test_groups_that_are_alone():
    tests = pd.DataFrame(columns=["group_a", "group_b", "smallest_p"])
    assert few_seeds(pd.DataFrame({"group": ["a", "a", "b", "c"]}), tests)[0].startswith("b, c have one seed")
    assert few_seeds(pd.DataFrame({"group": ["a"]}), tests) == []


def test_runs_without_a_front_are_counted():
    runs = [SimpleNamespace(name=f"r{i}", state="waiting") for i in range(7)]
    assert left_out(runs)[0].endswith("r4 (waiting) and 2 more")
    assert left_out([]) == []


def test_budgets():
    runs = pd.DataFrame({"group": ["a", "a", "b"], "n_images": [1000, 1200, 5000]})
    assert unlike_budgets(runs) == ["budgets differ: b simulated 5,000 images, a 1,100"]
    assert unlike_budgets(runs.assign(n_images=1000)) == []
