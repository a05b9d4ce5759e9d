"""What the surrogate predicted against what was measured."""

from typing import TYPE_CHECKING

import numpy as np

from dse.reporting.data import PredictionData
from dse.reporting.pictures.canvas import add_grid, new_axes, png_bytes
from dse.reporting.pictures.style import DOMINATED_COLOR, FRONT_COLOR

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def predictions(data: PredictionData, ax: "Axes | None" = None) -> "Axes":
    """Draws measured against predicted losses with the predictions' standard deviations; `ax` as in `front`."""
    ax = ax or new_axes((5, 4.5))
    for chosen, color, label in (
        (data.is_blind, DOMINATED_COLOR, "before anything was measured"),
        (~data.is_blind, FRONT_COLOR, "fitted to all designs before"),
    ):
        if not chosen.any():
            continue
        ax.errorbar(
            data.predicted_points[chosen], data.measured_points[chosen], xerr=data.std_points[chosen], color=color,
            linestyle="none", marker="o", markersize=3, elinewidth=0.5, alpha=0.8, label=label,
        )  # fmt: skip
    top = 1.05 * max(1.0, float(data.measured_points.max(initial=0.0)))
    ax.plot([0, top], [0, top], color="0.4", linewidth=0.8, linestyle=":")
    ax.set_xlim(-0.03 * top, top)
    ax.set_ylim(min(-0.03 * top, float(data.measured_points.min(initial=0.0)) - 0.5), top)
    ax.set_xlabel("predicted loss (percentage points)")
    ax.set_ylabel(f"measured loss (points, {data.n_images} images)")
    ax.set_title(f"{data.title}\n{_figures(data)}", fontsize="medium")
    add_grid(ax)
    if len(data.measured_points):
        ax.legend(loc="lower right", fontsize="small", framealpha=0.9)
    return ax


def _figures(data: PredictionData) -> str:
    """Those that are known: of few designs, or of such that are all alike, some are not."""
    known = []
    if np.isfinite(data.rank_correlation):
        known.append(f"rank correlation {data.rank_correlation:.3f}")
    if np.isfinite(data.share_within_2_std):
        known.append(f"{100 * data.share_within_2_std:.0f} % within 2 std")
    return ", ".join(known) or "too few designs to judge by"


def predictions_png(data: PredictionData) -> bytes:
    """The picture of predictions as the bytes of a PNG file."""
    return png_bytes(predictions(data).figure)
