import numpy as np
import pytest

from dse.cost.quality_engine import (
    ACTIVATION_PJ,
    ADDITION_PJ,
    MULTIPLICATION_PJ,
    SWITCH_PJ,
    QualityConfigurableEngine,
    precision_level,
)
from dse.errors import ConfigError, ShapeError
from dse.networks.layers import LayerInfo

LAYERS = (
    LayerInfo("conv", "conv2d", (3, 2, 3, 3), (3, 4, 5), 1, 18, 54, 3 * 20 * 18),
    LayerInfo("linear", "linear", (2, 60), (2,), 1, 60, 120, 120),
)
BITS = (8, 6, 4, 2)
LEVELS = tuple(precision_level(f"p{bits}", bits) for bits in BITS)


def by_hand(design):
    """One product, one output and one register at a time."""
    total, neuron = 0.0, 0
    for layer in LAYERS:
        n_positions = int(np.prod(layer.output_shape[1:]))
        used = set()
        for _ in range(layer.weight_shape[0]):
            share = BITS[design[neuron]] / 8
            product = MULTIPLICATION_PJ * share**2 + ADDITION_PJ * share
            total += n_positions * (layer.fan_in * product + ACTIVATION_PJ)
            used.add(design[neuron])
            neuron += 1
        total += SWITCH_PJ * len(used)
    return total


def test_energy_by_hand():
    engine = QualityConfigurableEngine(LAYERS, LEVELS)
    designs = np.random.default_rng(0).integers(0, 4, (20, 5))
    assert engine.energy_pj(designs) == pytest.approx([by_hand(row) for row in designs])
    assert engine.energy_rel(np.zeros((1, 5), dtype=int)) == pytest.approx([1.0])
    assert engine.energy_rel(designs) == pytest.approx([by_hand(row) / by_hand([0] * 5) for row in designs])
    assert engine.neuron_pj.shape == (5, 4)
    assert (np.diff(engine.neuron_pj) < 0).all()


def test_refusals():
    with pytest.raises(ConfigError, match="1 bits: expected 2 to 8"):
        precision_level("p1", 1)
    with pytest.raises(ConfigError, match="from exact to cheapest"):
        QualityConfigurableEngine(LAYERS, LEVELS[::-1])
    with pytest.raises(ConfigError, match="at least one below"):
        QualityConfigurableEngine(LAYERS, LEVELS[:1])
    engine = QualityConfigurableEngine(LAYERS, LEVELS)
    with pytest.raises(ShapeError, match=r"\[n, 5\]"):
        engine.energy_pj(np.zeros((1, 4), dtype=int))
    with pytest.raises(ShapeError, match=r"0\.\.3"):
        engine.energy_pj(np.full((1, 5), 4))
