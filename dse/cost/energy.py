"""Multiplication energy of assignments.

Relative energy, the common figure of ALWANN (Mrazek et al., ICCAD 2019, arXiv:1907.07229) and AGN (Trommer et al.,
ICCAD 2022, arXiv:2206.07546):

    E_rel(assignment) = SUM_l N_l * P_m(l) / (P_exact * SUM_l N_l)

with `N_l` multiplications of layer `l` for one input sample and `P_m` the power of multiplier `m`. Only
multiplications are counted: no memory, no adders.

Absolute energy of one multiplication is power over clock, `e_m = P_m / f`: 1 mW at 1000 MHz is 1 pJ.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.errors import ConfigError, MultiplierError, ShapeError

if TYPE_CHECKING:
    from dse.multipliers.library import Library

DEFAULT_CLOCK_MHZ = 1000.0
"""Common clock for libraries that publish power without one (EvoApproxLib does).

One multiplication a cycle at 1 GHz makes the exact 8-bit multiplier's 0.391 mW (45 nm) 0.39 pJ; Horowitz, "Computing's
energy problem", ISSCC 2014, gives 0.2 pJ for an 8-bit multiplication in 45 nm, so the magnitude is right. It is a scale
only: every figure in pJ is proportional to 1 / clock, and relative energies do not depend on it.
"""


def common_clock_mhz(library: "Library", *, clock_mhz: float | None = None) -> float:
    """Clock in MHz at which the library's powers hold: the stored one, else `clock_mhz`, else `DEFAULT_CLOCK_MHZ`.

    Raises:
        MultiplierError: Costs name several clocks, or another one than `clock_mhz`; their powers cannot be added up.
        ConfigError: `clock_mhz` is not positive.
    """
    if clock_mhz is not None and clock_mhz <= 0:
        raise ConfigError(f"clock_mhz is {clock_mhz}: expected a clock above 0 MHz")
    stored = {m.cost.clock_mhz for m in library if m.cost is not None and m.cost.clock_mhz is not None}
    clocks = sorted(stored | ({clock_mhz} if clock_mhz is not None else set()))
    if len(clocks) > 1:
        raise MultiplierError(
            f"the library's powers belong to different clocks ({', '.join(f'{c:g}' for c in clocks)} MHz): "
            "expected one common clock; convert the costs or select multipliers of one clock"
        )
    return float(clocks[0]) if clocks else DEFAULT_CLOCK_MHZ


def energy_per_multiplication_pj(library: "Library", *, clock_mhz: float | None = None) -> NDArray[np.float64]:
    """Energy of one multiplication through each multiplier, from its power at the common clock.

    Args:
        library: Multipliers with costs.
        clock_mhz: Clock in MHz for costs that store none, see `common_clock_mhz`.

    Returns:
        Energy in pJ, float64 [n_multipliers]; NaN where the cost is absent or not a power (gate counts are not energy).
    """
    clock = common_clock_mhz(library, clock_mhz=clock_mhz)
    costs = [multiplier.cost for multiplier in library]
    return np.array(
        [cost.value / clock * 1e3 if cost is not None and cost.unit == "mW" else np.nan for cost in costs],
        dtype=np.float64,
    )


def check_assignments(assignments: ArrayLike, *, n_layers: int, n_multipliers: int) -> NDArray[np.int64]:
    """Assignments as int64 [n, n_layers] with every index in [0, n_multipliers), or a `ShapeError`."""
    assignments = np.asarray(assignments)
    if assignments.ndim != 2 or assignments.shape[1] != n_layers or assignments.dtype.kind not in "iu":
        raise ShapeError(
            f"assignments have shape {assignments.shape} and type {assignments.dtype}: "
            f"expected integers (n, {n_layers}), one multiplier index per layer"
        )
    if assignments.size and (assignments.min() < 0 or assignments.max() >= n_multipliers):
        raise ShapeError(
            f"assignments hold indices {assignments.min()} to {assignments.max()}: "
            f"expected 0 to {n_multipliers - 1}, positions in the library"
        )
    return assignments.astype(np.int64, copy=False)


def total_energy(
    assignments: NDArray[np.int64],
    *,
    n_multiplications: NDArray[np.float64],
    energy: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Energy of all multiplications of one input sample, `SUM_l N_l * e_m(l)`.

    Args:
        assignments: Multiplier of each layer, int64 [n, n_layers].
        n_multiplications: `N_l`, float64 [n_layers].
        energy: `e_m`, any unit, float64 [n_multipliers].

    Returns:
        Energy in the unit of `energy`, float64 [n].
    """
    return energy[assignments] @ n_multiplications


def relative_energy(
    assignments: ArrayLike, *, n_multiplications: ArrayLike, energy_rel: ArrayLike
) -> NDArray[np.float64]:
    """`E_rel` of the module docstring; 1.0 when every layer is exact.

    Args:
        assignments: Multiplier of each layer, int [n, n_layers].
        n_multiplications: `N_l`, positive, [n_layers].
        energy_rel: `P_m / P_exact`, [n_multipliers].

    Returns:
        Relative energy, float64 [n].

    >>> relative_energy([[0, 1], [1, 1]], n_multiplications=[300, 100], energy_rel=[0.5, 1.0])
    array([0.625, 1.   ])
    """
    counts = np.asarray(n_multiplications, dtype=np.float64)
    energy = np.asarray(energy_rel, dtype=np.float64)
    assignments = check_assignments(assignments, n_layers=len(counts), n_multipliers=len(energy))
    return total_energy(assignments, n_multiplications=counts / counts.sum(), energy=energy)
