"""Predicted errors of pruned layers against measured ones."""

import numpy as np
import pytest
import torch

from dse.cost.sparse_choices import SparseChoices
from dse.networks.convert import quantize_network
from dse.quantization.affine import SCHEMES
from dse.recovery.operators import OperatorBank, Recovery
from dse.recovery.pruned import PrunedBank
from dse.robustness.error_model import predict_errors
from dse.robustness.operands import collect_operands
from dse.robustness.pruned_errors import predict_pruned_errors
from dse.simulation.ops import prepare
from dse.simulation.zero_weights import prepare_skipping
from dse.sparse.pruning import is_zero, layer_mask, pruned_problem
from dse.testing.tiny import tiny_library, tiny_network, tiny_split

SPLIT = tiny_split(48)
LEVELS = (0, 50, 80)


def make_bank(scheme, zero_weights, tuning="off"):
    network = quantize_network(tiny_network(), SPLIT, scheme=SCHEMES[scheme])
    library = tiny_library(is_signed=scheme == "signed-symmetric")
    plain = OperatorBank(network, library, SPLIT, recovery=Recovery(weight_tuning=tuning))
    choices = SparseChoices(library, LEVELS, zero_weights=zero_weights)
    layers = [
        [pruned_problem(layer.problem, layer_mask(layer, level / 100)) for level in LEVELS]
        for layer in network.integer_layers
    ]
    return PrunedBank(plain, choices, layers)


def measured_errors(bank, layer, choice):
    """Of the integer sums against the layer with all weights and exact products, float64 `[C_out, n]`."""
    codes = bank.whole.codes[layer]
    whole = bank.whole.exact_sums(layer)(codes).to(torch.float64)
    prepared = prepare_skipping if bank.skips_zeros else prepare
    problem = bank.parameters(layer, choice).problem
    multiplier = bank.whole.library[bank.library.choices[choice].multiplier]
    return (prepared(problem, multiplier)(codes).to(torch.float64) - whole).transpose(0, 1).flatten(1).numpy()


@pytest.mark.parametrize("scheme", ["unsigned-centered", "signed-symmetric"])
@pytest.mark.parametrize("zero_weights", ["multiplied", "skipped"])
@pytest.mark.parametrize("tuning", ["off", "histogram"])
def test_predictions_are_near_what_is_measured(scheme, zero_weights, tuning):
    bank = make_bank(scheme, zero_weights, tuning)
    predicted = predict_pruned_errors(bank)
    ratios, offsets = [], []
    for layer in range(bank.network.n_layers):
        for choice in range(len(bank.library)):
            error = measured_errors(bank, layer, choice)
            folded = np.sqrt(error.var(axis=1).mean())
            if folded > 0:
                ratios.append(predicted.std_folded[layer, choice] / folded)
                offsets.append((predicted.mean[layer, choice] - error.mean()) / np.hypot(folded, error.mean()))
            else:
                assert predicted.std_folded[layer, choice] == 0
    assert 0.93 < np.median(ratios) < 1.07
    assert np.quantile(np.abs(np.log(ratios)), 0.9) < 0.3
    assert np.quantile(np.abs(offsets), 0.9) < 0.1


def test_without_pruning_it_is_the_plain_model():
    """Where zeros are multiplied; those of the weights themselves are skipped else."""
    bank = make_bank("unsigned-centered", "multiplied")
    predicted, plain = predict_pruned_errors(bank), predict_errors(bank.whole)
    columns = bank.library.choices.position[:, 0]
    for name in ("mean", "std", "std_folded", "std_compensated"):
        assert getattr(predicted, name)[:, columns] == pytest.approx(getattr(plain, name), rel=1e-6, abs=1e-6)
    assert np.array_equal(predicted.output_std, plain.output_std)


def test_only_weights_that_are_multiplied_count():
    """The effective fan-in: a layer of zeros but for one weight errs as that weight alone."""
    bank = make_bank("signed-symmetric", "skipped")
    problem = bank.network.integer_layers[0].problem
    operands = collect_operands(problem, bank.whole.codes[0], "l", n_patches=64, rng=np.random.default_rng(0))
    assert operands.fan_in == problem.fan_in
    from dse.robustness.pruned_errors import _operands_of

    pruned = bank.pruned(0, 2)
    sparse = _operands_of(operands, pruned, True)
    assert sparse.fan_in == pytest.approx(float((~is_zero(pruned)).double().mean()) * problem.fan_in)
    assert sparse.weight_histograms[0, 128] == 0
    assert sparse.weight_histograms.sum() == pytest.approx(1.0)
    dense = _operands_of(operands, pruned, False)
    assert dense.fan_in == problem.fan_in
    assert dense.weight_histograms[0, 128] > 0.7


@pytest.mark.parametrize("scheme", ["unsigned-centered", "signed-symmetric"])
def test_error_tables_are_those_of_the_weights_that_a_layer_gets(scheme):
    """Also of codes that tuning would make zero, which stay."""
    from dse.robustness.pruned_errors import _error_tables

    bank = make_bank(scheme, "multiplied", "histogram")
    choices = bank.library.choices
    exact = bank.whole.library[bank.whole.library.exact_index].table
    for layer in range(bank.network.n_layers):
        tables = _error_tables(bank, layer)
        for choice, (m, level) in enumerate(zip(choices.multiplier, choices.level, strict=True)):
            before, after = bank.pruned(layer, level), bank.parameters(layer, choice).problem
            own, tuned = ((p.weight.to(torch.int64) - p.w_low).flatten().numpy() for p in (before, after))
            expected = bank.whole.library[m].table[:, tuned] - exact[:, own]
            np.testing.assert_array_equal(tables[m][:, own], expected)


def test_errors_grow_with_sparsity():
    bank = make_bank("unsigned-centered", "skipped")
    predicted, choices = predict_pruned_errors(bank), bank.library.choices
    exact = choices.position[bank.whole.library.exact_index]
    lost = predicted.std_folded[:, exact]
    assert (lost[:, 0] == 0).all()
    assert (np.diff(lost, axis=1) > 0).all()
