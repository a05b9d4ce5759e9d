import pickle
from functools import cache

import numpy as np
import pytest
from torch import nn

from dse.errors import ConfigError, DataError, ShapeError
from dse.multipliers.library import Library
from dse.multipliers.multiplier import Cost, Multiplier, exact_table
from dse.networks.convert import quantize_network
from dse.quantization.affine import scheme_for
from dse.recovery.operators import OperatorBank, Recovery
from dse.robustness.error_model import MODELS, predict_errors
from dse.simulation.ops import prepare
from dse.testing.tiny import randomize, tiny_library, tiny_split

SPLIT = tiny_split(24)
COST = Cost(1.0, "mW", "fake", "made up")


class _EveryKind(nn.Module):
    """Padded, strided, dilated, grouped, depthwise and 1x1 convolutions and a linear layer on 8x8 images."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=2), nn.ReLU(),
            nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.ReLU(),
            nn.Conv2d(12, 16, (1, 3), padding=(0, 1), dilation=(1, 2)), nn.ReLU(),
            nn.Conv2d(16, 16, 1), nn.AdaptiveAvgPool2d((2, 2)), nn.Flatten(), nn.Linear(64, 4),
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x)


@cache
def _integer(is_signed=False):
    return quantize_network(randomize(_EveryKind()), SPLIT, scheme=scheme_for(is_signed))


def _bank(library=None, *, is_signed=False, tuning="off", split=SPLIT):
    library = library or tiny_library(is_signed=is_signed)
    return OperatorBank(_integer(is_signed), library, split, recovery=Recovery(False, weight_tuning=tuning))


def _custom(**tables):
    """A library of error tables on top of exact products, and the exact multiplier."""
    exact = Multiplier("exact", exact_table(False), is_signed=False, cost=COST)
    made = [Multiplier(n, exact.table + np.int32(t), is_signed=False, cost=COST) for n, t in tables.items()]
    return Library([exact, *made])


def _measured(bank):
    """Mean, std, std_folded, std_compensated on all positions of all recorded images, `[4, n_layers, M]`."""
    found = np.zeros((4, bank.network.n_layers, len(bank.library)))
    for layer, codes in enumerate(bank.codes):
        exact = bank.exact_sums(layer)(codes).double()
        sums = bank.input_sums(layer)(codes).double().transpose(0, 1).flatten(1)
        sums -= sums.mean(1, keepdim=True)
        for m, multiplier in enumerate(bank.library):
            outputs = prepare(bank._tuned(layer, multiplier), multiplier)(codes).double()
            error = (outputs - exact).transpose(0, 1).flatten(1)
            centered = error - error.mean(1, keepdim=True)
            slope = (centered * sums).sum(1) / (sums * sums).sum(1).clamp(min=1e-9)
            left = centered - slope[:, None] * sums
            deviations = (error.std(correction=0), centered.square().mean().sqrt(), left.square().mean().sqrt())
            found[:, layer, m] = [error.mean(), *deviations]
    return found


def _ratios(predicted, measured):
    return predicted[measured > 0] / measured[measured > 0]


@pytest.mark.parametrize("tuning", ["off", "uniform", "histogram"])
@pytest.mark.parametrize("is_signed", [False, True])
def test_two_way_against_measured_errors(is_signed, tuning):
    bank = _bank(is_signed=is_signed, tuning=tuning)
    predicted, (mean, std, folded, compensated) = predict_errors(bank), _measured(bank)
    assert np.abs(predicted.mean - mean).max() < 1e-4 * std.max()
    assert (np.abs(predicted.mean - mean) <= 1e-4 * (std + np.abs(mean))).all()
    for a, b in ((predicted.std, std), (predicted.std_folded, folded), (predicted.std_compensated, compensated)):
        ratios = _ratios(a, b)
        assert ratios.min() > 0.8
        assert ratios.max() < 1.25
        assert 0.95 < np.median(ratios) < 1.05
    exact = bank.library.exact_index
    assert not any(table[:, exact].any() for table in (predicted.mean, predicted.std, predicted.std_compensated))


@pytest.mark.parametrize("model", ["agn", "global"])
def test_baselines_are_rougher(model):
    bank = _bank()
    predicted, (mean, std, *_) = predict_errors(bank, model=model), _measured(bank)
    ratios = _ratios(predicted.std, std)
    assert 0.6 < np.median(ratios) < 1.4
    assert np.median(np.abs(predicted.mean - mean)[std > 0] / std[std > 0]) < 0.5
    two_way = _ratios(predict_errors(bank).std, std)
    assert np.abs(two_way - 1).mean() < np.abs(ratios - 1).mean()


@pytest.mark.parametrize("model", MODELS)
def test_constant_error_shifts_every_output_by_k_times_it(model):
    bank = _bank(_custom(plus7=np.full((256, 256), 7)))
    m = bank.library.index("plus7")
    predicted = predict_errors(bank, model=model)
    fan_in = np.array([layer.fan_in for layer in bank.network.layers])
    assert np.allclose(predicted.mean[:, m], 7 * fan_in, rtol=1e-5)
    assert (predicted.std[:, m] < 1e-4 * fan_in).all()
    assert (predicted.std_compensated[:, m] < 1e-4 * fan_in).all()
    assert np.allclose(predicted.residual(fold_bias=False, sum_compensation=False)[:, m], 7 * fan_in, rtol=1e-5)
    assert (predicted.residual(fold_bias=True, sum_compensation=False)[:, m] < 1e-4 * fan_in).all()


@pytest.mark.parametrize("model", MODELS)
def test_independent_products_add_up_by_the_root_of_k(model):
    """Errors that are a coin toss for every pair of codes: the std of a sum of K is sqrt(K) times that of one."""
    rng = np.random.default_rng(0)
    bank = _bank(_custom(coin=rng.choice([-10, 10], (256, 256))))
    m = bank.library.index("coin")
    layer = 4  # 16 channels of 1x1: no code meets the same weight twice in a patch
    predicted, measured = predict_errors(bank, model=model).std[layer, m], _measured(bank)[1, layer, m]
    assert predicted == pytest.approx(10 * 16**0.5, rel=0.35)
    assert predicted == pytest.approx(measured, rel=0.25)


def test_error_that_follows_the_sum_is_compensated_entirely():
    """`E = 3x` gives `3 SUM_k x_k`: K^2, all of it in the patches, none left after the slope."""
    bank = _bank(_custom(slope=np.repeat(3 * np.arange(256)[:, None], 256, 1)))
    m = bank.library.index("slope")
    predicted, measured = predict_errors(bank), _measured(bank)
    assert np.allclose(predicted.std[:, m], measured[1, :, m], rtol=0.1)
    assert (predicted.std_compensated[:, m] < 0.01 * predicted.std[:, m]).all()
    agn = predict_errors(bank, model="agn")
    assert (agn.std_compensated < agn.std_folded)[:, m].all()


def test_error_of_weights_alone_is_folded_entirely():
    """`E = 5w` differs between filters only."""
    bank = _bank(_custom(weights=np.repeat(5 * np.arange(256)[None], 256, 0)))
    m = bank.library.index("weights")
    predicted, measured = predict_errors(bank), _measured(bank)
    assert np.allclose(predicted.std[:, m], measured[1, :, m], rtol=1e-3)
    assert (predicted.std_folded[:, m] < 1e-2 * predicted.std[:, m]).all()


def test_product_errors_that_filters_correlate():
    """`E = -x*w` (a circuit of nothing) is a convolution itself: its terms are anything but independent."""
    bank = _bank(_custom(nothing=-exact_table(False).astype(np.int64)))
    m = bank.library.index("nothing")
    predicted, measured = predict_errors(bank), _measured(bank)
    for a, b in zip((predicted.std, predicted.std_folded, predicted.std_compensated), measured[1:], strict=True):
        assert np.allclose(a[:, m], b[:, m], rtol=0.1)


def test_output_std_is_that_of_exact_sums():
    bank = _bank(is_signed=True)
    sums = [bank.exact_sums(layer)(codes).double().std(correction=0).item() for layer, codes in enumerate(bank.codes)]
    assert np.allclose(predict_errors(bank).output_std, sums)


def test_small_chunks_give_the_same(monkeypatch):
    bank = _bank(tuning="uniform")
    expected = predict_errors(bank)
    monkeypatch.setattr("dse.robustness.error_forms._CHUNK", 1)
    found = predict_errors(bank)
    for name in ("mean", "std", "std_folded", "std_compensated"):
        assert np.allclose(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-3)


def test_seed_decides_the_patches_and_copies_agree():
    bank = _bank()
    first, other = predict_errors(bank, n_patches=20), predict_errors(bank, n_patches=20, seed=1)
    copied = predict_errors(pickle.loads(pickle.dumps(bank)), n_patches=20)
    assert np.array_equal(first.std, copied.std)
    assert (first.std != other.std).any()
    assert np.array_equal(first.mean, other.mean)


def test_all_there_are_by_default_and_more_are_refused():
    bank = _bank(split=SPLIT.subset(3))
    predicted = predict_errors(bank)
    assert np.isfinite(predicted.std).all()
    assert np.array_equal(predicted.std[-1], predict_errors(bank, n_patches=3).std[-1])
    with pytest.raises(DataError, match=r"'layers.0' has 192 output .* but 512 patches were asked for.*fewer"):
        predict_errors(bank, n_patches=512)


def test_unknown_model():
    with pytest.raises(ConfigError, match="unknown error model 'twoway': did you mean 'two-way'"):
        predict_errors(_bank(), model="twoway")


def test_to_dataframe():
    bank = _bank()
    predicted = predict_errors(bank, model="global")
    layers = [layer.name for layer in bank.network.layers]
    frame = predicted.to_dataframe(layers, bank.library.names)
    assert len(frame) == 6 * 6
    row = frame[(frame.layer == layers[2]) & (frame.multiplier == bank.library.names[3])].iloc[0]
    assert (row["mean"], row["std"]) == (predicted.mean[2, 3], predicted.std[2, 3])
    assert row["output_std"] == predicted.output_std[2]
    with pytest.raises(ShapeError, match="got 5 layer and 6 multiplier names: expected 6 and 6"):
        predicted.to_dataframe(layers[1:], bank.library.names)
