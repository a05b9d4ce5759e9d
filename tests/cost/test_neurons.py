from dataclasses import dataclass

import numpy as np
import pytest

from dse.cost.accelerators import Designs, make_accelerator
from dse.cost.neuron_choices import NeuronChoices
from dse.cost.neurons import make_neuron_accelerator
from dse.errors import ConfigError, ShapeError
from dse.testing.fakes import fake_library


@dataclass(frozen=True)
class Layer:
    name: str
    n_multiplications: int
    weight_shape: tuple[int, ...]


LAYERS = (Layer("conv", 3000, (16, 3, 3, 3)), Layer("linear", 1000, (10, 16)))


@pytest.fixture
def choices():
    return NeuronChoices(fake_library(), [25, 50])


def test_plain_choices_cost_what_they_cost_without_neurons(choices):
    ours = make_neuron_accelerator("free", LAYERS, choices)
    plain = make_accelerator("free", LAYERS, library=choices.library)
    rows = np.random.default_rng(0).integers(0, 5, (9, 2))
    of = np.array([choices.index(name) for name in choices.library.names])
    for name in ("energy_rel", "energy_pj", "throughput"):
        found, expected = getattr(ours, name)(Designs(of[rows])), getattr(plain, name)(Designs(rows))
        assert found == pytest.approx(expected)
    assert ours.energy_rel(Designs(np.full((1, 2), choices.exact_index))) == 1.0
    assert ours.name == "free"
    assert ours.n_tiles is None


def test_the_real_number_of_neurons_counts(choices):
    accelerator = make_neuron_accelerator("free", LAYERS, choices)
    designs = Designs(np.array([[choices.index("exact+t8@25")] * 2]))
    # 4 of 16 and 3 of 10 neurons at a fifth of the energy
    expected = 0.75 * (12 + 4 * 0.2) / 16 + 0.25 * (7 + 3 * 0.2) / 10
    assert accelerator.energy_rel(designs) == pytest.approx([expected])
    exact_pj = accelerator.energy_pj(Designs(np.full((1, 2), choices.exact_index)))
    assert accelerator.energy_pj(designs) == pytest.approx(expected * exact_pj)


def test_refusals(choices):
    for text in ("tiles:2", "pipelined:2"):
        with pytest.raises(ConfigError, match="a tile holds one multiplier"):
            make_neuron_accelerator(text, LAYERS, choices)
    with pytest.raises(ShapeError, match="expected 0 to 24"):
        make_neuron_accelerator("free", LAYERS, choices).energy_rel(Designs(np.array([[0, 25]])))
