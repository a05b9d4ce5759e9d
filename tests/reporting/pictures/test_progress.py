"""dse.reporting.pictures.progress: runs of other lengths on one scale."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from dse.reporting.pictures.canvas import LONG_LABEL
from dse.reporting.pictures.progress import ProgressPicture, progress, progress_group, progress_table
from dse.reporting.run_data import ProgressData


def run_of(evaluations, hypervolume):
    n = np.array(evaluations, dtype=np.int64)
    return ProgressData("net", n, 10 * n, np.array(hypervolume, float), np.full(len(n), np.nan), n / 2, (1.1, 1.0))


@pytest.fixture
def picture():
    runs = [run_of([10, 20, 30], [0.1, 0.2, 0.3]), run_of([15, 20], [0.4, 0.5])]
    return ProgressPicture("net", "evaluations", (progress_group("a", runs), progress_group("b", runs[:1])))


def test_groups_have_medians_from_where_all_have_begun(picture):
    group = picture.groups[0]
    assert group.n_runs == 2
    assert group.spent.tolist() == [15, 20, 30]
    np.testing.assert_allclose(group.median, [(0.1 + 0.4) / 2, (0.2 + 0.5) / 2, (0.3 + 0.5) / 2])
    np.testing.assert_allclose(group.low, [0.175, 0.275, 0.35])
    assert picture.groups[1].median.tolist() == [0.1, 0.2, 0.3]


def test_what_is_spent():
    assert progress_group("a", [run_of([10], [0.1])], "images").spent.tolist() == [100]
    assert progress_group("a", [run_of([10], [0.1])], "time").spent.tolist() == [5]


def test_runs_that_have_not_begun_are_left_out():
    assert progress_group("a", [run_of([], []), run_of([5], [0.5])]).n_runs == 1
    empty = progress_group("a", [run_of([], [])])
    assert (empty.n_runs, len(empty.spent)) == (0, 0)


def test_picture_and_table(picture):
    ax = progress(picture)
    assert [line.get_label() for line in ax.lines] == ["a (2 runs)", "b"]
    assert len(ax.collections) == 1  # quartiles of the group of two
    assert "quartiles" in ax.get_title()
    table = progress_table(picture)
    assert len(table) == 6
    assert {"group", "n_evaluations", "hypervolume", "hypervolume_q25"} <= set(table)
    where = Figure().add_subplot()
    assert progress(ProgressPicture("net", "images", picture.groups[1:]), where) is where
    assert where.get_legend() is None
    assert where.get_xlabel() == "simulated images"


def test_the_only_generation_of_a_run_is_a_mark():
    one = ProgressPicture("net", "evaluations", (progress_group("$a$" * 50, [run_of([10], [0.5])]),))
    line = progress(one).lines[0]
    assert line.get_marker() == "o"
    assert line.get_markevery() is None
    assert len(line.get_label().replace("\\", "")) == LONG_LABEL
