import pytest
import torch

from dse.quantization.affine import SCHEMES
from dse.quantization.observers import N_BINS, OBSERVERS, Histogram, minmax_range, mse_range, percentile_range

AFFINE, SYMMETRIC = SCHEMES["unsigned-affine"], SCHEMES["signed-symmetric"]


def _histogram(values, low=None, high=None):
    low, high = values.min().item() if low is None else low, values.max().item() if high is None else high
    return Histogram(low, high, torch.histc(values, N_BINS, low, high).to(torch.float64))


def test_centers():
    histogram = Histogram(-1.0, 3.0, torch.ones(N_BINS, dtype=torch.float64))
    assert histogram.centers[0] == pytest.approx(-1 + 2 / N_BINS)
    assert histogram.centers[-1] == pytest.approx(3 - 2 / N_BINS)


def test_minmax_keeps_everything():
    assert minmax_range(Histogram(-2.0, 5.0, torch.ones(N_BINS)), AFFINE) == (-2.0, 5.0)


def test_percentile_cuts_rare_extremes():
    values = torch.cat([torch.linspace(-1, 1, 100_000), torch.tensor([1000.0, -3000.0])])
    low, high = percentile_range(_histogram(values), AFFINE)
    assert -10 < low < 0 < high < 10
    assert percentile_range(_histogram(values), AFFINE, percentile=100)[1] == pytest.approx(1000, abs=2)


def test_percentile_keeps_the_end_at_zero():
    values = torch.cat([torch.zeros(10_000), torch.rand(100)])
    low, high = percentile_range(_histogram(values, 0.0, 1.0), AFFINE)
    assert low == 0
    assert 0 < high <= 1
    low, high = percentile_range(_histogram(-values, -1.0, 0.0), AFFINE)
    assert high == 0
    assert -1 <= low < 0


@pytest.mark.parametrize("scheme", [AFFINE, SYMMETRIC])
def test_mse_is_no_worse_than_minmax(scheme):
    generator = torch.Generator().manual_seed(0)
    values = torch.cat([torch.randn(50_000, generator=generator), torch.tensor([40.0])])
    low, high = mse_range(_histogram(values), scheme)
    assert high < 39
    assert low < 0
    uniform = torch.rand(50_000, generator=generator)
    assert mse_range(_histogram(uniform, 0.0, 1.0), scheme)[1] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("name", sorted(OBSERVERS))
@pytest.mark.parametrize("value", [0.0, 2.5, -3.0])
def test_a_constant_has_a_range(name, value):
    counts = torch.zeros(N_BINS, dtype=torch.float64)
    counts[0] = 10
    low, high = OBSERVERS[name](Histogram(value, value, counts), AFFINE)
    assert low <= high
    assert max(abs(low), abs(high)) == pytest.approx(abs(value), rel=0.9)
