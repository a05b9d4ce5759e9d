"""Which multipliers to build, so that they serve all operating points together.

`kmeans_subset` is the way of QoS-Nets (see `operating_points`): multipliers that fit nowhere are dropped, ratios
`r[l, o, m]` above 1 are compressed to `1 + ln r`, all (layer, point) are clustered, and every center takes its cheapest
multiplier with a ratio of at most 1. What fits a center need not fit its members: a layer that no member fits brings
the exact multiplier in [ours].

`best_subsets` [ours] does without clusters: the sum over layers and points of the energy of the cheapest member that
fits, for every subset of `n` multipliers. Its first subset is the optimum of the matching problem.
"""

import warnings
from collections.abc import Sequence
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.errors import ConfigError
from dse.search.operating_points import Matching

MAX_SUBSETS = 200_000
"""Subsets of multipliers that are worth trying one by one: seconds."""

MAX_RATIO = 1e6
"""Of an error to a tolerance, in clustering: layers that tolerate nothing must not be infinitely far away."""

_CHUNK = 4096


def useful_multipliers(matching: Matching) -> NDArray[np.int64]:
    """Multipliers worth building, int64 ascending, the exact one among them.

    Left out is what another one replaces in every layer at no more energy and no more error: at whatever scales, some
    best subset does without it.
    """
    energy, error = matching.energy_rel, matching.residual_std
    kept = []
    for m in range(len(energy)):
        is_as_good = (energy <= energy[m]) & (error <= error[:, m : m + 1]).all(axis=0)
        is_better = is_as_good & ((energy < energy[m]) | (error < error[:, m : m + 1]).any(axis=0))
        is_copy = is_as_good & ~is_better & (np.arange(len(energy)) < m)
        if m == matching.exact_index or not (is_better | is_copy).any():
            kept.append(m)
    return np.array(kept, dtype=np.int64)


def n_subsets(matching: Matching, n_multipliers: int) -> int:
    """Subsets that `best_subsets` tries."""
    n_useful = len(useful_multipliers(matching))
    return comb(n_useful, min(n_multipliers, n_useful))


def best_subsets(
    costs: NDArray[np.float64], members: ArrayLike, n_multipliers: int, *, n_best: int = 1
) -> NDArray[np.int64]:
    """The subsets whose cheapest members cost least, by trying all of them.

    Args:
        costs: of every multiplier in every (point, layer), float64 [n_rows, n_all]; inf where it does not fit.
        members: multipliers to choose from, int [n_members].
        n_multipliers: size of a subset; all members where there are not so many.
        n_best: how many subsets to return, at most.

    Returns:
        int64 [k, n], by ascending cost, members ascending; subsets that leave a row without a member are left out.

    Raises:
        ConfigError: more than `MAX_SUBSETS` subsets.
    """
    members = np.sort(np.asarray(members, dtype=np.int64))
    n = min(n_multipliers, len(members))
    if comb(len(members), n) > MAX_SUBSETS:
        raise ConfigError(
            f"{len(members)} multipliers have {comb(len(members), n):,} subsets of {n}, expected at most "
            f"{MAX_SUBSETS:,} to try them one by one: use --method search (or kmeans), or a smaller library"
        )
    subsets = members[np.array(list(combinations(range(len(members)), n)), dtype=np.int64)]
    total = np.concatenate([_total(costs, subsets[i : i + _CHUNK]) for i in range(0, len(subsets), _CHUNK)])
    order = np.argsort(total, kind="stable")[:n_best]
    return subsets[order[np.isfinite(total[order])]]


def _total(costs: NDArray[np.float64], subsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum over rows of the cheapest member's cost, float64 [n_subsets]."""
    best = costs[:, subsets[:, 0]]
    for column in subsets.T[1:]:
        np.minimum(best, costs[:, column], out=best)
    return best.sum(axis=0)


def kmeans_subset(
    matching: Matching, scales: Sequence[float], n_multipliers: int, *, seed: int = 0
) -> NDArray[np.int64]:
    """QoS-Nets' choice of at most `n_multipliers`, int64 ascending; every layer of every point has a member that fits.

    Where several centers choose the same multiplier, the free places go to those that save most [ours].
    """
    costs, exact = matching.costs(scales), matching.exact_index
    centers = _centers(matching, scales, n_multipliers, seed=seed)
    chosen = {int(np.where(center <= 1 + 1e-9, matching.energy_rel, np.inf).argmin()) for center in centers}
    subset = _feasible(costs, sorted(chosen), n_multipliers, exact=exact)
    while len(subset) < n_multipliers:
        wider = [sorted({*subset, m}) for m in range(len(matching.energy_rel)) if m not in subset]
        totals = [_total(costs, np.array([option]))[0] for option in wider]
        if not wider or min(totals) >= _total(costs, np.array([subset]))[0]:
            break
        subset = wider[int(np.argmin(totals))]
    return np.array(subset, dtype=np.int64)


def _centers(matching: Matching, scales: Sequence[float], n_multipliers: int, *, seed: int) -> NDArray[np.float64]:
    """Cluster centers, float64 [k, n_all]; inf for multipliers that fit nowhere."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    ratio = np.concatenate([matching.ratio / scale for scale in scales])
    fits_somewhere = (ratio <= 1).any(axis=0)
    ratio = np.minimum(ratio[:, fits_somewhere], MAX_RATIO)
    ratio = np.where(ratio > 1, 1 + np.log(np.maximum(ratio, 1)), ratio)
    n_clusters = min(n_multipliers, len(np.unique(ratio, axis=0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer clusters than asked for: fewer multipliers
        found = KMeans(n_clusters, n_init=10, random_state=seed).fit(ratio).cluster_centers_
    centers = np.full((len(found), len(fits_somewhere)), np.inf)
    centers[:, fits_somewhere] = found
    return centers


def _feasible(costs: NDArray[np.float64], subset: list[int], n_multipliers: int, *, exact: int) -> list[int]:
    """The subset, with the exact multiplier where a row has no member that fits: in a free place, or where it costs
    least."""
    if exact in subset or np.isfinite(costs[:, subset].min(axis=1)).all():
        return subset
    return with_exact(costs, subset, n_multipliers, exact=exact)


def with_exact(costs: NDArray[np.float64], subset: Sequence[int], n_multipliers: int, *, exact: int) -> list[int]:
    """A subset with the exact multiplier, in a free place or in place of the member whose loss costs least."""
    members = {int(m) for m in subset}
    if exact in members or len(members) < n_multipliers:
        return sorted(members | {exact})
    options = [sorted((members - {m}) | {exact}) for m in sorted(members)]
    return min(options, key=lambda option: float(_total(costs, np.array([option]))[0]))
