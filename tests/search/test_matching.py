from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.cost.accelerators import count_distinct
from dse.errors import ConfigError, ShapeError
from dse.pareto import nondominated
from dse.search.matching import (
    layer_energies,
    matched_assignments,
    mixed_matches,
    spread,
    tolerance_assignments,
    tolerance_curve,
)
from dse.search.space import FreeSpace


def matched(toy, **changes):
    settings = {"n_multiplications": toy.n_multiplications, "n_designs": 20} | changes
    return matched_assignments(toy.loss, toy.energy_rel, **settings)


def test_finds_every_supported_design_of_a_separable_problem(toy):
    toy = replace(toy, loss=toy.loss * 0.1)  # small enough that no sum meets the toy's limit
    space = FreeSpace(toy.n_layers, toy.n_multipliers)
    F_all = toy.measure(space, np.concatenate(list(space.enumerate())))
    F = toy.measure(space, matched(toy, n_designs=10_000, max_loss=np.inf))
    for lam in np.geomspace(1e-3, 1e3, 200):  # the best weighted sum is always among them
        assert (F @ [1, lam]).min() == pytest.approx((F_all @ [1, lam]).min())
    assert nondominated(np.concatenate([F, F_all]))[: len(F)].all()


@pytest.mark.parametrize("n_tiles", [1, 2, 3])
@pytest.mark.parametrize("max_subsets", [1000, 0])
def test_tiles_are_respected(toy, n_tiles, max_subsets, monkeypatch):
    monkeypatch.setattr("dse.search.matching.MAX_SUBSETS", max_subsets)
    designs = matched(toy, n_tiles=n_tiles)
    assert 1 < len(designs) <= 20
    assert count_distinct(designs).max() <= n_tiles


def test_unique_sorted_limited_integers(make_toy):
    toy = make_toy(20, 30)
    designs = matched(toy, n_designs=12)
    energy = toy.measure(FreeSpace(20, 30), designs)[:, 0]
    assert designs.dtype == np.int64
    assert len(np.unique(designs, axis=0)) == len(designs) == 12
    assert energy.tolist() == sorted(energy.tolist())
    assert np.diff(energy).max() < 0.3 * np.ptp(energy)


def test_unmeasured_multipliers_are_never_chosen(toy):
    loss = toy.loss.copy()
    loss[:, [0, 2]] = np.nan
    for n_tiles in (None, 2):
        designs = matched_assignments(
            loss, toy.energy_rel, n_multiplications=toy.n_multiplications, n_designs=50, n_tiles=n_tiles
        )
        assert not np.isin(designs, [0, 2]).any()


def test_predicted_collapse_is_left_out(toy):
    designs = matched(toy, max_loss=0.05)
    assert (toy.loss[np.arange(toy.n_layers), designs].sum(axis=1) <= 0.05).all()


def test_negative_losses_are_noise():
    designs = matched_assignments([[-0.1, 0.0]], [0.5, 1.0], n_multiplications=[10], n_designs=5)
    assert designs.tolist() == [[0]]


def test_a_free_lunch_is_taken():
    designs = matched_assignments(np.zeros((3, 2)), [0.5, 1.0], n_multiplications=[1, 2, 3], n_designs=5)
    assert designs.tolist() == [[0, 0, 0]]


def test_bad_arguments_are_named(toy):
    with pytest.raises(ShapeError, match=r"`loss` has shape \(2, 2\): expected \(5, 6\)"):
        matched_assignments(np.zeros((2, 2)), toy.energy_rel, n_multiplications=toy.n_multiplications, n_designs=3)
    with pytest.raises(ConfigError, match="no measured entry for layer 1"):
        matched_assignments([[0, 1], [np.nan, np.nan]], [0.5, 1], n_multiplications=[1, 1], n_designs=3)
    with pytest.raises(ConfigError, match="n_designs is 0"):
        matched(toy, n_designs=0)


@given(st.lists(st.floats(0, 1), max_size=20), st.integers(1, 8))
def test_spread(values, n_chosen):
    values = np.sort(np.array(values))
    chosen = spread(values, n_chosen)
    assert len(chosen) == min(n_chosen, len(values))
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    if n_chosen > 1 and len(values):
        assert values[chosen[0]] == values.min()
        assert values[chosen[-1]] == values.max()


def test_tolerances_take_the_cheapest_multiplier_that_fits():
    errors = np.array([[9.0, 4.0, 2.0, 0.0], [9.0, 4.0, 2.0, 0.0]])
    energy = [0.1, 0.5, 0.4, 1.0]  # the third is cheaper and better than the second
    chosen = tolerance_assignments(errors, [4.0, 1.0], energy, scales=[0.0, 1.0, 2.0, np.inf])
    assert chosen.tolist() == [[3, 3], [2, 3], [2, 2], [0, 0]]


def test_layers_without_tolerance_stay_exact_at_every_scale():
    errors = np.array([[5.0, 0.0], [5.0, 0.0]])
    chosen = tolerance_assignments(errors, [0.0, 1.0], [0.1, 1.0], scales=[1.0, np.inf])
    assert chosen.tolist() == [[1, 1], [1, 0]]


def test_tolerance_curve_holds_every_design_that_a_scale_gives():
    rng = np.random.default_rng(0)
    errors = np.column_stack([rng.uniform(0.1, 10, size=(5, 6)), np.zeros(5)])
    tolerance, energy = rng.uniform(0.1, 2, 5), np.linspace(0.1, 1, 7)
    curve = tolerance_curve(errors, tolerance, energy, n_multiplications=[1, 2, 3, 4, 5])
    scales = np.concatenate([[0], np.logspace(-2, 3, 300)])
    swept = tolerance_assignments(errors, tolerance, energy, scales=scales)
    assert {tuple(row) for row in swept} <= {tuple(row) for row in curve}
    weighted = energy[curve] @ np.array([1, 2, 3, 4, 5])
    assert (np.diff(weighted) >= 0).all()
    assert curve[-1].tolist() == [6] * 5


def test_tolerances_that_cannot_be_matched_are_refused():
    with pytest.raises(ConfigError, match="tolerance of layer 1 is nan"):
        tolerance_assignments([[1.0, 0.0]] * 2, [1.0, np.nan], [0.5, 1.0])
    with pytest.raises(ConfigError, match="without error"):
        tolerance_assignments([[1.0, 0.5]], [1.0], [0.5, 1.0])
    with pytest.raises(ShapeError, match="n_layers"):
        tolerance_assignments([[1.0, 0.0]], [1.0, 1.0], [0.5, 1.0])


def test_one_cost_by_layer_is_matched_as_energies_are(toy):
    costs = (layer_energies(toy.energy_rel, toy.n_multiplications),)
    assert np.array_equal(mixed_matches(toy.loss, costs, n_designs=20), matched(toy))


def test_two_costs_are_matched_in_mixes(toy):
    energy = layer_energies(toy.energy_rel, toy.n_multiplications)
    memory = energy[:, ::-1].copy()  # what is cheap in the one is dear in the other
    limits = {"n_designs": 50, "max_loss": np.inf}
    designs = mixed_matches(toy.loss * 1e-3, (energy, memory), **limits)
    assert len(np.unique(designs, axis=0)) == len(designs) <= 50
    layers = np.arange(toy.n_layers)
    sums = np.array([[cost[layers, row].sum() for cost in (energy, memory)] for row in designs])
    for column, cost in enumerate((energy, memory)):
        alone = mixed_matches(toy.loss * 1e-3, (cost,), **limits)
        assert sums[:, column].min() == pytest.approx(cost[layers, alone[0]].sum())
    assert len(set(np.round(sums[:, 0], 6))) > 2
