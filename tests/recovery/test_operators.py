import pickle

import numpy as np
import pytest
import torch
from torch import nn

from dse.errors import ConfigError
from dse.networks.convert import quantize_network
from dse.quantization.affine import scheme_for
from dse.recovery import operators
from dse.recovery.operators import OperatorBank, Recovery
from dse.recovery.weight_tuning import uniform_weight_map
from dse.testing.tiny import randomize, tiny_library, tiny_network, tiny_split

SPLIT = tiny_split(20)


def _bank(is_signed=False, *, network=None, memory_bytes=operators.MEMORY_BYTES, backend="auto", **recovery):
    integer = quantize_network(network or tiny_network(), SPLIT, scheme=scheme_for(is_signed))
    library = tiny_library(is_signed=is_signed)
    return OperatorBank(
        integer, library, SPLIT, recovery=Recovery(**recovery), memory_bytes=memory_bytes, backend=backend
    )


def _outputs(bank, layer, multiplier):
    return bank.operator(layer, multiplier)(bank.codes[layer])


def _pairs(bank):
    return [(layer, m) for layer in range(bank.network.n_layers) for m in range(len(bank.library))]


@pytest.mark.parametrize("is_signed", [False, True])
def test_folding_zeroes_the_mean_error_of_corrected_channels(is_signed):
    bank, bare = _bank(is_signed), _bank(is_signed, fold_bias=False)
    n_folded = 0
    for layer, m in _pairs(bank):
        exact = _outputs(bare, layer, bare.library.exact_index).double().transpose(0, 1).flatten(1)
        before = _outputs(bare, layer, m).double().transpose(0, 1).flatten(1) - exact
        after = _outputs(bank, layer, m).double().transpose(0, 1).flatten(1) - exact
        is_folded = (before != after).any(1)
        assert (after[is_folded].mean(1).abs() < 1e-5).all()
        assert torch.equal(before[~is_folded], after[~is_folded])
        n_folded += int(is_folded.sum())
    assert n_folded > 20


def test_sum_compensation_reduces_squared_error():
    banks = [_bank(fold_bias=False), _bank(), _bank(sum_compensation=True)]
    squared = []
    for bank in banks:
        exact = [_outputs(bank, layer, bank.library.exact_index).double() for layer in range(4)]
        squared.append(sum(((_outputs(bank, i, m).double() - exact[i]) ** 2).sum().item() for i, m in _pairs(bank)))
    assert squared[2] < squared[1] < squared[0]


@pytest.mark.parametrize("recovery", [{}, {"sum_compensation": True, "weight_tuning": "histogram"}])
@pytest.mark.parametrize("is_signed", [False, True])
def test_backends_agree(is_signed, recovery):
    first, second = (_bank(is_signed, backend=b, **recovery) for b in ("factored", "reference"))
    for pair in _pairs(first)[::5]:  # every layer, and every multiplier but one
        assert torch.equal(_outputs(first, *pair), _outputs(second, *pair))


def test_weight_tuning_looks_up_other_weights_with_the_original_corrections():
    bank, n_changed = _bank(fold_bias=False, weight_tuning="uniform"), 0
    for layer, m in _pairs(bank):
        module, multiplier = bank.network.integer_layers[layer], bank.library[m]
        p, codes = module.problem, bank.codes[layer]
        if p.groups > 1 or any(p.padding):
            continue
        table, weight_map = torch.tensor(multiplier.table).long(), uniform_weight_map(multiplier)
        original = p.weight.flatten(1).long()
        tuned = torch.from_numpy(weight_map)[original] if not multiplier.is_exact else original
        x = codes.permute(0, 2, 3, 1)[..., None, :].long()  # kernels of 1x1: [n, H, W, 1, K]
        sums = table[x, tuned].sum(-1) - (p.w_zero_point * x.sum(-1)) - p.x_zero_point * (
            original - p.w_zero_point[:, None]
        ).sum(1)
        expected = sums.permute(0, 3, 1, 2).float() * module.scale.view(1, -1, 1, 1) + module.bias.view(1, -1, 1, 1)
        assert torch.equal(_outputs(bank, layer, m), expected)
        n_changed += int((tuned != original).sum())
    assert n_changed > 20


def test_exact_multiplier_is_never_corrected():
    bank = _bank(sum_compensation=True, weight_tuning="uniform")
    bare = _bank(fold_bias=False)
    for layer in range(4):
        assert torch.equal(_outputs(bank, layer, bank.library.exact_index), _outputs(bare, layer, 5))
    assert not bank._corrections


def test_dropped_operators_come_back_the_same():
    bank, small = _bank(), _bank(memory_bytes=0)
    pairs = _pairs(bank)
    for pair in [*pairs, *reversed(pairs)]:
        assert torch.equal(_outputs(small, *pair), _outputs(bank, *pair))
        assert len(small._operators) <= small.network.n_layers
        assert small._operators.n_bytes == sum(small.operator(*key).sums.n_bytes for key in list(small._operators))
    assert len(bank._operators) == len(pairs)
    assert bank.operator(1, 2) is bank.operator(1, 2)


def test_least_recently_used_goes_first():
    bank = _bank(memory_bytes=0)
    for pair in [(0, 0), (1, 0), (2, 0), (3, 0), (0, 0), (0, 1)]:
        bank.operator(*pair)
    assert list(bank._operators) == [(2, 0), (3, 0), (0, 0), (0, 1)]


def test_order_of_use_does_not_matter():
    forward, backward = _bank(sum_compensation=True), _bank(sum_compensation=True)
    pairs = _pairs(forward)
    expected = {pair: _outputs(forward, *pair) for pair in pairs}
    for pair in reversed(pairs):
        assert torch.equal(_outputs(backward, *pair), expected[pair])


def test_pickled_with_corrections_without_packed_weights():
    bank = _bank()
    expected = {pair: _outputs(bank, *pair) for pair in _pairs(bank)}
    for index, layer in enumerate(bank.network.integer_layers):
        layer.operator = bank.operator(index, 0)
    copied = pickle.loads(pickle.dumps(bank))
    assert copied._corrections.keys() == bank._corrections.keys()
    assert not copied._operators
    assert all(torch.equal(_outputs(copied, *pair), value) for pair, value in expected.items())


class _TwoSizes(nn.Module):
    """One convolution on two sizes of image, and a linear layer on three axes."""

    def __init__(self):
        super().__init__()
        self.conv, self.tokens, self.linear = nn.Conv2d(2, 2, 3), nn.Linear(16, 4), nn.Linear(8, 4)

    def forward(self, x):
        x = self.conv(self.conv(x))
        return self.linear(self.tokens(x.flatten(2)).flatten(1))


def test_layers_called_on_several_sizes_and_on_three_axes():
    bank = _bank(network=randomize(_TwoSizes()))
    assert [tuple(codes.shape) for codes in bank.codes] == [(20, 2, 8, 8), (40, 16, 1, 1), (20, 8, 1, 1)]
    for pair in _pairs(bank):
        assert torch.isfinite(_outputs(bank, *pair)).all()


def test_a_single_calibration_image():
    integer = quantize_network(tiny_network(), SPLIT, scheme=scheme_for(False))
    bank = OperatorBank(integer, tiny_library(), SPLIT.subset(1), recovery=Recovery(sum_compensation=True))
    assert all(torch.isfinite(_outputs(bank, *pair)).all() for pair in _pairs(bank))


def test_histograms_count_every_recorded_code():
    bank = _bank(True)
    for codes, histogram in zip(bank.codes, bank._histograms, strict=True):
        expected = np.array([(codes == code).sum().item() for code in range(-128, 128)])
        assert np.array_equal(histogram, expected)


def test_unknown_weight_tuning():
    with pytest.raises(ConfigError, match="did you mean 'uniform'"):
        Recovery(weight_tuning="unifrom")
    assert not Recovery(fold_bias=False).is_corrected
    assert Recovery(fold_bias=False, sum_compensation=True).is_corrected


@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("weight_tuning", ["off", "uniform", "histogram"])
def test_error_table_explains_every_sum(is_signed, weight_tuning):
    bank = _bank(is_signed, fold_bias=False, weight_tuning=weight_tuning)
    layer, x = 2, bank.codes[2]  # kernels of 1x1
    problem = bank.network.integer_layers[layer].problem
    table = torch.tensor(bank.error_table(layer))
    index = x.permute(0, 2, 3, 1)[..., None, :].long() - problem.x_low
    weights = problem.weight.flatten(1).long() - problem.w_low
    for m in range(len(bank.library)):
        error = bank.operator(layer, m).sums(x) - bank.exact_sums(layer)(x)
        assert torch.equal(table[m][index, weights].sum(-1).permute(0, 3, 1, 2), error.to(torch.int64))
    assert table.dtype == torch.int32
    assert not table[bank.library.exact_index].any()
