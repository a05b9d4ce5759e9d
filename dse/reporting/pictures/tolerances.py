"""How much noise each layer's outputs bear."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dse.reporting.data import ToleranceData
from dse.reporting.pictures.canvas import add_grid, decade_below, name_layers, names_inches, new_axes, png_bytes
from dse.reporting.pictures.style import FRONT_COLOR

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


SHORT_NAMES_INCHES = 0.8
WIDE_RANGE = 20.0
"""Where the largest tolerance is so many times the smallest, the axis is logarithmic down to that, then linear to 0."""


def tolerance_panel(data: ToleranceData, row: int, ax: "Axes | None" = None) -> "Axes":
    """Draws a bar a layer for one coefficient; saturated ones are hatched: the tolerance is at least that.

    Args:
        data: what to draw.
        row: which coefficient.
        ax: where; a new figure where absent.
    """
    from matplotlib.patches import Patch

    ax = ax or new_axes((max(6.0, 1.5 + 0.32 * len(data.layers)), 2.9))
    sigma, is_saturated, lost = data.sigma[row], data.is_saturated[row], data.accuracy_lost_points[row]
    for chosen, style in ((~is_saturated, {}), (is_saturated, {"hatch": "////", "edgecolor": "white"})):
        ax.bar(np.flatnonzero(chosen), sigma[chosen], width=0.75, color=FRONT_COLOR, linewidth=0, **style)
    positive = data.sigma[data.sigma > 0]
    if len(positive) and positive.max() > WIDE_RANGE * positive.min():  # else some bars could not be seen
        ax.set_yscale("symlog", linthresh=decade_below(positive), linscale=0.5)
        ax.set_ylim(0, 2 * float(positive.max()))
    under_noise = "" if np.isnan(lost) else f", {lost:.2f} points lost under noise"
    ax.set_title(f"coefficient {data.coefficients[row]:g}{under_noise}", fontsize="small", loc="left")
    add_grid(ax, "y")
    if row == 0 and data.is_saturated.any():
        patch = Patch(facecolor=FRONT_COLOR, hatch="////", edgecolor="white", linewidth=0, label="at least")
        ax.legend(handles=[patch], loc="upper left", fontsize="small")
    return ax


def tolerances(data: ToleranceData, figure: "Figure | None" = None) -> "Figure":
    """Draws one panel a coefficient, see `tolerance_panel`.

    Args:
        data: what to draw.
        figure: an empty one; a new one, as wide as the layers need, where absent.
    """
    from matplotlib.figure import Figure

    n_panels, n_layers = data.sigma.shape
    size = (max(6.0, 1.5 + 0.32 * n_layers), 1.6 + 1.3 * n_panels + beyond_inches(data))
    figure = figure or Figure(figsize=size, dpi=150, layout="constrained")
    panels = figure.subplots(n_panels, 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for row, panel in enumerate(panels):
        tolerance_panel(data, row, panel)
    name_layers(panels[-1].xaxis, data.layers, length_inches=figure.get_figwidth() - 0.8)
    figure.supylabel("tolerated noise / std of the outputs", fontsize="medium")
    figure.suptitle(data.title, fontsize="medium")
    return figure


def beyond_inches(data: ToleranceData) -> float:
    """Height that long names of layers, which stand upright, need more than short ones."""
    return max(0.0, names_inches(data.layers) - SHORT_NAMES_INCHES)


def tolerances_table(data: ToleranceData) -> pd.DataFrame:
    """One row a coefficient and layer."""
    n_rows, n_layers = data.sigma.shape
    return pd.DataFrame(
        {
            "coefficient": np.repeat(data.coefficients, n_layers),
            "layer": list(data.layers) * n_rows,
            "sigma": data.sigma.ravel(),
            "is_saturated": data.is_saturated.ravel(),
            "accuracy_lost_points": np.repeat(data.accuracy_lost_points, n_layers),
        }
    )


def tolerances_png(data: ToleranceData) -> bytes:
    """The picture of tolerances as the bytes of a PNG file."""
    return png_bytes(tolerances(data))
