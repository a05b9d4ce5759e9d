"""Operating points on the front of free choice."""

from typing import TYPE_CHECKING

import numpy as np

from dse.reporting.data import PointsData
from dse.reporting.pictures.canvas import add_grid, name_loss_axes, new_axes, png_bytes, written_name
from dse.reporting.pictures.front import front
from dse.reporting.pictures.style import POINTS_COLOR

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ZOOM = 4.0
"""Losses up to so many times those of the operating points are shown."""


def points(data: PointsData, ax: "Axes | None" = None) -> "Axes":
    """Draws operating points, numbered, on the front of free choice where there is one; axes as in `front`."""
    if data.front is not None:
        ax = front(data.front, ax)
    elif ax is None:
        ax = new_axes()
        name_loss_axes(ax)
        add_grid(ax)
    y = data.accuracy_lost_points
    error = np.vstack([y - data.lost_low, data.lost_high - y]).clip(min=0)
    ax.errorbar(
        data.energy_saved_pct, y, yerr=error, color=POINTS_COLOR, marker="s", markersize=6, linestyle="-",
        linewidth=0.8, elinewidth=0.9, capsize=2, zorder=4, label="operating points, likewise",
    )  # fmt: skip
    for number, (x, lost) in enumerate(zip(data.energy_saved_pct, y, strict=True)):
        place = (6, 6) if number % 2 == 0 else (-13, -13)  # neighbours may be close
        ax.annotate(str(number), (x, lost), xytext=place, textcoords="offset points", color=POINTS_COLOR, weight="bold")
    bottom, _ = ax.get_ylim()  # accuracy lost points down
    lowest, top = float(data.lost_high.max(initial=0.0)), float(data.lost_low.min(initial=0.0))
    if data.front is not None:
        top = min(top, float(data.front.lost_low.min()))
    bottom = max(1.05 * lowest, min(bottom, max(ZOOM * lowest, 4.0)))  # the rest of the front would squeeze them
    ax.set_ylim(bottom, top - 0.06 * (bottom - top))
    names = ", ".join(map(written_name, data.names))
    missing = "" if data.front is not None else "; the run has no front yet"
    ax.set_title(f"{data.title}{missing}\n{len(data.names)} multipliers: {names}", fontsize="medium")
    ax.legend(loc="best", fontsize="small", framealpha=0.9)
    return ax


def points_png(data: PointsData) -> bytes:
    """The picture of operating points as the bytes of a PNG file."""
    return png_bytes(points(data).figure)
