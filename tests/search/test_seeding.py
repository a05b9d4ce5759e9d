import numpy as np
import pytest

from dse.errors import ConfigError, ShapeError
from dse.search.seeding import (
    fresh_designs,
    initial_designs,
    loss_matrix,
    probe_multipliers,
    sensitivity_assignments,
    uniform_assignments,
    without_known,
)
from dse.search.space import FreeSpace, TiledSpace, row_keys


def groups_of(space, matched=()):
    """Exact is the last multiplier."""
    exact = np.full((1, space.n_layers), space.n_multipliers - 1)
    matched = np.array(matched, dtype=np.int64).reshape(-1, space.n_layers)
    uniform = uniform_assignments(space.n_layers, space.n_multipliers)
    return {"exact": exact, "matched": matched, "uniform": uniform}


def test_sensitivity_assignments_change_one_layer():
    assignments = sensitivity_assignments(4, 6, exact_index=3, probes=[5, 0, 3])
    assert assignments.dtype == np.int64
    assert assignments.shape == (8, 4)
    assert ((assignments != 3).sum(axis=1) == 1).all()
    assert [row[row != 3][0] for row in assignments] == [0, 5] * 4


def test_losses_return_to_their_place(toy):
    probes = [0, 2, 4]
    sizes = {"n_layers": toy.n_layers, "n_multipliers": toy.n_multipliers, "exact_index": toy.exact_index}
    assignments = sensitivity_assignments(**sizes, probes=probes)
    accuracies = 0.9 - toy.loss[np.arange(toy.n_layers), assignments].sum(axis=1)
    loss = loss_matrix(accuracies, 0.9, **sizes, probes=probes)
    np.testing.assert_allclose(loss[:, probes], toy.loss[:, probes])
    assert (loss[:, toy.exact_index] == 0).all()
    assert np.isnan(loss[:, [1, 3]]).all()


def test_nothing_to_probe():
    assert sensitivity_assignments(3, 1, exact_index=0).shape == (0, 3)


def test_bad_probes_and_accuracies_are_named():
    with pytest.raises(ConfigError, match="probes hold 0 to 6: expected positions 0 to 5"):
        sensitivity_assignments(4, 6, exact_index=3, probes=[0, 6])
    with pytest.raises(ShapeError, match=r"`accuracies` has shape \(3,\): expected \(4,\)"):
        loss_matrix(np.zeros(3), 0.9, n_layers=2, n_multipliers=3, exact_index=2)
    with pytest.raises(ConfigError, match="n_probes is 0"):
        probe_multipliers([0.1, 1.0], 0)


def test_initial_designs_hold_exact_matched_and_uniform_once():
    space = FreeSpace(3, 4)
    initial = initial_designs(space, groups_of(space, [[0, 1, 2], [3, 3, 3], [0, 1, 2]]))
    assert initial.genomes.tolist() == [[3, 3, 3], [0, 1, 2], [0, 0, 0], [1, 1, 1], [2, 2, 2]]
    assert initial.genomes.dtype == np.int64
    assert initial.origins == ("exact", "matched", "uniform", "uniform", "uniform")


def test_initial_designs_keep_to_what_tiles_represent():
    space = TiledSpace(3, 4, 2)
    initial = initial_designs(space, groups_of(space, [[0, 1, 2], [0, 1, 1]]))
    assert space.decode(initial.genomes).assignments.tolist() == [[3, 3, 3], [0, 1, 1], [0, 0, 0], [1, 1, 1], [2, 2, 2]]


def test_number_of_initial_designs_can_be_limited():
    space = FreeSpace(3, 4)
    initial = initial_designs(space, groups_of(space, [[3, 3, 3], [0, 1, 2]]), n_designs=2)
    assert initial.genomes.tolist() == [[3, 3, 3], [0, 1, 2]]
    assert initial.origins == ("exact", "matched")
    nothing = initial_designs(space, {})
    assert nothing.genomes.shape == (0, 3)


@pytest.mark.parametrize("space", [FreeSpace(6, 5), TiledSpace(6, 5, 2), TiledSpace(6, 5, 3, merge_equal=False)])
@pytest.mark.parametrize("is_seeded", [True, False])
def test_fresh_designs_are_new_unique_and_canonical(space, is_seeded):
    rng = np.random.default_rng(0)
    old = initial_designs(space, groups_of(space)).genomes
    X = fresh_designs(space, 50, rng=rng, seen=set(row_keys(old)), around=old if is_seeded else None)
    assert X.dtype == np.int64
    assert len(set(row_keys(X))) == len(X) == 50
    assert not set(row_keys(X)) & set(row_keys(old))
    np.testing.assert_array_equal(space.canonicalize(X), X)


def test_fresh_designs_exhaust_a_small_space():
    space = TiledSpace(3, 3, 2)
    old = space.encode(uniform_assignments(3, 3))
    X = fresh_designs(space, 1000, rng=np.random.default_rng(0), seen=set(row_keys(old)))
    assert len(X) == space.n_designs - 3
    assert fresh_designs(space, 1, rng=np.random.default_rng(0), seen=set(row_keys(X)) | set(row_keys(old))).size == 0


def test_without_known_keeps_first_copies():
    X = np.array([[1, 2], [3, 4], [1, 2], [5, 6]])
    assert without_known(X, set(row_keys(X[1:2]))).tolist() == [[1, 2], [5, 6]]
