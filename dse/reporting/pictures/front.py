"""Fronts of energy saved against accuracy lost."""

from typing import TYPE_CHECKING

import numpy as np

from dse.reporting.data import FrontData
from dse.reporting.pictures.canvas import add_grid, name_loss_axes, new_axes, png_bytes
from dse.reporting.pictures.style import DOMINATED_COLOR, EXACT_COLOR, FRONT_COLOR

if TYPE_CHECKING:
    from matplotlib.axes import Axes


LOSS_MARGIN = 1.5
"""Dominated designs that lost far more than the front are cut off: they would squeeze it into a line."""


def front(data: FrontData, ax: "Axes | None" = None) -> "Axes":
    """Draws a front: energy saved (percent) to the right, accuracy lost (points) downwards.

    Args:
        data: what to draw.
        ax: where; a new figure of 7 x 4.5 inches where absent.

    Returns:
        The axes, whose figure can be saved.
    """
    ax = ax or new_axes()
    ax.scatter(
        data.dominated_saved_pct, data.dominated_lost_points, s=9, color=DOMINATED_COLOR, linewidths=0,
        label=f"dominated ({len(data.dominated_saved_pct)}), search images",
    )  # fmt: skip
    points = ~data.is_exact
    _errorbar(ax, data, points, color=FRONT_COLOR, marker="o", label="front, report images, 95 % interval")
    _errorbar(ax, data, data.is_exact, color=EXACT_COLOR, marker="D", label="exact network")
    ax.axhline(0, color="0.4", linewidth=0.8, linestyle=":")
    ax.set_ylim(*_loss_limits(data))
    name_loss_axes(ax)
    ax.set_title(data.title, fontsize="medium")
    add_grid(ax)
    ax.legend(loc="lower left", fontsize="small", framealpha=0.9)
    return ax


def front_png(data: FrontData) -> bytes:
    """The picture of a front as the bytes of a PNG file."""
    return png_bytes(front(data).figure)


def _errorbar(ax: "Axes", data: FrontData, chosen: np.ndarray, *, color: str, marker: str, label: str) -> None:
    y = data.accuracy_lost_points[chosen]
    error = np.vstack([y - data.lost_low[chosen], data.lost_high[chosen] - y]).clip(min=0)
    ax.errorbar(
        data.energy_saved_pct[chosen], y, yerr=error, color=color, marker=marker, markersize=4, linestyle="none",
        elinewidth=0.7, capsize=1.5, label=label,
    )  # fmt: skip


def _loss_limits(data: FrontData) -> tuple[float, float]:
    low, high = float(data.lost_low.min()), float(data.lost_high.max())
    margin = 0.05 * max(high - low, 1e-3)
    return low - margin, low + LOSS_MARGIN * (high - low) + margin
