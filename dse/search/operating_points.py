"""Operating points: few multipliers for all layers of a network, and which of them each layer uses at each point.

E. Trommer, B. Waschneck, A. Kumar, "QoS-Nets", 2024: `n` multipliers serve `m` operating points. A point `o` scales the
tolerances of all layers by `s_o`; multiplier `m` fits layer `l` there where

    r[l, o, m] = residual_std[l, m] / (s_o * tolerance_l) <= 1

and the layer takes the cheapest of the chosen multipliers that fits. Which multipliers to choose: see `subsets`. Points
are ordered from the most accurate to the cheapest: scales rise, so energies never do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.errors import ConfigError, ShapeError
from dse.search.matching import matched_assignments

PAPER_SCALES = (0.3, 1.0, 2.0)

LEAST_GAP = 1e-3
"""Energy, relative to the exact network's, that points are apart: of closer ones one might as well be left out."""


@dataclass(frozen=True, eq=False)
class Matching:
    """What multipliers cost, and what errors layers bear.

    Attributes:
        residual_std: error of a layer's integer output, float64 [n_layers, n_multipliers], >= 0; 0 for the exact one.
        tolerance: of each layer, `|sigma_l| * std(y_int, l)`, float64 [n_layers], >= 0.
        energy_rel: relative energies, float64 [n_multipliers].
        n_multiplications: of each layer, float64 [n_layers].
        exact_index: the exact multiplier.
    """

    residual_std: NDArray[np.float64]
    tolerance: NDArray[np.float64]
    energy_rel: NDArray[np.float64]
    n_multiplications: NDArray[np.float64]
    exact_index: int

    def __post_init__(self) -> None:
        n_layers, n_multipliers = self.residual_std.shape
        shapes = self.tolerance.shape, self.n_multiplications.shape, self.energy_rel.shape
        if shapes != ((n_layers,), (n_layers,), (n_multipliers,)):
            raise ShapeError(
                f"got errors {self.residual_std.shape}, tolerances, multiplications and energies {shapes}: expected "
                "[n_layers, n_multipliers], [n_layers], [n_layers] and [n_multipliers]"
            )
        if not (self.residual_std >= 0).all() or not (self.tolerance >= 0).all():
            raise ConfigError("an error or a tolerance is negative or NaN: expected numbers of at least 0")
        if self.residual_std[:, self.exact_index].any():
            raise ConfigError("the exact multiplier has an error: expected 0 in every layer")

    @property
    def n_layers(self) -> int:
        """Length of an assignment."""
        return len(self.tolerance)

    @property
    def weights(self) -> NDArray[np.float64]:
        """Share of each layer in the multiplications, float64 [n_layers]."""
        return self.n_multiplications / self.n_multiplications.sum()

    @property
    def ratio(self) -> NDArray[np.float64]:
        """Errors over tolerances, float64 [n_layers, n_multipliers]; 0 without error, else inf without tolerance."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = self.residual_std / self.tolerance[:, None]
        return np.where(self.residual_std == 0, 0.0, ratio)

    def energy(self, assignments: ArrayLike) -> NDArray[np.float64]:
        """Relative energy of assignments int [..., n_layers], float64 [...]."""
        return self.energy_rel[np.asarray(assignments)] @ self.weights

    def costs(self, scales: Sequence[float]) -> NDArray[np.float64]:
        """Energy share of every multiplier in every layer of every point, float64 [n_points * n_layers, n_multipliers].

        Points are the outer index. inf where a multiplier does not fit.
        """
        weighted = self.weights[:, None] * self.energy_rel
        fits = self.ratio[None] <= np.asarray(scales, dtype=np.float64)[:, None, None]
        return np.where(fits, weighted[None], np.inf).reshape(-1, len(self.energy_rel))


@dataclass(frozen=True, eq=False)
class Curve:
    """Assignments over one subset of multipliers, from the most accurate to the cheapest.

    Attributes:
        assignments: int64 [k, n_layers], k >= 1; energies never rise.
        levels: how much error each allows, ascending float64 [k]: the scale of the tolerances, or a predicted growth.
        energy: relative, falling float64 [k].
    """

    assignments: NDArray[np.int64]
    levels: NDArray[np.float64]
    energy: NDArray[np.float64]

    def position(self, level: float) -> int:
        """The cheapest assignment within a level; the first one where there is none."""
        return max(0, int(np.searchsorted(self.levels, level * (1 + 1e-9), side="right")) - 1)


def default_scales(n_points: int) -> tuple[float, ...]:
    """Those of the paper for three points, else as many in geometric steps over the same range.

    >>> default_scales(3), default_scales(2)
    ((0.3, 1.0, 2.0), (0.3, 2.0))
    """
    if n_points == len(PAPER_SCALES):
        return PAPER_SCALES
    return tuple(float(scale) for scale in np.geomspace(PAPER_SCALES[0], PAPER_SCALES[-1], n_points).round(6))


def cheapest_members(matching: Matching, subset: ArrayLike, scales: Sequence[float]) -> NDArray[np.int64]:
    """In every layer of every point the cheapest member that fits, int64 [n_points, n_layers].

    Where none fits, the one with the smallest error.
    """
    subset = np.asarray(subset, dtype=np.int64)
    error, energy = matching.residual_std[:, subset], matching.energy_rel[subset]
    fits = matching.ratio[None, :, subset] <= np.asarray(scales, dtype=np.float64)[:, None, None]
    is_least = error == error.min(axis=1, keepdims=True)
    fits = np.where(fits.any(axis=2, keepdims=True), fits, is_least[None])
    return subset[np.where(fits, energy, np.inf).argmin(axis=2)]


def tolerance_steps(matching: Matching, subset: ArrayLike) -> Curve:
    """`cheapest_members` at every scale at which some layer changes its multiplier; the levels are scales."""
    ratio = matching.ratio[:, np.asarray(subset, dtype=np.int64)]
    scales = np.unique(np.append(ratio[np.isfinite(ratio)], 0.0))
    # Where no member of a layer fits at any scale, the most accurate one stays.
    return _curve(matching, subset, cheapest_members(matching, subset, scales.tolist()), scales)


def traded_steps(matching: Matching, growth: NDArray[np.float64], subset: ArrayLike) -> Curve:
    """Designs that buy energy where it costs the least predicted growth of the cross-entropy [ours].

    Args:
        matching: what multipliers cost.
        growth: when one layer alone uses a multiplier, float64 [n_layers, n_multipliers], >= 0.
        subset: multipliers to use.
    """
    subset = np.asarray(subset, dtype=np.int64)
    designs = matched_assignments(
        growth[:, subset], matching.energy_rel[subset], n_multiplications=matching.n_multiplications,
        n_designs=1_000_000, max_loss=np.inf,
    )  # fmt: skip
    assignments = subset[designs[::-1]]
    return _curve(matching, subset, assignments, growth[np.arange(matching.n_layers), assignments].sum(axis=1))


def _curve(matching: Matching, subset: ArrayLike, assignments: NDArray[np.int64], levels: NDArray[np.float64]) -> Curve:
    """Without rows that repeat the one before them. It begins with the exact design where the subset has it: other
    multipliers without predicted error may still have some."""
    if matching.exact_index in np.asarray(subset):
        exact = np.full((1, matching.n_layers), matching.exact_index, dtype=np.int64)
        assignments, levels = np.concatenate([exact, assignments]), np.append(0.0, levels)
    is_new = np.append(True, (assignments[1:] != assignments[:-1]).any(axis=1))
    return Curve(assignments[is_new], levels[is_new], matching.energy(assignments[is_new]))


def check_points(n_multipliers: int, n_points: int, *, n_library: int | None = None) -> None:
    """Raises `ConfigError` where numbers of multipliers and points make no sense."""
    if n_multipliers < 1:
        raise ConfigError(f"{n_multipliers} multipliers were asked for: expected at least 1, better 2 to 4")
    if n_library is not None and n_multipliers > n_library:
        raise ConfigError(
            f"{n_multipliers} multipliers were asked for, the library has {n_library}: "
            f"expected 1 to {n_library}; lower --multipliers or use a larger library"
        )
    if n_points < 2:
        raise ConfigError(
            f"{n_points} operating points were asked for: expected at least 2; one point is what `dse explore` finds"
        )


def check_ascending(name: str, values: Sequence[float], n_points: int, *, least: float, is_open: bool) -> None:
    """Raises `ConfigError` unless there is one number a point, rising, at least (or, `is_open`, above) `least`."""
    listed = ",".join(f"{value:g}" for value in values)
    if len(values) != n_points:
        raise ConfigError(f"{name} {listed} has {len(values)} numbers: expected {n_points}, one for each point")
    numbers = np.asarray(values, dtype=np.float64)
    is_inside = (numbers > least) if is_open else (numbers >= least)
    if not (np.isfinite(numbers) & is_inside).all() or (np.diff(numbers) <= 0).any():
        kind = "above" if is_open else "of at least"
        raise ConfigError(
            f"{name} {listed}: expected rising numbers {kind} {least:g}; the first operating point is the most accurate"
        )


def require_distinct(energy_rel: ArrayLike) -> None:
    """Raises `ConfigError` naming operating points of one energy: switching between them would bring nothing."""
    energy = np.asarray(energy_rel, dtype=np.float64)
    for k in range(len(energy) - 1):
        if energy[k] - energy[k + 1] < LEAST_GAP - 1e-12:
            raise ConfigError(
                f"operating points {k} and {k + 1} tie: they cost {energy[k]:.4f} and {energy[k + 1]:.4f} of the exact "
                f"network's energy. Expected energies at least {LEAST_GAP:g} apart: ask for fewer --points, or move "
                "their --scales (or --max-loss) apart"
            )
