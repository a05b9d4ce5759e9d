"""dse.robustness.neuron_scores: orders, tables, edges."""

import math

import numpy as np
import pytest

from dse.errors import ConfigError
from dse.robustness.neuron_scores import LayerResilience, Resilience, edge_ratio


def resilience():
    first = LayerResilience("a", np.array([3.0, 1.0, 1.0]), np.array([1.0, 2.0, 9.0]), np.ones((4, 4)), 16)
    second = LayerResilience("b", np.array([2.0, 0.5]), np.array([1.0, 1.0]), np.ones((1, 1)), 1)
    return Resilience((first, second), n_images=10, loss=0.5, accuracy=0.9)


def test_ranks_count_all_neurons_and_keep_the_order_of_equal_ones():
    first, second = resilience().ranks()
    assert (first.tolist(), second.tolist()) == ([4, 1, 2], [3, 0])
    assert resilience().order(0).tolist() == [1, 2, 0]


def test_sensitivity_is_that_of_errors_relative_to_the_spread():
    found = resilience()
    assert found.sensitivity(0).tolist() == [12.0, 8.0, 36.0]
    assert [ranks.tolist() for ranks in found.ranks("sensitivity")] == [[3, 2, 4], [1, 0]]
    assert found.order(0, "sensitivity").tolist() == [1, 0, 2]


def test_another_figure_is_refused():
    with pytest.raises(ConfigError, match="unknown order of neurons 'scores': did you mean 'score'"):
        resilience().ranks("scores")


def test_a_row_for_each_neuron():
    table = resilience().to_dataframe()
    assert list(table.columns) == ["layer", "neuron", "score", "output_std", "sensitivity", "rank"]
    assert table["layer"].tolist() == ["a", "a", "a", "b", "b"]
    assert table["neuron"].tolist() == [0, 1, 2, 0, 1]
    assert table["rank"].tolist() == [4, 1, 2, 3, 0]
    assert resilience().n_neurons == 5


def test_edges_against_the_interior():
    values = np.arange(30, dtype=float).reshape(5, 6)
    inside = values[1:4, 1:5]
    border = [values[i, j] for i in range(5) for j in range(6) if i in (0, 4) or j in (0, 5)]
    assert edge_ratio(values) == pytest.approx(np.mean(border) / inside.mean())
    wide = [values[i, j] for i in range(5) for j in range(6) if not (i == 2 and j in (2, 3))]
    assert edge_ratio(values, 2) == pytest.approx(np.mean(wide) / values[2, 2:4].mean())


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (5, 2)])
def test_without_an_interior_there_is_no_ratio(shape):
    assert math.isnan(edge_ratio(np.ones(shape)))


def test_a_map_of_zeros_has_no_ratio():
    assert math.isnan(edge_ratio(np.zeros((5, 5))))
    ratios = resilience().edge_ratios()
    assert ratios[0] == 1.0
    assert math.isnan(ratios[1])


def test_a_border_has_a_width():
    with pytest.raises(ConfigError, match="a border of width 0"):
        edge_ratio(np.ones((5, 5)), 0)
