"""Assignments matched to measured sensitivities: a prior for the search [ours].

    minimize SUM_l ( w_l * energy_rel[m(l)] + lambda * max(loss[l, m(l)], 0) ),   w_l = N_l / SUM N

solved layer by layer for a sweep of lambda, the price of accuracy in energy. `loss[l, m]` is the accuracy lost when
layer `l` alone uses multiplier `m`. The sum of single losses is a prior, not a prediction: losses do not add up in a
network, so every design is measured before it counts. Where tiles limit a design to `T` multipliers, the sweep runs
over subsets of the library, and the designs that the prior calls nondominated are kept.
"""

from collections.abc import Sequence
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.errors import ConfigError, ShapeError
from dse.pareto import front_indices

MAX_SUBSETS = 1000
"""Libraries with at most this many subsets of `T` multipliers are swept whole, larger ones by greedy choice."""

_N_LAMBDAS_PER_SUBSET = 64


def matched_assignments(
    loss: ArrayLike,
    energy_rel: ArrayLike,
    *,
    n_multiplications: ArrayLike,
    n_designs: int,
    n_tiles: int | None = None,
    max_loss: float = 0.5,
) -> NDArray[np.int64]:
    """Assignments that buy energy where it costs the least accuracy, spread over the energy range [ours].

    Args:
        loss: Accuracy lost when one layer alone uses a multiplier, float [n_layers, n_multipliers]. Negative losses
            (noise) count as 0; NaN (not measured) is never chosen. Every layer needs at least one measured entry.
        energy_rel: Relative energies, float [n_multipliers].
        n_multiplications: Multiplications of each layer, [n_layers].
        n_designs: Largest number of assignments returned, at least 1.
        n_tiles: Different multipliers a design may use; None for no limit.
        max_loss: Leave out designs whose single losses sum to more: they have most likely collapsed.

    Returns:
        Unique assignments by ascending energy, int64 [k, n_layers] with k <= n_designs; k is smaller where the sweep
        meets fewer different designs, and may be 0 under a tight `max_loss`.
    """
    loss, weighted = _check_matching(loss, energy_rel, n_multiplications)
    return _matches(loss, weighted, n_designs=n_designs, n_tiles=n_tiles, max_loss=max_loss)


def layer_energies(energy_rel: ArrayLike, n_multiplications: ArrayLike) -> NDArray[np.float64]:
    """What each layer adds to the relative energy by its multiplier, float64 [n_layers, n_multipliers].

    Args:
        energy_rel: Relative energies, float [n_multipliers].
        n_multiplications: Multiplications of each layer, [n_layers].
    """
    counts = np.asarray(n_multiplications, dtype=np.float64)
    return counts[:, None] / counts.sum() * np.asarray(energy_rel, dtype=np.float64)[None, :]


MIXES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Parts of the second of two costs in the cost that is matched."""


def mixed_matches(
    loss: ArrayLike,
    costs: Sequence[NDArray[np.float64]],
    *,
    n_designs: int,
    n_tiles: int | None = None,
    max_loss: float = 0.5,
) -> NDArray[np.int64]:
    """`matched_assignments` for costs that are known by layer; of two costs several mixes are matched [ours].

    Args:
        loss: as there.
        costs: of layers by what they are given, float64 [n_layers, n_multipliers], one or two of them: they add up to
            the cost of a design.
        n_designs, n_tiles, max_loss: as there.

    Returns:
        Unique assignments, int64 [k, n_layers] with k <= n_designs: of one cost by its ascending order, of two costs
        mix by mix, from the first alone to the second alone.
    """
    loss = _check_loss(loss, costs[0].shape)
    limits = {"n_tiles": n_tiles, "max_loss": max_loss}
    if len(costs) == 1:
        return _matches(loss, costs[0], n_designs=n_designs, **limits)
    n_each = -(-n_designs // len(MIXES))
    found = [_matches(loss, (1 - part) * costs[0] + part * costs[1], n_designs=n_each, **limits) for part in MIXES]
    _, first = np.unique(np.concatenate(found), axis=0, return_index=True)
    return np.concatenate(found)[np.sort(first)][:n_designs]


def _matches(
    loss: NDArray[np.float64],
    weighted: NDArray[np.float64],
    *,
    n_designs: int,
    n_tiles: int | None,
    max_loss: float,
) -> NDArray[np.int64]:
    """See `matched_assignments`; `weighted` is the cost of each layer by its multiplier."""
    if n_designs < 1 or (n_tiles is not None and n_tiles < 1):
        raise ConfigError(f"n_designs is {n_designs} and n_tiles is {n_tiles}: expected at least 1")
    lambdas = _lambdas(weighted, loss)
    if n_tiles is None or n_tiles >= min(loss.shape):
        designs = np.array([(weighted + lam * loss).argmin(axis=1) for lam in lambdas])
    else:
        designs = _sweep_subsets(weighted, loss, lambdas=lambdas, n_tiles=n_tiles)
    layers = np.arange(len(loss))
    predicted_loss = loss[layers, designs].sum(axis=1)
    designs, predicted_loss = designs[predicted_loss <= max_loss], predicted_loss[predicted_loss <= max_loss]
    energy = weighted[layers, designs].sum(axis=1)
    front = front_indices(np.stack([energy, predicted_loss], axis=1))
    return designs[front[spread(energy[front], n_designs)]].astype(np.int64)


def tolerance_assignments(
    residual_std: ArrayLike, tolerance: ArrayLike, energy_rel: ArrayLike, *, scales: ArrayLike = (1.0,)
) -> NDArray[np.int64]:
    """AGN's matching: in every layer the cheapest multiplier whose error the layer tolerates.

        m(l) = argmin { energy_rel[m] : residual_std[l, m] <= scale * tolerance[l] }

    Trommer et al., "Combining gradients and probabilities for heterogeneous approximation of neural networks",
    ICCAD 2022 (arXiv:2206.07546). Scaling all tolerances together [ours] turns one search for them into a whole curve.

    Args:
        residual_std: error of a layer's integer output, float [n_layers, n_multipliers]; 0 for the exact multiplier.
        tolerance: of each layer, `|sigma_l| * std(y_int, l)`, float [n_layers], >= 0.
        energy_rel: relative energies, float [n_multipliers].
        scales: factors on the tolerances, float [n_scales]; inf gives the cheapest multiplier everywhere.

    Returns:
        int64 [n_scales, n_layers], in the order of `scales`; equal rows are kept.

    Raises:
        ConfigError: a tolerance that is negative or NaN, or a layer without any multiplier of error 0.

    >>> tolerance_assignments([[3.0, 1.0, 0.0], [3.0, 1.0, 0.0]], [1.0, 0.5], [0.2, 0.6, 1.0], scales=[1, 3])
    array([[1, 2], [0, 1]])
    """
    errors, tolerance = np.asarray(residual_std, dtype=np.float64), np.asarray(tolerance, dtype=np.float64)
    energy = np.asarray(energy_rel, dtype=np.float64)
    if errors.ndim != 2 or tolerance.shape != errors.shape[:1] or energy.shape != errors.shape[1:]:
        raise ShapeError(
            f"got errors {errors.shape}, tolerances {tolerance.shape} and energies {energy.shape}: expected "
            "[n_layers, n_multipliers], [n_layers] and [n_multipliers]"
        )
    if not (tolerance >= 0).all():
        layer = int(np.flatnonzero(~(tolerance >= 0))[0])
        raise ConfigError(f"the tolerance of layer {layer} is {tolerance[layer]}: expected a number of at least 0")
    if not (errors == 0).any(axis=1).all():
        raise ConfigError("every layer needs a multiplier without error, the exact one: add it to the library")
    with np.errstate(invalid="ignore"):  # inf * 0 is NaN: no tolerance at all, however scaled
        limits = np.asarray(scales, dtype=np.float64)[:, None, None] * tolerance[:, None]
    fits = (errors[None] <= limits) | (errors[None] == 0)
    return np.where(fits, energy, np.inf).argmin(axis=2).astype(np.int64)


def tolerance_curve(
    residual_std: ArrayLike, tolerance: ArrayLike, energy_rel: ArrayLike, *, n_multiplications: ArrayLike
) -> NDArray[np.int64]:
    """`tolerance_assignments` for every scale at which some layer changes its multiplier, int64 [k, n_layers].

    Arguments as there, and the multiplications of each layer; unique, by ascending energy.
    """
    errors, tolerance = np.asarray(residual_std, dtype=np.float64), np.asarray(tolerance, dtype=np.float64)
    ratios = errors[tolerance > 0] / tolerance[tolerance > 0, None]
    scales = np.concatenate([[0.0], np.unique(ratios)])
    # A hair above each ratio: its own layer must not lose its multiplier to rounding.
    designs = np.unique(tolerance_assignments(errors, tolerance, energy_rel, scales=scales * (1 + 1e-12)), axis=0)
    energy = np.asarray(energy_rel, dtype=np.float64)[designs] @ np.asarray(n_multiplications, dtype=np.float64)
    return designs[np.argsort(energy, kind="stable")]


def spread(values: NDArray[np.float64], n_chosen: int) -> NDArray[np.int64]:
    """Positions of at most `n_chosen` of the ascending `values`, spread evenly over their range, ascending.

    Each target on an even grid takes the nearest position; where several share one, the widest gaps are filled.
    """
    if len(values) <= n_chosen:
        return np.arange(len(values))
    grid = np.linspace(values[0], values[-1], n_chosen)
    chosen = set(np.abs(values[None, :] - grid[:, None]).argmin(axis=1).tolist())
    while len(chosen) < n_chosen:
        distance = np.abs(values[:, None] - values[sorted(chosen)][None, :]).min(axis=1)
        distance[sorted(chosen)] = -1.0
        chosen.add(int(distance.argmax()))
    return np.array(sorted(chosen), dtype=np.int64)


def _check_matching(
    loss: ArrayLike, energy_rel: ArrayLike, n_multiplications: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Loss with NaN as inf and negatives as 0, and energy weighted by layer; float64 [n_layers, n_multipliers] both."""
    weighted = layer_energies(energy_rel, n_multiplications)
    return _check_loss(loss, weighted.shape), weighted


def _check_loss(loss: ArrayLike, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Loss with NaN as inf and negatives as 0, float64 [n_layers, n_multipliers]."""
    loss = np.asarray(loss, dtype=np.float64)
    if loss.shape != shape:
        raise ShapeError(f"`loss` has shape {loss.shape}: expected {shape}, layers by multipliers")
    loss = np.where(np.isnan(loss), np.inf, np.maximum(loss, 0.0))
    if not np.isfinite(loss).any(axis=1).all():
        layer = int(np.flatnonzero(~np.isfinite(loss).any(axis=1))[0])
        raise ConfigError(f"`loss` has no measured entry for layer {layer}: the exact multiplier's is 0, fill it in")
    return loss


def _lambdas(weighted: NDArray[np.float64], loss: NDArray[np.float64]) -> NDArray[np.float64]:
    """One lambda between any two at which some layer changes its mind, so that the sweep misses no solution.

    Layer by layer these are the slopes of the lower convex hull of its multipliers in the (loss, energy) plane.
    """
    slopes = [slope for energy, lost in zip(weighted, loss, strict=True) for slope in _hull_slopes(lost, energy)]
    if not slopes:
        return np.array([1.0])
    slopes = np.unique(slopes)
    return np.concatenate([[slopes[0] / 2], np.sqrt(slopes[1:] * slopes[:-1]), [slopes[-1] * 2]])


def _hull_slopes(loss: NDArray[np.float64], energy: NDArray[np.float64]) -> list[float]:
    """Energy saved per accuracy lost along the lower convex hull, from its least loss to its least energy."""
    hull: list[tuple[float, float]] = []
    for point in sorted(zip(loss.tolist(), energy.tolist(), strict=True)):
        if not np.isfinite(point[0]) or (hull and point[1] >= hull[-1][1]):
            continue
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) <= _slope(hull[-1], point):
            hull.pop()
        hull.append(point)
    return [_slope(a, b) for a, b in zip(hull, hull[1:], strict=False)]


def _slope(a: tuple[float, float], b: tuple[float, float]) -> float:
    return (a[1] - b[1]) / (b[0] - a[0])


def _sweep_subsets(
    weighted: NDArray[np.float64], loss: NDArray[np.float64], *, lambdas: NDArray[np.float64], n_tiles: int
) -> NDArray[np.int64]:
    """Best design of every subset of `n_tiles` multipliers for every lambda, unique, int64 [n, n_layers]."""
    if comb(loss.shape[1], n_tiles) <= MAX_SUBSETS:
        subsets = np.array(list(combinations(range(loss.shape[1]), n_tiles)))
    else:
        subsets = np.unique([_choose_subset(weighted + lam * loss, n_tiles) for lam in lambdas], axis=0)
    designs = []
    for lam in lambdas[spread(np.log(lambdas), _N_LAMBDAS_PER_SUBSET)]:
        best = (weighted + lam * loss)[:, subsets].argmin(axis=2)  # [n_layers, n_subsets]
        designs.append(np.take_along_axis(subsets, best.T, axis=1))
    return np.unique(np.concatenate(designs), axis=0)


def _choose_subset(cost: NDArray[np.float64], n_tiles: int) -> list[int]:
    """`n_tiles` multipliers that together serve all layers cheaply; cost float64 [n_layers, n_multipliers].

    Greedy additions, then one pass of exchanges: the first were chosen without knowing the last.
    """
    subset: list[int] = []
    for _ in range(n_tiles):
        subset.append(_best_addition(cost, subset))
    for slot in range(n_tiles):
        subset[slot] = _best_addition(cost, subset[:slot] + subset[slot + 1 :])
    return sorted(subset)


def _best_addition(cost: NDArray[np.float64], subset: list[int]) -> int:
    """Multiplier outside `subset` that lowers the total cost the most when added to it.

    Ranked first by layers left without a finite cost: a sum with inf cannot be compared.
    """
    best = cost[:, subset].min(axis=1, keepdims=True, initial=np.inf)
    reached = np.minimum(cost, best)
    finite = np.isfinite(reached)
    total = np.where(finite, reached, 0.0).sum(axis=0)
    total[subset] = np.inf
    return int(np.lexsort((total, (~finite).sum(axis=0)))[0])
