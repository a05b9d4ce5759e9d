import pytest
import torch
from torch import nn

from dse.errors import DataError
from dse.quantization.calibration import calibrate
from dse.quantization.observers import N_BINS


def _batches(*sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, 2, 4, 4, generator=generator) for n in sizes]


def test_histogram_of_inputs_over_all_batches():
    conv = nn.Conv2d(2, 3, 3)
    network, batches = nn.Sequential(nn.ReLU(), conv), _batches(4, 3)
    seen = torch.cat(batches).relu()
    histogram = calibrate(network, {"1": conv}, iter(batches))["1"]
    assert (histogram.low, histogram.high) == (0.0, seen.max().item())
    assert torch.equal(histogram.counts, torch.histc(seen, N_BINS, 0.0, histogram.high).to(torch.float64))
    assert histogram.counts.sum() == seen.numel()
    assert not conv._forward_pre_hooks


def test_all_calls_of_a_layer_count():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x):
            return self.linear(input=self.linear(x) * 0 + 100)

    network = Twice()
    histogram = calibrate(network, {"linear": network.linear}, _batches(2))["linear"]
    assert histogram.high == 100
    assert histogram.counts.sum() == 2 * 2 * 32


@pytest.mark.parametrize("value", [0.0, -7.0, 3e9, -3e9])
def test_constant_inputs(value):
    linear = nn.Linear(4, 1)
    histogram = calibrate(linear, {"": linear}, [torch.full((2, 4), value)])[""]
    assert histogram.low == histogram.high == value
    assert histogram.counts[0] == 8


def test_no_images():
    with pytest.raises(DataError, match="at least one image"):
        calibrate(nn.Identity(), {}, [])
    with pytest.raises(DataError, match="at least one image"):
        calibrate(nn.Identity(), {}, [torch.zeros(0, 1, 2, 2)])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_activations_that_are_not_finite_name_the_layer(value):
    conv = nn.Conv2d(2, 1, 1)
    batches = _batches(2)
    batches[0][0, 0, 0, 0] = value
    with pytest.raises(DataError, match="'first'"):
        calibrate(conv, {"first": conv}, batches)
    assert not conv._forward_pre_hooks
