"""Initial designs: where a search starts decides much of where it ends.

Random assignments of approximate multipliers mostly give collapsed networks, so a random population spends its
budget on getting out of them. AGN (Trommer et al., ICCAD 2022, arXiv:2206.07546) matches multipliers to layers by a
learned tolerance. Here a search starts from the exact design and one of: assignments matched to learned tolerances or,
[ours], to measured single-layer losses (`matching`), or the uniform ones.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.errors import ConfigError, ShapeError
from dse.search.matching import spread
from dse.search.space import Space, row_keys

ENUMERATION_LIMIT = 50_000
"""Spaces up to this many designs are listed when chance finds no new design."""

_N_ROUNDS = 20


def uniform_assignments(n_layers: int, n_multipliers: int) -> NDArray[np.int64]:
    """Every layer the same multiplier, int64 [n_multipliers, n_layers]."""
    return np.repeat(np.arange(n_multipliers, dtype=np.int64)[:, None], n_layers, axis=1)


def probe_multipliers(energy_rel: ArrayLike, n_probes: int) -> NDArray[np.int64]:
    """At most `n_probes` multipliers spread evenly over the energies, int64 ascending.

    Args:
        energy_rel: Relative energies, float [n_multipliers], ascending as in a library.
        n_probes: How many to choose, at least 1.

    >>> probe_multipliers([0.1, 0.12, 0.5, 0.52, 1.0], 3)
    array([0, 3, 4])
    """
    energy = np.asarray(energy_rel, dtype=np.float64)
    if n_probes < 1:
        raise ConfigError(f"n_probes is {n_probes}: expected at least 1")
    return spread(energy, n_probes)


def sensitivity_assignments(
    n_layers: int, n_multipliers: int, *, exact_index: int, probes: ArrayLike | None = None
) -> NDArray[np.int64]:
    """Assignments that are exact everywhere but in one layer, to measure that layer's losses.

    Args:
        n_layers: Layers of the network.
        n_multipliers: Multipliers of the library.
        exact_index: Position of the exact multiplier.
        probes: Multipliers to try, int [n_probes]; None tries all. The exact one is left out: its loss is 0.

    Returns:
        int64 [n_layers * n_tried, n_layers]: all tried multipliers of layer 0 in ascending order, then of layer 1, ...

    >>> sensitivity_assignments(2, 3, exact_index=2)
    array([[0, 2], [1, 2], [2, 0], [2, 1]])
    """
    tried = _tried(n_multipliers, exact_index, probes)
    assignments = np.full((n_layers * len(tried), n_layers), exact_index, dtype=np.int64)
    rows = np.arange(len(assignments))
    assignments[rows, rows // max(len(tried), 1)] = np.tile(tried, n_layers)
    return assignments


def loss_matrix(
    accuracies: ArrayLike,
    exact_accuracy: float,
    *,
    n_layers: int,
    n_multipliers: int,
    exact_index: int,
    probes: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Losses of the designs of `sensitivity_assignments`, called with the same arguments.

    Args:
        accuracies: Measured accuracies in the order of those assignments, float [n_layers * n_tried].
        exact_accuracy: Accuracy of the exact design.
        n_layers: Layers of the network.
        n_multipliers: Multipliers of the library.
        exact_index: Position of the exact multiplier.
        probes: Multipliers tried.

    Returns:
        `exact_accuracy - accuracy`, float64 [n_layers, n_multipliers]; 0 for the exact multiplier, NaN where not tried.
    """
    tried = _tried(n_multipliers, exact_index, probes)
    accuracies = np.asarray(accuracies, dtype=np.float64)
    if accuracies.shape != (n_layers * len(tried),):
        raise ShapeError(f"`accuracies` has shape {accuracies.shape}: expected ({n_layers * len(tried)},)")
    loss = np.full((n_layers, n_multipliers), np.nan)
    loss[:, exact_index] = 0.0
    loss[:, tried] = exact_accuracy - accuracies.reshape(n_layers, len(tried))
    return loss


@dataclass(frozen=True, eq=False)
class Initial:
    """Designs to start from.

    Attributes:
        genomes: Unique and canonical, int64 [k, n_genes].
        origins: Where each comes from, such as `exact` or `matched`.
    """

    genomes: NDArray[np.int64]
    origins: tuple[str, ...]


def initial_designs(
    space: Space, groups: Mapping[str, NDArray[np.int64]], *, n_designs: int | None = None
) -> Initial:
    """The first different designs of several groups.

    Args:
        space: Where the search takes place; assignments it cannot represent are left out.
        groups: Assignments int [n, n_layers] by their origin, in order of preference.
        n_designs: How many to take at most; None takes all.
    """
    genomes, origins = [np.empty((0, space.n_genes), dtype=np.int64)], []
    for origin, assignments in groups.items():
        X = space.encode(assignments[space.is_representable(assignments)])
        genomes.append(X)
        origins += [origin] * len(X)
    X = np.concatenate(genomes)
    rows = np.flatnonzero(_first_copies(X, seen=()))[:n_designs]
    return Initial(X[rows], tuple(origins[row] for row in rows))


def fresh_designs(
    space: Space,
    n_designs: int,
    *,
    rng: np.random.Generator,
    seen: Collection[bytes],
    around: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Random canonical genomes that are new.

    Args:
        space: Where to draw from.
        n_designs: How many to draw.
        rng: Source of all randomness.
        seen: Keys (`row_keys`) of canonical genomes to avoid.
        around: Genomes [k, n_genes] to draw near [ours]: one of them at random with every gene redrawn with a
            probability that is itself uniform in (0, 1), so that draws range from a neighbour to an unrelated design.
            None draws every gene at random.

    Returns:
        int64 [m, n_genes], unique and not in `seen`. m < n_designs only where chance found no more in a space too
        large to list; up to `ENUMERATION_LIMIT` designs, m < n_designs means that the space is exhausted.
    """
    taken = set(seen)
    found = [np.empty((0, space.n_genes), dtype=np.int64)]
    missing = n_designs
    for _ in range(_N_ROUNDS):
        if missing <= 0 or len(taken) >= space.n_designs:
            break
        X = space.canonicalize(_draw(space, 2 * missing + 8, rng=rng, around=around))
        X = without_known(X, taken)[:missing]
        taken.update(row_keys(X))
        found.append(X)
        missing -= len(X)
    if missing > 0 and len(taken) < space.n_designs <= ENUMERATION_LIMIT:
        rest = np.concatenate([without_known(X, taken) for X in space.enumerate()])
        found.append(rest[rng.permutation(len(rest))[:missing]])
    return np.concatenate(found)


def _draw(
    space: Space, n_designs: int, *, rng: np.random.Generator, around: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    X = rng.integers(space.lower, space.upper, size=(n_designs, space.n_genes), endpoint=True)
    if around is None or len(around) == 0:
        return X
    origin = around[rng.integers(len(around), size=n_designs)]
    redraw = rng.random(X.shape) < rng.random((n_designs, 1))
    return np.where(redraw, X, origin)


def without_known(X: NDArray[np.int64], known: Collection[bytes]) -> NDArray[np.int64]:
    """Rows of X that are not among `known` (`row_keys`) and not copies of earlier rows."""
    return X[_first_copies(X, seen=known)]


def _first_copies(X: NDArray[np.int64], *, seen: Collection[bytes]) -> NDArray[np.bool_]:
    """Mask of the rows that are not in `seen` and not a copy of an earlier row."""
    keys = row_keys(X)
    first = {key: row for row, key in reversed(list(enumerate(keys)))}
    return np.array([key not in seen and first[key] == row for row, key in enumerate(keys)], dtype=np.bool_)


def _tried(n_multipliers: int, exact_index: int, probes: ArrayLike | None) -> NDArray[np.int64]:
    tried = np.arange(n_multipliers) if probes is None else np.unique(np.asarray(probes, dtype=np.int64))
    if tried.size and (tried[0] < 0 or tried[-1] >= n_multipliers):
        raise ConfigError(f"probes hold {tried[0]} to {tried[-1]}: expected positions 0 to {n_multipliers - 1}")
    return tried[tried != exact_index].astype(np.int64)
