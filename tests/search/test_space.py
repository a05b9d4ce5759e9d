from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dse.errors import ConfigError, ShapeError
from dse.search.space import FreeSpace, TiledSpace, make_space, row_keys


@st.composite
def tiled_genomes(draw):
    n_layers = draw(st.integers(1, 6))
    space = TiledSpace(
        n_layers, draw(st.integers(1, 7)), draw(st.integers(1, n_layers)), merge_equal=draw(st.booleans())
    )
    unit = draw(arrays(np.float64, (draw(st.integers(0, 5)), space.n_genes), elements=st.floats(0, 1)))
    return space, np.floor(unit * (space.upper + 0.999)).astype(np.int64)


def partition(tiles):
    """The tiles as a set of sets of layers."""
    return {tuple(np.flatnonzero(tiles == tile)) for tile in set(tiles.tolist())}


@given(tiled_genomes())
def test_canonicalize_keeps_the_design(case):
    space, X = case
    before = X.copy()
    canonical = space.canonicalize(X)
    np.testing.assert_array_equal(X, before)
    assert canonical.dtype == np.int64
    raw, clean = space.decode(X), space.decode(canonical)
    np.testing.assert_array_equal(clean.assignments, raw.assignments)
    if not space.merge_equal:
        for a, b in zip(raw.tiles, clean.tiles, strict=True):
            assert partition(a) == partition(b)


@given(tiled_genomes())
def test_canonicalize_is_idempotent(case):
    space, X = case
    canonical = space.canonicalize(X)
    np.testing.assert_array_equal(space.canonicalize(canonical), canonical)


@given(tiled_genomes(), st.randoms(use_true_random=False))
def test_renamed_tiles_have_one_canonical_form(case, random):
    space, X = case
    order = list(range(space.n_tiles))
    random.shuffle(order)
    multipliers, tiles = X[:, : space.n_tiles], X[:, space.n_tiles :]
    renamed = np.empty_like(X)
    renamed[:, : space.n_tiles] = multipliers[:, order]
    renamed[:, space.n_tiles :] = np.argsort(order)[tiles]
    np.testing.assert_array_equal(space.canonicalize(renamed), space.canonicalize(X))


@given(tiled_genomes())
def test_canonical_tiles_are_ordered_and_within_reach(case):
    space, X = case
    designs = space.decode(space.canonicalize(X))
    for multipliers, tiles in zip(designs.tile_multipliers, designs.tiles, strict=True):
        n_used = len(set(tiles.tolist()))
        assert sorted(set(tiles.tolist())) == list(range(n_used))
        assert multipliers[:n_used].tolist() == sorted(multipliers[:n_used].tolist())
        assert n_used <= space.n_tiles
        if space.merge_equal:
            assert len(set(multipliers[:n_used].tolist())) == n_used


@given(tiled_genomes())
def test_merged_genomes_are_equal_exactly_when_assignments_are(case):
    space, X = case
    if space.merge_equal:
        genomes, assignments = space.canonicalize(X), space.decode(X).assignments
        same_genome = (genomes[:, None] == genomes[None]).all(axis=2)
        np.testing.assert_array_equal(same_genome, (assignments[:, None] == assignments[None]).all(axis=2))
        np.testing.assert_array_equal(space.encode(assignments), genomes)


@pytest.mark.parametrize("merge_equal", [True, False])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 2, 2), (3, 4, 3), (4, 3, 2), (4, 2, 4), (5, 3, 1)])
def test_enumeration_lists_every_design_once(sizes, merge_equal):
    space = TiledSpace(*sizes, merge_equal=merge_equal)
    X = np.concatenate(list(space.enumerate()))
    assert len(set(row_keys(X))) == len(X) == space.n_designs
    np.testing.assert_array_equal(space.canonicalize(X), X)
    if space.merge_equal:
        everything = np.concatenate(list(FreeSpace(sizes[0], sizes[1]).enumerate()))
        assert space.is_representable(everything).sum() == space.n_designs


def test_free_enumeration():
    space = FreeSpace(3, 4)
    X = np.concatenate(list(space.enumerate()))
    assert len(set(row_keys(X))) == len(X) == space.n_designs == 64


def test_sizes_of_real_spaces_do_not_overflow():
    assert FreeSpace(50, 37).n_designs == 37**50
    assert TiledSpace(50, 37, 50).n_designs == 37**50
    assert TiledSpace(50, 37, 1).n_designs == 37


def test_tiles_of_unused_slots_bring_in_other_multipliers():
    genome = TiledSpace(4, 10, 3).encode([[7, 7, 7, 7]])[0]
    assert genome.tolist() == [7, 2, 7, 0, 0, 0, 0]


def test_unrepresentable_assignments_are_named():
    space = TiledSpace(3, 5, 2)
    assert space.is_representable([[0, 1, 1], [0, 1, 2]]).tolist() == [True, False]
    with pytest.raises(ConfigError, match="assignment 1 uses 3 multipliers: expected at most 2"):
        space.encode([[0, 1, 1], [0, 1, 2]])


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([[0.0, 1.0, 2.0]], "type float64"),
        ([[0, 1]], r"expected integers \(n, 3\)"),
        ([[0, 1, 5]], "out of bounds in gene 2: expected 0 to 4"),
        ([[-1, 1, 2]], "out of bounds in gene 0"),
    ],
)
def test_bad_genomes_are_named(X, message):
    with pytest.raises(ShapeError, match=message):
        FreeSpace(3, 5).decode(X)


def test_bad_sizes_are_named():
    with pytest.raises(ConfigError, match="n_layers is 0"):
        FreeSpace(0, 5)
    with pytest.raises(ConfigError, match="n_tiles is 4: expected 1 to 3"):
        TiledSpace(3, 5, 4)


@dataclass(frozen=True)
class Hardware:
    n_tiles: int | None
    is_concurrent: bool = False


def test_space_of_an_accelerator():
    assert isinstance(make_space(Hardware(None), 4, n_multipliers=3), FreeSpace)
    assert isinstance(make_space(Hardware(4), 4, n_multipliers=3), FreeSpace)
    tiled = make_space(Hardware(2), 4, n_multipliers=3)
    assert (tiled.n_tiles, tiled.merge_equal) == (2, True)
    pipelined = make_space(Hardware(4, is_concurrent=True), 4, n_multipliers=3)
    assert (pipelined.n_tiles, pipelined.merge_equal) == (4, False)
