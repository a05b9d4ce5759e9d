import numpy as np
import pytest

from dse.multipliers.families import broken_array, drum, exact, truncated
from dse.multipliers.multiplier import Multiplier, operand_codes
from dse.recovery.weight_tuning import histogram_weight_map, uniform_weight_map

CODES = [0, 1, 2, 77, 127, 128, 200, 255]  # indices of weight codes, for the slow definition


def _argmin(cost, w):
    """Ties keep `w`, else the smallest."""
    candidates = np.flatnonzero(cost == cost.min())
    return w if w in candidates else candidates[0]


def _by_definition(multiplier, w, histogram=None):
    codes = operand_codes(multiplier.is_signed)
    table = multiplier.table.astype(np.int64)
    if histogram is None:
        cost = np.array([sum(abs(int(a * codes[w]) - table[i, v]) for i, a in enumerate(codes)) for v in range(256)])
    else:
        squared = (codes * codes[w]).astype(object)[:, None] - table.astype(object)
        cost = (histogram.astype(np.int64).astype(object)[:, None] * squared**2).sum(0)
    return _argmin(cost, w)


@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("make", [drum, truncated])
def test_uniform_map_is_the_definition(make, is_signed):
    multiplier = make(4, is_signed=is_signed)
    weight_map = uniform_weight_map(multiplier)
    assert weight_map.dtype == np.int64
    assert [weight_map[w] for w in CODES] == [_by_definition(multiplier, w) for w in CODES]


@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("n_used", [256, 3, 1])
def test_histogram_map_is_the_definition(is_signed, n_used):
    multiplier = broken_array(4, 2, is_signed=is_signed)
    rng = np.random.default_rng(n_used)
    histogram = np.zeros(256)
    histogram[rng.permutation(256)[:n_used]] = rng.integers(1, 10**6, n_used)
    weight_map = histogram_weight_map(multiplier, histogram)
    every = range(0, 256, 9)
    assert weight_map[list(every)].tolist() == [_by_definition(multiplier, w, histogram) for w in every]


def test_ties_keep_the_weight_else_take_the_smallest():
    table = np.repeat(np.repeat(np.arange(0, 256, 4), 4)[None], 256, 0) * np.arange(256)[:, None]
    multiplier = Multiplier("blocks of four", table, is_signed=False)
    for weight_map in (uniform_weight_map(multiplier), histogram_weight_map(multiplier, np.ones(256))):
        assert weight_map[[4, 5, 8]].tolist() == [4, 5, 8]  # all four columns of a block are the same
        assert weight_map[[7, 11]].tolist() == [8, 12]  # 8 is nearer to 7 than 4; smallest of the block


def test_exact_multiplier_keeps_every_weight():
    for is_signed in (False, True):
        identity = np.arange(256)
        assert np.array_equal(uniform_weight_map(exact(is_signed=is_signed)), identity)
        assert np.array_equal(histogram_weight_map(exact(is_signed=is_signed), np.ones(256)), identity)


def test_unused_activations_do_not_count():
    """Only code 0 occurs: every column is as good as any other, so weights stay."""
    histogram = np.zeros(256)
    histogram[0] = 5
    assert np.array_equal(histogram_weight_map(truncated(4), histogram), np.arange(256))
