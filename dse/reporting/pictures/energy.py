"""Where the multiplication energy of one point goes, beside that of the exact network."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dse.reporting.pictures.canvas import (
    LINE_INCHES,
    add_grid,
    name_layers,
    names_inches,
    new_axes,
    written_name,
)
from dse.reporting.pictures.style import DOMINATED_COLOR, FRONT_COLOR
from dse.reporting.run_data import EnergyShareData

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEGEND_BELOW_INCHES = 0.38
"""Under the axis and its label."""
MOST_FOR_NAMES = 0.45
"""Of the width, for names of multipliers."""


def energy(data: EnergyShareData, ax: "Axes | None" = None) -> "Axes":
    """Draws two bars a layer, the first layer on top, with the multiplier's name where there is room.

    Args:
        data: what to draw.
        ax: where; a new figure where absent.

    Returns:
        The axes, whose figure can be saved.
    """
    from matplotlib.transforms import ScaledTranslation

    n_layers = len(data.layers)
    ax = ax or new_axes((7, max(2.5, 1.2 + 0.16 * n_layers)))
    places = np.arange(n_layers)
    ax.barh(places, data.before_pct, height=0.8, color=DOMINATED_COLOR, linewidth=0, label="exact network")
    ax.barh(places, data.after_pct, height=0.5, color=FRONT_COLOR, linewidth=0, label=f"point {data.point}")
    length = ax.figure.get_figheight() - 1.0
    name_layers(ax.yaxis, data.layers, length_inches=length)
    if n_layers * LINE_INCHES <= length:
        _name_multipliers(data, ax)
    ax.set_ylim(n_layers - 0.4, -0.6)
    ax.set_xlabel("energy (% of the exact network)")
    saved, lost = f"{data.energy_saved_pct:.1f} % saved", f"{data.accuracy_lost_points + 0.0:.1f} points lost"
    ax.set_title(f"{data.title}\npoint {data.point}: {saved}, {lost}", fontsize="medium")
    add_grid(ax, "x")
    below = ScaledTranslation(0, -LEGEND_BELOW_INCHES, ax.figure.dpi_scale_trans)
    ax.legend(
        loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=ax.transAxes + below, ncols=2, fontsize="small",
        frameon=False,
    )  # fmt: skip
    return ax


def _name_multipliers(data: EnergyShareData, ax: "Axes") -> None:
    """To the right of the bars, all in one column, where they leave most of the width to the bars."""
    top = float(max(data.before_pct.max(), data.after_pct.max()))
    share = names_inches(data.multipliers) / (ax.figure.get_figwidth() - 1.2)
    if share > MOST_FOR_NAMES:
        return
    ax.set_xlim(0, 1.06 * top / (1 - share))
    for place, name in enumerate(data.multipliers):
        ax.annotate(written_name(name), (1.03 * top, place), fontsize="small", va="center")


def energy_table(data: EnergyShareData) -> pd.DataFrame:
    """One row a layer."""
    return pd.DataFrame(
        {
            "point": data.point,
            "layer": data.layers,
            "multiplier": data.multipliers,
            "before_pct": data.before_pct,
            "after_pct": data.after_pct,
        }
    )
