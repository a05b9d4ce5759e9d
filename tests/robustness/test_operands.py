import numpy as np
import pytest
import torch

from dse.errors import ConfigError, DataError
from dse.robustness.operands import DEFAULT_PATCHES, collect_operands
from dse.simulation.problem import integer_conv
from dse.simulation.reference import unfold_codes

CASES = {
    "plain": {},
    "padded": {"padding": (1, 2, 0, 1), "x_zero_point": 7},
    "strided": {"stride": (2, 3), "padding": (1, 1, 1, 1)},
    "dilated": {"dilation": (2, 1), "padding": (2, 2, 2, 2)},
    "grouped": {"groups": 2, "stride": (2, 2)},
    "depthwise": {"groups": 4, "padding": (1, 1, 1, 1), "x_zero_point": 3},
}


def _case(name, *, is_signed=False, n_images=5):
    rng = np.random.default_rng(0)
    dtype, low = (torch.int8, -128) if is_signed else (torch.uint8, 0)

    def draw(*shape):
        return torch.tensor(rng.integers(low, low + 256, shape)).to(dtype)

    settings = CASES[name]
    weight = draw(4, 4 // settings.get("groups", 1), 3, 2)
    return integer_conv(weight, dtype, **settings), draw(n_images, 4, 7, 8)


def _collect(problem, codes, n_patches=None, seed=0):
    return collect_operands(problem, codes, "layer", n_patches=n_patches, rng=np.random.default_rng(seed))


@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_taps_patches_and_weights_against_unfolding(name, is_signed):
    problem, codes = _case(name, is_signed=is_signed)
    operands = _collect(problem, codes)
    unfolded = unfold_codes(problem, codes) - problem.x_low  # [G, K, n * positions]
    for group, rows in enumerate(unfolded):
        expected = torch.stack([torch.bincount(row, minlength=256) for row in rows]) / unfolded.shape[2]
        assert torch.allclose(operands.taps[group], expected)
    # fewer positions than the default: all of them are patches
    assert unfolded.shape[2] <= DEFAULT_PATCHES
    assert torch.equal(operands.patches, unfolded.transpose(1, 2))
    assert torch.equal(operands.patch_sums, unfolded.sum(1).float())
    weights = problem.weight.long() - problem.w_low
    assert torch.equal(operands.weights.long(), weights.view(problem.groups, -1, problem.fan_in))


def test_histograms_are_shares():
    operands = _collect(*_case("grouped"))
    assert operands.activation_histogram.sum() == pytest.approx(1, abs=1e-5)
    for weights, histogram in zip(operands.weights, operands.weight_histograms, strict=True):
        expected = torch.bincount(weights.flatten().long(), minlength=256) / weights.numel()
        assert torch.allclose(histogram, expected)


def test_patches_are_distinct_spread_and_reproducible():
    problem, codes = _case("plain", n_images=10)
    unfolded = unfold_codes(problem, codes)[0].T
    height, width = problem.output_size(*codes.shape[2:])
    first, again, other = (_collect(problem, codes, 40, seed).patches[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    found = [(unfolded == row).all(1).nonzero()[0].item() for row in first]
    assert len(set(found)) == 40
    assert np.bincount(np.array(found) // (height * width)).tolist() == [4] * 10  # as many of every image


def test_default_takes_all_there_are_and_requests_are_met_or_refused():
    problem, codes = _case("plain", n_images=2)
    positions = 2 * 5 * 7
    assert _collect(problem, codes).patches.shape == (1, positions, problem.fan_in)
    assert _collect(problem, codes, positions).patches.shape[1] == positions
    with pytest.raises(DataError, match=r"'layer' has 70 output positions in its 2 .* 71 patches.*more calibration"):
        _collect(problem, codes, positions + 1)
    with pytest.raises(ConfigError, match="n_patches is 0: expected at least 1"):
        _collect(problem, codes, 0)


def test_inputs_are_not_changed():
    problem, codes = _case("padded", is_signed=True)
    before = codes.clone()
    _collect(problem, codes)
    assert torch.equal(codes, before)
