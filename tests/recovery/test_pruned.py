import pickle

import numpy as np
import pytest
import torch

from dse.cost.sparse_choices import SparseChoices
from dse.errors import ShapeError
from dse.evaluation import Evaluator
from dse.networks.convert import quantize_network
from dse.quantization.affine import SCHEMES, scheme_for
from dse.recovery.kept_weights import refitted
from dse.recovery.operators import OperatorBank, Recovery
from dse.recovery.pruned import PrunedBank
from dse.simulation.ops import prepare
from dse.simulation.reference import ReferenceConv
from dse.simulation.zero_weights import skipping_zeros
from dse.sparse.dcsr import decode, encode
from dse.sparse.pruning import is_zero, layer_mask, pruned_problem
from dse.testing.tiny import tiny_library, tiny_network, tiny_split

SPLIT = tiny_split(20)
LEVELS = (0, 40, 70)
RECOVERIES = {
    "none": {"fold_bias": False},
    "folding": {},
    "everything": {"sum_compensation": True, "weight_tuning": "histogram"},
}


def make_bank(scheme="unsigned-centered", zero_weights="skipped", backend="auto", refit=False, **recovery):
    network = quantize_network(tiny_network(), SPLIT, scheme=SCHEMES[scheme])
    library = tiny_library(is_signed=scheme == "signed-symmetric")
    plain = OperatorBank(network, library, SPLIT, recovery=Recovery(**recovery), backend=backend)
    choices = SparseChoices(library, LEVELS, zero_weights=zero_weights)
    layers = []
    for layer, codes in zip(network.integer_layers, plain.codes, strict=True):
        masks = [layer_mask(layer, level / 100) for level in LEVELS]
        fit = refitted(layer.problem, masks, codes, np.random.default_rng(0)) if refit else None
        layers.append(fit or [pruned_problem(layer.problem, mask) for mask in masks])
    return PrunedBank(plain, choices, layers)


def some_choices(bank):
    return range(0, len(bank.library), 4)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("zero_weights", ["multiplied", "skipped"])
@pytest.mark.parametrize("recovery", RECOVERIES)
def test_backends_equal_the_reference(scheme, zero_weights, recovery):
    fast, slow = (make_bank(scheme, zero_weights, backend, **RECOVERIES[recovery]) for backend in ("auto", "reference"))
    for layer, codes in enumerate(fast.whole.codes):
        for choice in some_choices(fast):
            assert torch.equal(fast.operator(layer, choice)(codes), slow.operator(layer, choice)(codes))


@pytest.mark.parametrize("scheme", ["unsigned-centered", "signed-symmetric"])
def test_sums_of_both_engines(scheme):
    """The sums are those of the table, with the column of zero made exact where zeros are skipped."""
    zero_code = 0 if scheme == "signed-symmetric" else 128
    for zero_weights in ("multiplied", "skipped"):
        bank = make_bank(scheme, zero_weights, fold_bias=False)
        for layer, codes in enumerate(bank.whole.codes):
            for c in some_choices(bank):
                choice = bank.library.choices[c]
                multiplier = bank.whole.library[choice.multiplier]
                if zero_weights == "skipped":
                    multiplier = skipping_zeros(multiplier, zero_code)
                problem = bank.pruned(layer, LEVELS.index(choice.sparsity_pct))
                wanted = ReferenceConv(problem, torch.tensor(multiplier.table))(codes)
                assert torch.equal(bank.operator(layer, c).sums(codes).to(torch.int32), wanted)


def test_without_pruning_and_skipping_it_is_the_plain_bank():
    bank = make_bank(zero_weights="multiplied", sum_compensation=True)
    for layer, codes in enumerate(bank.whole.codes):
        for m in range(len(bank.whole.library)):
            choice = int(bank.library.choices.position[m, 0])
            assert torch.equal(bank.operator(layer, choice)(codes), bank.whole.operator(layer, m)(codes))


@pytest.mark.parametrize("scheme", ["unsigned-centered", "signed-symmetric"])
@pytest.mark.parametrize("tuning", ["uniform", "histogram"])
def test_tuning_keeps_the_pattern(scheme, tuning):
    """So that memory and energy depend on the level only, and what is tuned still fits dCSR."""
    bank = make_bank(scheme, weight_tuning=tuning)
    for layer in range(bank.network.n_layers):
        for c, choice in enumerate(bank.library.choices):
            tuned, level = bank.parameters(layer, c).problem, LEVELS.index(choice.sparsity_pct)
            assert torch.equal(is_zero(tuned), is_zero(bank.pruned(layer, level)))
            assert torch.equal(tuned.constant, bank.pruned(layer, level).constant)
            matrix = (tuned.weight.to(torch.int16) - tuned.w_zero_point.view(-1, 1, 1, 1)).flatten(1).numpy()
            assert np.array_equal(decode(encode(matrix)), matrix)
            assert encode(matrix).n_bytes == encode(bank.matrix(layer, level)).n_bytes


def test_folding_takes_back_what_lost_weights_added_on_average():
    bank = make_bank(sum_compensation=False)
    exact = bank.whole.library.exact_index
    for layer, codes in enumerate(bank.whole.codes):
        whole = bank.whole.operator(layer, exact)(codes)
        for level in (1, 2):
            pruned = bank.operator(layer, int(bank.library.choices.position[exact, level]))(codes)
            plain = make_error(bank, layer, level, codes)
            assert (pruned - whole).mean((0, 2, 3)).abs().mean() < plain.mean((0, 2, 3)).abs().mean()


def make_error(bank, layer, level, codes):
    """Of a pruned layer with exact products, nothing folded."""
    library = bank.whole.library
    scale = bank.network.integer_layers[layer].scale.view(1, -1, 1, 1)
    sums = [
        prepare(problem, library[library.exact_index])(codes)
        for problem in (bank.pruned(layer, level), bank.pruned(layer, 0))
    ]
    return scale * (sums[0] - sums[1])


def test_parameters_are_what_operators_compute_with():
    bank = make_bank(sum_compensation=True, weight_tuning="uniform")
    for layer, codes in enumerate(bank.whole.codes):
        for c in some_choices(bank):
            p = bank.parameters(layer, c)
            shape = (1, -1, 1, 1)
            multiplier = skipping_zeros(bank.whole.library[bank.library.choices[c].multiplier], 128)
            sums = prepare(p.problem, multiplier)(codes).to(torch.float32)
            if p.slope is not None:
                sums = sums - bank.whole.input_sums(layer)(codes).to(torch.float32) * p.slope.view(shape)
            assert torch.equal(sums * p.scale.view(shape) + p.bias.view(shape), bank.operator(layer, c)(codes))


def test_a_bank_measures_and_travels():
    bank = make_bank()
    evaluator = Evaluator(bank, SPLIT)
    rng = np.random.default_rng(0)
    assignments = rng.integers(0, len(bank.library), (6, bank.network.n_layers))
    accuracies = evaluator(assignments)
    again = pickle.loads(pickle.dumps(evaluator))
    assert again.fingerprint == evaluator.fingerprint
    assert np.array_equal(again(assignments), accuracies)
    plain = make_bank()
    small = PrunedBank(plain.whole, plain.library.choices, plain.library.layers, memory_bytes=1)
    assert np.array_equal(Evaluator(small, SPLIT)(assignments), accuracies)
    exact = np.full((1, bank.network.n_layers), bank.library.choices.exact_index)
    plain = np.full((1, bank.network.n_layers), bank.whole.library.exact_index)
    assert Evaluator(bank, SPLIT)(exact) == Evaluator(bank.whole, SPLIT)(plain)


def test_fingerprints_tell_weights_and_engines_apart():
    prints = {
        make_bank().library.fingerprint,
        make_bank(refit=True).library.fingerprint,
        make_bank(zero_weights="multiplied").library.fingerprint,
    }
    assert len(prints) == 3
    assert make_bank().library.fingerprint in prints


@pytest.mark.parametrize("scheme", SCHEMES)
def test_refitting_brings_outputs_closer(scheme):
    network = quantize_network(tiny_network(), SPLIT, scheme=SCHEMES[scheme])
    library = tiny_library(is_signed=scheme == "signed-symmetric")
    bank = OperatorBank(network, library, SPLIT, recovery=Recovery())
    exact = library[library.exact_index]
    for layer, codes in zip(network.integer_layers, bank.codes, strict=True):
        masks = [layer_mask(layer, level) for level in (0.0, 0.4, 0.6)]
        fits = refitted(layer.problem, masks, codes, np.random.default_rng(0))
        assert torch.equal(fits[0].weight, layer.problem.weight)
        assert torch.equal(fits[0].constant, layer.problem.constant)
        whole = prepare(layer.problem, exact)(codes).to(torch.float64)
        for mask, fit in zip(masks[1:], fits[1:], strict=True):
            assert is_zero(fit)[torch.from_numpy(mask)].all()
            errors = [
                (prepare(p, exact)(codes) - whole).transpose(0, 1).flatten(1).var(1).sum()
                for p in (pruned_problem(layer.problem, mask), fit)
            ]
            assert errors[1] < errors[0]


def test_layers_that_do_not_fit_are_refused():
    bank = make_bank()
    layers = bank.library.layers
    choices = bank.library.choices
    for wrong in (layers[:-1], [levels[:-1] for levels in layers], [levels[::-1] for levels in layers], layers[::-1]):
        with pytest.raises(ShapeError, match="expected"):
            PrunedBank(bank.whole, choices, wrong)


def test_a_scheme_of_another_name_fits_its_multipliers():
    assert scheme_for(False, "unsigned-centered").centers_weights
