"""Points of a front before and after fine-tuning."""

from typing import TYPE_CHECKING

import numpy as np

from dse.reporting.data import FinetunedData
from dse.reporting.pictures.canvas import add_grid, name_loss_axes, new_axes, png_bytes
from dse.reporting.pictures.style import EXACT_COLOR, FRONT_COLOR, POINTS_COLOR

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEGEND_MARGIN = 1.5
"""Losses go on beyond the largest, where the legend lies."""


def finetuned(data: FinetunedData, ax: "Axes | None" = None) -> "Axes":
    """Draws an arrow a point from what it lost untuned to what it loses tuned; axes as in `front`."""
    ax = ax or new_axes()
    x, before, after = data.energy_saved_pct, data.untuned_lost_points, data.lost_points
    ax.scatter(x, before, s=16, facecolors="none", edgecolors=FRONT_COLOR, label="untuned", zorder=3)
    error = np.vstack([after - data.lost_low, data.lost_high - after]).clip(min=0)
    ax.errorbar(
        x, after, yerr=error, color=POINTS_COLOR, marker="o", markersize=4, linestyle="none", elinewidth=0.7,
        capsize=1.5, label="fine-tuned, 95 % interval", zorder=4,
    )  # fmt: skip
    style = {"arrowstyle": "->", "color": "0.45", "linewidth": 0.8, "shrinkA": 3, "shrinkB": 3}
    for saved, start, end in zip(x, before, after, strict=True):
        ax.annotate("", (saved, end), xytext=(saved, start), arrowprops=style)
    ax.axhline(0, color=EXACT_COLOR, linewidth=0.8, linestyle=":", label="exact network")
    bottom = LEGEND_MARGIN * max(float(before.max(initial=0.0)), float(data.lost_high.max(initial=1.0)))
    ax.set_ylim(top=ax.get_ylim()[0], bottom=bottom)
    name_loss_axes(ax)
    ax.set_ylabel(f"accuracy lost (points, {data.n_images_report} images)")
    ax.set_title(data.title, fontsize="medium")
    add_grid(ax)
    ax.legend(loc="lower left", fontsize="small", framealpha=0.9)
    return ax


def finetuned_png(data: FinetunedData) -> bytes:
    """The picture of fine-tuned points as the bytes of a PNG file."""
    return png_bytes(finetuned(data).figure)
