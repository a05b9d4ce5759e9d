"""Energy and memory of layers that may be pruned."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.cost.accelerators import Designs, make_accelerator
from dse.cost.sparse_choices import SparseChoices
from dse.cost.sparsity import make_sparse_accelerator
from dse.cost.weight_memory import WeightMemory
from dse.errors import ConfigError, ShapeError
from dse.testing.fakes import FakeLayer, fake_library

LAYERS = (FakeLayer("a", 100), FakeLayer("b", 300), FakeLayer("c", 600))
DENSITIES = np.array([[0.97, 0.5, 0.2], [1.0, 0.5, 0.19], [0.9, 0.49, 0.2]])
LEVELS = [0, 50, 80]


def choices_for(zero_weights):
    return SparseChoices(fake_library(), LEVELS, zero_weights=zero_weights)


@given(st.integers(0, 10_000), st.sampled_from(["multiplied", "skipped"]))
def test_energy_counts_what_is_multiplied(seed, zero_weights):
    choices, rng = choices_for(zero_weights), np.random.default_rng(seed)
    accelerator = make_sparse_accelerator("free", LAYERS, choices, DENSITIES)
    assignments = rng.integers(0, len(choices), (4, 3))
    wanted = np.zeros(4)
    for layer, info in enumerate(LAYERS):
        share = DENSITIES[layer, choices.level[assignments[:, layer]]] if zero_weights == "skipped" else 1.0
        wanted += info.n_multiplications * share * choices.library.energy_rel[choices.multiplier[assignments[:, layer]]]
    assert accelerator.energy_rel(Designs(assignments)) == pytest.approx(wanted / 1000)
    assert accelerator.energy_pj(Designs(assignments)) == pytest.approx(wanted * 10)  # mW at 1000 MHz


def test_without_pruning_and_skipping_it_is_the_plain_accelerator():
    choices = choices_for("multiplied")
    plain = make_accelerator("free", LAYERS, choices.library)
    sparse = make_sparse_accelerator("free", LAYERS, choices, DENSITIES)
    multipliers = np.random.default_rng(0).integers(0, len(choices.library), (5, 3))
    designs = Designs(choices.position[multipliers, 0])
    assert sparse.energy_rel(designs) == pytest.approx(plain.energy_rel(Designs(multipliers)))
    assert sparse.throughput(designs) == pytest.approx(plain.throughput(Designs(multipliers)))


def test_skipped_products_take_no_time():
    choices = choices_for("skipped")
    accelerator = make_sparse_accelerator("free", LAYERS, choices, DENSITIES)
    designs = Designs(np.array([choices.position[4, [0, 0, 0]], choices.position[4, [2, 2, 2]]]))
    assert accelerator.throughput(designs) == pytest.approx(256e9 / np.array([937, 197]))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="expected 'free'"):
        make_sparse_accelerator("tiles:2", LAYERS, choices_for("skipped"), DENSITIES)
    with pytest.raises(ShapeError, match=r"expected \(3, 3\)"):
        make_sparse_accelerator("free", LAYERS, choices_for("skipped"), DENSITIES[:, :2])


@pytest.fixture(scope="module")
def memory():
    sizes = np.array([[60, 30, 20], [200, 110, 40], [130, 90, 50]])
    counts = np.array([[50, 25, 10], [150, 75, 30], [100, 50, 20]])
    return WeightMemory(choices_for("skipped"), np.array([50, 150, 100]), counts, sizes)


def test_the_smaller_form_counts(memory):
    assert memory.dense_bytes == 300
    assert memory.layer_bytes.tolist() == [[50, 30, 20], [150, 110, 40], [100, 90, 50]]
    position = memory.choices.position
    designs = Designs(np.array([position[[0, 1, 2], [0, 0, 0]], position[[4, 4, 4], [0, 1, 2]]]))
    assert memory.bytes(designs).tolist() == [300, 210]
    assert memory.rel(designs).tolist() == [1.0, 0.7]


def test_densities(memory):
    assert memory.densities.tolist() == [[1.0, 0.5, 0.2]] * 3


def test_memory_adds_up_by_layer(memory):
    assignments = np.random.default_rng(0).integers(0, len(memory.choices), (20, 3))
    by_layer = memory.layer_rel[np.arange(3), assignments].sum(axis=1)
    assert memory.rel(Designs(assignments)) == pytest.approx(by_layer)


def test_memory_checks_shapes(memory):
    with pytest.raises(ShapeError, match="layers by levels"):
        WeightMemory(memory.choices, memory.n_weights, memory.n_nonzero, memory.dcsr_bytes[:, :2])
    with pytest.raises(ShapeError, match="counts of weights have shape"):
        WeightMemory(memory.choices, memory.n_weights, memory.n_nonzero[:2], memory.dcsr_bytes)
    with pytest.raises(ShapeError, match="indices"):
        memory.bytes(Designs(np.full((1, 3), len(memory.choices))))
