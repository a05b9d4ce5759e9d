"""The multipliers that a search could choose from: error against energy, with those that a front uses marked."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dse.errors import RunError
from dse.reporting.pictures.canvas import add_grid, decade_below, name_points, new_axes
from dse.reporting.pictures.style import FRONT_COLOR
from dse.reporting.run_data import LibraryData

if TYPE_CHECKING:
    from matplotlib.axes import Axes

N_NAMED = 8
"""Of the multipliers that are used most, the names are written."""


def library(data: LibraryData, ax: "Axes | None" = None) -> "Axes":
    """Draws energy to the right and error upwards, logarithmic down to the smallest error, then linear to 0.

    Filled: used on the front, the larger the more often. The exact multiplier is a diamond.

    Args:
        data: what to draw; multipliers of unknown error are left out.
        ax: where; a new figure where absent.

    Returns:
        The axes, whose figure can be saved.

    Raises:
        RunError: no error is known.
    """
    known = np.isfinite(data.mae_pct)
    if not known.any():
        raise RunError(
            f"{data.title}: the errors of the multipliers are not known, an older dse did not keep them and the "
            "library is not where it was. Run dse where the run was made, or explore again"
        )
    ax = ax or new_axes()
    unused, exact = known & ~data.is_used & ~data.is_exact, known & data.is_exact
    used = known & data.is_used & ~data.is_exact
    if unused.any():
        ax.scatter(
            data.energy_rel[unused], data.mae_pct[unused], s=14, facecolors="none", edgecolors="0.45", linewidths=0.7,
            label="not used",
        )  # fmt: skip
    sizes = 14 + 90 * data.n_uses / max(1, int(data.n_uses.max(initial=0)))
    if used.any():
        ax.scatter(
            data.energy_rel[used], data.mae_pct[used], s=sizes[used], color=FRONT_COLOR, alpha=0.75, linewidths=0,
            label="used on the front (larger: more often)",
        )  # fmt: skip
    ax.scatter(data.energy_rel[exact], data.mae_pct[exact], s=22, color="black", marker="D", label="exact")
    positive = data.mae_pct[known & (data.mae_pct > 0)]
    if len(positive):
        ax.set_yscale("symlog", linthresh=decade_below(positive), linscale=0.8)
        ax.set_ylim(-0.3 * decade_below(positive), 2.5 * float(positive.max()))
    ax.set_xlim(-0.04 * float(data.energy_rel[known].max()), 1.06 * float(data.energy_rel[known].max()))
    _name_most_used(data, used, ax)
    ax.set_xlabel("energy of a multiplication (exact = 1)")
    ax.set_ylabel("mean absolute error (% of $2^{16}$)")
    front = f"{int(data.is_used.sum())} of {len(data.names)} multipliers used on the front"
    ax.set_title(f"{data.title}\n{front if data.n_points else 'the run has no front yet'}", fontsize="medium")
    add_grid(ax)
    ax.legend(loc="lower left", fontsize="small", framealpha=0.9)
    return ax


def _name_most_used(data: LibraryData, used: np.ndarray, ax: "Axes") -> None:
    """The more often used, the sooner named; later names that would lie on earlier ones are left out."""
    order = np.argsort(-data.n_uses, kind="stable")
    chosen = [i for i in order if used[i]][:N_NAMED]
    points = np.column_stack([data.energy_rel, data.mae_pct])
    others = np.setdiff1d(np.flatnonzero(np.isfinite(data.mae_pct)), chosen)
    name_points(ax, points[chosen], [data.names[i] for i in chosen], others=points[others])


def library_table(data: LibraryData) -> pd.DataFrame:
    """One row a multiplier."""
    return pd.DataFrame(
        {
            "multiplier": data.names,
            "energy_rel": data.energy_rel,
            "mae_pct": data.mae_pct,
            "is_exact": data.is_exact,
            "is_used": data.is_used,
            "n_uses": data.n_uses,
        }
    )
