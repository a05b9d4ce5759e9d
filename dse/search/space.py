"""Search spaces: integer genomes, what design each one means, and its one canonical form.

`FreeSpace` has one gene per layer, the multiplier. `TiledSpace` follows ALWANN (Mrazek et al., ICCAD 2019,
arXiv:1907.07229): `T` genes for the multipliers of the tiles, then one gene per layer for its tile. Several tiled
genomes mean one design (tiles can be renamed, unused tiles hold anything), so genomes are made canonical before they
are compared, crossed or counted; two canonical genomes are equal exactly when their designs are.

Multipliers are positions in a library in ascending energy, so a neighbouring index is a neighbour in energy.
"""

from collections.abc import Iterator
from itertools import islice, product
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.cost.accelerators import Accelerator, Designs, count_distinct
from dse.errors import ConfigError, ShapeError


class Space(Protocol):
    """Genomes X, int64 [n, n_genes], and the designs they stand for.

    Attributes:
        n_layers: Layers of the network.
        n_multipliers: Multipliers of the library.
        n_genes: Length of a genome.
        n_designs: Number of different designs, an exact integer of any size.
        segments: Runs of genes with one meaning, which crossover treats apart.
        lower: Smallest value of each gene, int64 [n_genes].
        upper: Largest value of each gene (inclusive), int64 [n_genes].
    """

    n_layers: int
    n_multipliers: int
    n_genes: int
    n_designs: int
    segments: tuple[slice, ...]
    lower: NDArray[np.int64]
    upper: NDArray[np.int64]

    def decode(self, X: ArrayLike) -> Designs:
        """Designs of genomes [n, n_genes], canonical or not."""

    def canonicalize(self, X: ArrayLike) -> NDArray[np.int64]:
        """The one genome of each row's design, int64 [n, n_genes]; decodes to the same assignments."""

    def encode(self, assignments: ArrayLike) -> NDArray[np.int64]:
        """Canonical genomes of assignments [n, n_layers]; a `ConfigError` where one is not representable."""

    def is_representable(self, assignments: ArrayLike) -> NDArray[np.bool_]:
        """Which assignments [n, n_layers] have a genome, bool [n]."""

    def enumerate(self) -> Iterator[NDArray[np.int64]]:
        """Canonical genomes of all designs, each once, in batches of at most `ENUMERATION_BATCH` rows."""


ENUMERATION_BATCH = 4096


class FreeSpace:
    """Any multiplier in any layer: the genome is the assignment."""

    def __init__(self, n_layers: int, n_multipliers: int) -> None:
        _check_sizes(n_layers, n_multipliers)
        self.n_layers = n_layers
        self.n_multipliers = n_multipliers
        self.n_genes = n_layers
        self.n_designs = n_multipliers**n_layers
        self.segments = (slice(0, n_layers),)
        self.lower = np.zeros(n_layers, dtype=np.int64)
        self.upper = np.full(n_layers, n_multipliers - 1, dtype=np.int64)

    def decode(self, X: ArrayLike) -> Designs:
        """See `Space`."""
        return Designs(assignments=checked_genomes(X, self))

    def canonicalize(self, X: ArrayLike) -> NDArray[np.int64]:
        """See `Space`."""
        return checked_genomes(X, self).copy()

    def encode(self, assignments: ArrayLike) -> NDArray[np.int64]:
        """See `Space`."""
        return checked_genomes(assignments, self).copy()

    def is_representable(self, assignments: ArrayLike) -> NDArray[np.bool_]:
        """See `Space`; all are."""
        return np.ones(len(checked_genomes(assignments, self)), dtype=np.bool_)

    def enumerate(self) -> Iterator[NDArray[np.int64]]:
        """See `Space`."""
        yield from _in_batches(product(range(self.n_multipliers), repeat=self.n_layers))


class TiledSpace:
    """`n_tiles` tiles with one multiplier each, and a tile for every layer.

    Canonical form: tiles in ascending order of their multiplier, then of the first layer they serve, numbered from 0;
    unused tiles last. A slot of an unused tile holds a multiplier that depends only on the number of unused tiles,
    spread over the library, so that one changed layer gene brings a new multiplier into use.

    Args:
        n_layers: Layers of the network.
        n_multipliers: Multipliers of the library.
        n_tiles: Tiles, 1 to n_layers.
        merge_equal: Treat tiles with the same multiplier as one. Right where only the assignment counts
            (`tiles:T`); concurrent tiles (`pipelined:T`) stay apart, because sharing the work is their purpose.
    """

    def __init__(self, n_layers: int, n_multipliers: int, n_tiles: int, *, merge_equal: bool = True) -> None:
        _check_sizes(n_layers, n_multipliers)
        if not 1 <= n_tiles <= n_layers:
            raise ConfigError(f"n_tiles is {n_tiles}: expected 1 to {n_layers}, the number of layers")
        self.n_layers = n_layers
        self.n_multipliers = n_multipliers
        self.n_tiles = n_tiles
        self.merge_equal = merge_equal
        self.n_genes = n_tiles + n_layers
        self.n_designs = _count_tiled(n_layers, n_multipliers, n_tiles=n_tiles, merge_equal=merge_equal)
        self.segments = (slice(0, n_tiles), slice(n_tiles, n_tiles + n_layers))
        self.lower = np.zeros(self.n_genes, dtype=np.int64)
        self.upper = np.repeat([n_multipliers - 1, n_tiles - 1], [n_tiles, n_layers]).astype(np.int64)

    def decode(self, X: ArrayLike) -> Designs:
        """See `Space`."""
        X = checked_genomes(X, self)
        tile_multipliers, tiles = X[:, : self.n_tiles], X[:, self.n_tiles :]
        return Designs(np.take_along_axis(tile_multipliers, tiles, axis=1), tiles, tile_multipliers)

    def canonicalize(self, X: ArrayLike) -> NDArray[np.int64]:
        """See `Space`."""
        X = checked_genomes(X, self)
        canonical = np.empty_like(X)
        for row, genome in enumerate(X):
            multipliers, tiles = genome[: self.n_tiles], genome[self.n_tiles :]
            groups = multipliers[tiles] if self.merge_equal else tiles
            canonical[row] = self._from_groups(groups, multipliers[tiles])
        return canonical

    def encode(self, assignments: ArrayLike) -> NDArray[np.int64]:
        """See `Space`; layers with the same multiplier share a tile."""
        assignments = _check_layers(assignments, self)
        representable = self.is_representable(assignments)
        if not representable.all():
            row = int(np.flatnonzero(~representable)[0])
            raise ConfigError(
                f"assignment {row} uses {len(set(assignments[row].tolist()))} multipliers: expected at most "
                f"{self.n_tiles}, one per tile; drop it or use more tiles"
            )
        genomes = [self._from_groups(assignment, assignment) for assignment in assignments]
        return np.array(genomes, dtype=np.int64).reshape(-1, self.n_genes)

    def is_representable(self, assignments: ArrayLike) -> NDArray[np.bool_]:
        """See `Space`: at most `n_tiles` different multipliers."""
        return count_distinct(_check_layers(assignments, self)) <= self.n_tiles

    def enumerate(self) -> Iterator[NDArray[np.int64]]:
        """See `Space`."""
        for batch in _in_batches(self._grow([], [])):
            yield self.canonicalize(batch)

    def _from_groups(self, groups: NDArray[np.int64], assignment: NDArray[np.int64]) -> NDArray[np.int64]:
        """Canonical genome of layers that share a tile where `groups` is equal; both arguments int64 [n_layers]."""
        _, first_layer, inverse = np.unique(groups, return_index=True, return_inverse=True)
        multipliers = assignment[first_layer]
        order = np.lexsort((first_layer, multipliers))
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        n_unused = self.n_tiles - len(order)
        spread = (2 * np.arange(n_unused) + 1) * self.n_multipliers // (2 * max(n_unused, 1))
        return np.concatenate([multipliers[order], spread, rank[inverse]])

    def _grow(self, multipliers: list[int], tiles: list[int]) -> Iterator[tuple[int, ...]]:
        """Genomes that extend a partial one, layer by layer; a new tile is opened only by its first layer."""
        if len(tiles) == self.n_layers:
            yield (*multipliers, *[0] * (self.n_tiles - len(multipliers)), *tiles)
            return
        for tile in range(len(multipliers)):
            yield from self._grow(multipliers, [*tiles, tile])
        if len(multipliers) < self.n_tiles:
            for multiplier in range(self.n_multipliers):
                if not (self.merge_equal and multiplier in multipliers):
                    yield from self._grow([*multipliers, multiplier], [*tiles, len(multipliers)])


def make_space(accelerator: Accelerator, n_layers: int, *, n_multipliers: int) -> Space:
    """The space of what `accelerator` can be given; one tile per layer with merging is the free space."""
    n_tiles = accelerator.n_tiles
    if n_tiles is None or (n_tiles == n_layers and not accelerator.is_concurrent):
        return FreeSpace(n_layers, n_multipliers)
    return TiledSpace(n_layers, n_multipliers, n_tiles, merge_equal=not accelerator.is_concurrent)


def row_keys(X: NDArray[np.int64]) -> list[bytes]:
    """A hashable key for each row of an int64 matrix; equal rows have equal keys."""
    return [row.tobytes() for row in np.ascontiguousarray(X, dtype=np.int64)]


def _check_sizes(n_layers: int, n_multipliers: int) -> None:
    if n_layers < 1 or n_multipliers < 1:
        raise ConfigError(
            f"n_layers is {n_layers} and n_multipliers is {n_multipliers}: "
            "expected at least one layer and one multiplier"
        )


def checked_genomes(X: ArrayLike, space: Space) -> NDArray[np.int64]:
    """X as int64, or a `ShapeError` where it is no genomes of `space`."""
    X = np.asarray(X)
    if X.ndim != 2 or X.shape[1] != space.n_genes or X.dtype.kind not in "iu":
        raise ShapeError(f"X has shape {X.shape} and type {X.dtype}: expected integers (n, {space.n_genes})")
    if X.size and ((space.lower > X) | (space.upper < X)).any():
        gene = int(np.flatnonzero(((space.lower > X) | (space.upper < X)).any(axis=0))[0])
        raise ShapeError(f"X is out of bounds in gene {gene}: expected {space.lower[gene]} to {space.upper[gene]}")
    return X.astype(np.int64, copy=False)


def _check_layers(assignments: ArrayLike, space: Space) -> NDArray[np.int64]:
    return checked_genomes(assignments, FreeSpace(space.n_layers, space.n_multipliers))


def _in_batches(rows: Iterator[tuple[int, ...]]) -> Iterator[NDArray[np.int64]]:
    while batch := list(islice(rows, ENUMERATION_BATCH)):
        yield np.array(batch, dtype=np.int64)


def _count_tiled(n_layers: int, n_multipliers: int, *, n_tiles: int, merge_equal: bool) -> int:
    """Designs with at most `n_tiles` tiles: partitions of the layers into k groups, times choices of multipliers.

    Partitions are counted by Stirling numbers of the second kind, S(n, k) = k S(n-1, k) + S(n-1, k-1); merged tiles
    need k different multipliers in any order, M! / (M-k)!, unmerged ones any, M^k.
    """
    stirling = [1] + [0] * n_tiles
    for _ in range(n_layers):
        stirling = [0] + [k * stirling[k] + stirling[k - 1] for k in range(1, n_tiles + 1)]
    total = 0
    for k in range(1, n_tiles + 1):
        orders = 1
        for i in range(k):
            orders *= max(n_multipliers - i, 0)
        total += stirling[k] * (orders if merge_equal else n_multipliers**k)
    return total
