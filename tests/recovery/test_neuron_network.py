"""The network under AxNN's loop: levels, sensitivities, retraining, and what is kept of it."""

import numpy as np
import pytest
import torch

from dse.cost.quality_engine import QualityConfigurableEngine, precision_level
from dse.datasets import load_splits
from dse.multipliers.families import exact
from dse.multipliers.library import Library
from dse.multipliers.precision import precision_levels
from dse.networks.convert import quantize_network
from dse.networks.zoo import create_network
from dse.quantization.affine import scheme_for
from dse.recovery.finetuning_settings import FinetuningSettings
from dse.recovery.neuron_network import NeuronNetwork
from dse.recovery.operators import OperatorBank, Recovery
from dse.recovery.switchable import switchable_network

BITS = (8, 6, 4, 2)
SETTINGS = FinetuningSettings(epochs=1, batch_size=32, learning_rate=5e-4, reconstruction=False, patience=None)


@pytest.fixture(scope="module")
def splits():
    return load_splits("digits", n_calibration=160, n_search=160)


@pytest.fixture(scope="module")
def bank(splits):
    integer = quantize_network(create_network("digits_cnn"), splits.calibration, scheme=scheme_for(False))
    library = Library([exact(), *precision_levels(exact(), BITS[1:])]).searchable()
    return OperatorBank(integer, library, splits.calibration, recovery=Recovery())


@pytest.fixture
def neurons(bank, splits, tmp_path):
    names = ["u8_exact", *(m.name for m in precision_levels(exact(), BITS[1:]))]
    levels = [precision_level(name, bits) for name, bits in zip(names, BITS, strict=True)]
    engine = QualityConfigurableEngine(bank.network.layers, levels)
    positions = np.array([bank.library.index(name) for name in names])
    return NeuronNetwork(
        bank, engine, positions, splits.calibration, splits.search, SETTINGS, checkpoint=tmp_path / "retraining.pt"
    )


def half_lowered(neurons, level=2):
    levels = np.zeros(len(neurons.energy_pj), dtype=np.int64)
    levels[::2] = level
    return levels


def test_it_begins_exact(neurons, bank, splits):
    exact_row = np.full((1, bank.network.n_layers), bank.library.exact_index)
    expected = switchable_network(bank, exact_row)
    assert torch.equal(neurons.network(splits.search.images), expected(splits.search.images))
    assert neurons.accuracy_exact == expected.hits(splits.search).mean()
    assert neurons.energy_rel(np.zeros(len(neurons.energy_pj), dtype=np.int64)) == 1


def test_figures_of_neurons(neurons, bank):
    n_neurons = sum(info.weight_shape[0] for info in bank.network.layers)
    assert neurons.energy_pj.shape == neurons.error.shape == (n_neurons, len(BITS))
    assert (np.diff(neurons.energy_pj) < 0).all()
    assert (neurons.error[:, 0] == 0).all()
    assert (np.diff(neurons.error) >= 0).all()
    assert (neurons.error[:, -1] > 0.1).any()  # two bits are rough
    for found in (neurons.sensitivities(), neurons.scores()):
        assert found.shape == (n_neurons,)
        assert (found >= 0).all()
        assert found.max() > 0


def test_retraining_helps_is_kept_when_accepted_and_starts_from_there(neurons, bank, splits, tmp_path):
    levels = half_lowered(neurons, level=3)
    exact_before = neurons.network(splits.search.images)
    untrained = switchable_network(bank, neurons._rows(levels)).hits(splits.search).mean()
    accuracy = neurons.retrain(levels)
    assert accuracy > untrained
    assert not list(tmp_path.iterdir())  # the checkpoint of the retraining is gone
    assert torch.equal(neurons.network(splits.search.images), exact_before)  # not accepted yet
    before = neurons.sensitivities()
    assert 0 <= neurons.loss_error() < 0.1
    neurons.accept()
    assert neurons.network.hits(splits.search).mean() == accuracy
    assert not np.array_equal(neurons.sensitivities(), before)
    assert neurons.energy_rel(levels) < 1
    again = neurons.retrain(levels)  # from the accepted network, which is the least that comes out
    assert again >= accuracy


def test_state_goes_into_another_one(neurons, bank, splits):
    neurons.retrain(half_lowered(neurons))
    neurons.accept()
    other = NeuronNetwork(bank, neurons._engine, neurons._multipliers, splits.calibration, splits.search, SETTINGS)
    other.load_state(neurons.state())
    assert torch.equal(neurons.network(splits.search.images), other.network(splits.search.images))
    np.testing.assert_array_equal(neurons.sensitivities(), other.sensitivities())
    lower = half_lowered(neurons, level=3)
    assert neurons.retrain(lower) == other.retrain(lower)
