import pickle

import numpy as np
import pytest
import torch

from dse.cost.neuron_choices import NeuronChoices
from dse.errors import ShapeError
from dse.evaluation import Evaluator
from dse.networks.convert import quantize_network
from dse.quantization.affine import scheme_for
from dse.recovery.neurons import NeuronBank, mixed_operator, mixed_parameters
from dse.recovery.operators import OperatorBank, Recovery
from dse.simulation.ops import rescaled
from dse.simulation.problem import rescale
from dse.testing.tiny import tiny_library, tiny_network, tiny_split

SPLIT = tiny_split(20)
N_OUTPUTS = (6, 6, 8, 4)


def _plain_bank(is_signed=False, backend="auto", **recovery):
    network = quantize_network(tiny_network(), SPLIT, scheme=scheme_for(is_signed))
    return OperatorBank(
        network, tiny_library(is_signed=is_signed), SPLIT, recovery=Recovery(**recovery), backend=backend
    )


def _rankings(seed=0):
    rng = np.random.default_rng(seed)
    return [rng.permutation(n) for n in N_OUTPUTS]


def _neuron_bank(bank=None, shares=(25, 50), rankings=None, **arguments):
    bank = bank or _plain_bank()
    return NeuronBank(bank, NeuronChoices(bank.library, shares), rankings or _rankings(), **arguments)


RECOVERIES = {
    "none": {"fold_bias": False},
    "folding": {},
    "compensation": {"sum_compensation": True},
    "tuning": {"weight_tuning": "uniform"},
    "everything": {"sum_compensation": True, "weight_tuning": "histogram"},
}


@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("recovery", RECOVERIES)
def test_every_channel_is_that_of_its_multiplier(recovery, is_signed):
    bank, rng = _plain_bank(is_signed, **RECOVERIES[recovery]), np.random.default_rng(0)
    for layer, n_outputs in enumerate(N_OUTPUTS):
        codes = bank.codes[layer]
        plain = [bank.operator(layer, m)(codes) for m in range(len(bank.library))]
        multipliers = rng.integers(0, len(bank.library), n_outputs)
        mixed = mixed_operator(bank, layer, multipliers)(codes)
        for channel, m in enumerate(multipliers):
            assert torch.equal(mixed[:, channel], plain[m][:, channel])


@pytest.mark.parametrize("backend", ["factored", "reference"])
def test_other_backends_give_the_same(backend):
    recovery = RECOVERIES["everything"]
    banks = _plain_bank(**recovery), _plain_bank(backend=backend, **recovery)
    for layer, n_outputs in enumerate(N_OUTPUTS):
        multipliers = np.arange(n_outputs) % 3
        ours, theirs = (mixed_operator(bank, layer, multipliers)(bank.codes[layer]) for bank in banks)
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("is_sloped", [False, True])
def test_parameters_are_what_the_operator_computes_with(is_sloped):
    bank = _plain_bank(sum_compensation=is_sloped, weight_tuning="uniform")
    multipliers = np.array([0, 1, 2, 3, 4, 5, 0, 1])
    p = mixed_parameters(bank, 2, multipliers)
    assert (p.slope is not None) == is_sloped
    assert p.slope is None or not p.slope[multipliers == bank.library.exact_index].any()
    for channel, m in enumerate(multipliers):
        alone = bank.parameters(2, m)
        assert torch.equal(p.problem.weight[channel], alone.problem.weight[channel])
        assert p.bias[channel] == alone.bias[channel]


def test_one_multiplier_alone_has_no_slope_where_the_plain_one_has_none():
    bank = _plain_bank(sum_compensation=True)
    exact = bank.library.exact_index
    assert mixed_parameters(bank, 0, np.full(6, exact)).slope is None


def test_composites_give_the_cheaper_multiplier_to_the_most_resilient():
    bank = _neuron_bank()
    choices = bank.library.choices
    for index, choice in enumerate(choices):
        found = bank.library.multipliers(2, index)
        n_low = {0: 0, 25: 2, 50: 4}[choice.share_pct]
        assert set(np.flatnonzero(found == choice.low)) >= set(bank.library.rankings[2][:n_low])
        assert (found[bank.library.rankings[2][n_low:]] == choice.high).all()


def test_plain_choices_are_the_operators_of_the_bank():
    bank = _neuron_bank()
    choices = bank.library.choices
    for m, multiplier in enumerate(bank.bank.library):
        assert bank.operator(1, choices.index(multiplier.name)) is bank.bank.operator(1, m)


def test_operators_are_kept_within_memory():
    bank = _neuron_bank(memory_bytes=1)
    composites = [i for i, c in enumerate(bank.library.choices) if c.share_pct]
    kept = [bank.operator(2, i) for i in composites]
    assert len(bank._operators) == bank.network.n_layers
    assert bank.operator(2, composites[-1]) is kept[-1]
    assert bank._operators.n_bytes == sum(bank.operator(*key).sums.n_bytes for key in list(bank._operators))


def test_an_evaluator_takes_it():
    bank, split = _neuron_bank(), tiny_split(24, seed=1)
    evaluator, plain = Evaluator(bank, split), Evaluator(bank.bank, split)
    assert evaluator.n_multipliers == len(bank.library.choices)
    of = [bank.library.choices.index(m.name) for m in bank.bank.library]
    rows = np.random.default_rng(0).integers(0, len(of), (5, 4))
    assert np.array_equal(evaluator(np.array(of)[rows]), plain(rows))
    mixed = np.random.default_rng(1).integers(0, evaluator.n_multipliers, (6, 4))
    again = pickle.loads(pickle.dumps(evaluator))
    assert np.array_equal(evaluator(mixed), again(mixed))
    assert again.fingerprint == evaluator.fingerprint != plain.fingerprint


def test_fingerprints_cover_rankings_and_shares():
    bank, split = _plain_bank(), tiny_split()
    banks = [
        _neuron_bank(bank), _neuron_bank(bank, rankings=_rankings(1)), _neuron_bank(bank, shares=(25,)),
        _neuron_bank(bank, shares=(25, 75)),
    ]  # fmt: skip
    assert len({Evaluator(b, split).fingerprint for b in banks}) == 4
    assert Evaluator(_neuron_bank(bank), split).fingerprint == Evaluator(banks[0], split).fingerprint


def test_wrong_rankings_and_multipliers_are_refused():
    bank, rankings = _plain_bank(), _rankings()
    with pytest.raises(ShapeError, match="got 3 rankings: expected 4"):
        _neuron_bank(bank, rankings=rankings[:3])
    for wrong in (np.arange(5), np.array([0, 0, 1, 2, 3, 4]), np.arange(6) + 0.0, np.arange(1, 7)):
        with pytest.raises(ShapeError, match="each of its 6 neurons once"):
            _neuron_bank(bank, rankings=[wrong, *rankings[1:]])
    with pytest.raises(ShapeError, match="each of the 6 output channels"):
        mixed_operator(bank, 0, np.zeros(5, dtype=np.int64))
    with pytest.raises(ShapeError, match="expected 0 to 5"):
        mixed_parameters(bank, 0, np.full(6, 6))


def test_slopes_of_zero_change_nothing():
    bank = _plain_bank(sum_compensation=True)
    exact = bank.library.exact_index
    other = next(m for m in range(len(bank.library)) if bank.parameters(0, m).slope is not None)
    multipliers = np.array([exact] * 5 + [other])
    mixed, codes = mixed_operator(bank, 0, multipliers)(bank.codes[0]), bank.codes[0]
    layer = bank.network.integer_layers[0]
    expected = rescale(bank.exact_sums(0)(codes), layer.scale, layer.bias)
    assert torch.equal(mixed[:, :5], expected[:, :5])
    assert torch.equal(expected, rescaled(bank.exact_sums(0), codes, layer.scale, layer.bias))
