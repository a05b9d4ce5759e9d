"""What every layer got in every point of a front: a map of layers and points, colored by energy."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dse.reporting.pictures.canvas import name_layers, names_inches, new_axes
from dse.reporting.run_data import LayersData

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOR_MAP = "cividis"
"""Nunez, Anderton & Renslow, PLOS ONE 13(7), 2018: looks the same to color-blind people, and prints in gray."""

TICK_INCHES, MAX_TICKS = 0.45, 6
"""A number of a point needs so much of the axis."""


def layers(data: LayersData, ax: "Axes | None" = None) -> "Axes":
    """Draws a row a layer and a column a point, from the one that saves most to the exact network.

    Args:
        data: what to draw.
        ax: where; a new figure where absent. A color bar is put beside it.

    Returns:
        The axes, whose figure can be saved.
    """
    n_points, n_layers = data.energy_rel.shape
    ax = ax or new_axes((7, max(3.0, 1.4 + 0.16 * n_layers)))
    image = ax.imshow(
        data.energy_rel.T, aspect="auto", cmap=COLOR_MAP, vmin=0.0, vmax=max(1.0, float(data.energy_rel.max())),
        interpolation="nearest",
    )  # fmt: skip
    name_layers(ax.yaxis, data.layers, length_inches=ax.figure.get_figheight() - 1.1)
    room = max(2, int((ax.figure.get_figwidth() - names_inches(data.layers) - 0.8) / TICK_INCHES))
    shown = np.unique(np.linspace(0, n_points - 1, min(n_points, room, MAX_TICKS)).round().astype(int))
    ax.set_xticks(shown, [_tick(data, column) for column in shown])
    ax.set_xlabel("points of the front: energy saved (%)\nand accuracy lost (percentage points)")
    bar = ax.figure.colorbar(image, ax=ax, pad=0.02, aspect=30)
    bar.set_label("energy (exact = 1)")
    bar.outline.set_linewidth(0.4)
    ax.set_title(data.title, fontsize="medium")
    return ax


def _tick(data: LayersData, column: int) -> str:
    return f"{data.energy_saved_pct[column]:.0f} %\n{data.accuracy_lost_points[column] + 0.0:.1f}"


def layers_table(data: LayersData) -> pd.DataFrame:
    """One row a point and layer."""
    n_points, n_layers = data.energy_rel.shape
    return pd.DataFrame(
        {
            "point": np.repeat(data.points, n_layers),
            "energy_saved_pct": np.repeat(data.energy_saved_pct, n_layers),
            "accuracy_lost_points": np.repeat(data.accuracy_lost_points, n_layers),
            "layer": list(data.layers) * n_points,
            "multiplier": [name for names in data.multipliers for name in names],
            "energy_rel": data.energy_rel.ravel(),
        }
    )
