"""dse.runs.measured: batches are joined, each design once."""

import numpy as np

from dse.cost.accelerators import Designs
from dse.runs.measured import Measured, join


def batch(rows, first, tiles=None):
    n = len(rows)
    numbers = np.arange(first, first + n)
    designs = Designs(np.array(rows).reshape(n, 2), tiles, tiles)
    return Measured(designs, numbers / 10, numbers / 100, numbers, numbers % 2 == 0)


def test_first_outcome_stays_in_the_order_of_asking():
    joined = join([batch([[3, 3], [1, 1]], 0), batch([], 2), batch([[1, 1], [0, 2], [3, 3], [0, 1]], 2)])
    assert joined.keys == [(3, 3), (1, 1), (0, 2), (0, 1)]
    assert joined.n_images.tolist() == [0, 1, 3, 5]
    assert joined.energy_rel.tolist() == [0.0, 0.1, 0.3, 0.5]
    assert joined.accuracy.tolist() == [0.0, 0.01, 0.03, 0.05]
    assert joined.is_complete.tolist() == [True, False, False, False]


def test_tiles_make_designs_different():
    rows = [[1, 1], [1, 1], [1, 1]]
    joined = join([batch(rows, 0, np.array([[0, 0], [0, 1], [0, 0]]))])
    assert joined.designs.tiles.tolist() == [[0, 0], [0, 1]]


def test_take_keeps_columns_together():
    taken = batch([[3, 3], [1, 1], [0, 2]], 0, np.array([[0, 0], [0, 1], [1, 1]])).take(np.array([2, 0]))
    assert taken.keys == [(0, 2), (3, 3)]
    assert taken.designs.tiles.tolist() == [[1, 1], [0, 0]]
    assert taken.n_images.tolist() == [2, 0]
    assert len(taken.take(np.empty(0, dtype=np.int64)).designs) == 0
