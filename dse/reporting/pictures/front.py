"""Fronts of energy saved against accuracy lost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dse.pareto import attainment_surface
from dse.reporting.data import FrontData
from dse.reporting.pictures.canvas import (
    LONG_LABEL,
    add_grid,
    name_loss_axes,
    new_axes,
    png_bytes,
    staircase,
    written_name,
)
from dse.reporting.pictures.style import DOMINATED_COLOR, EXACT_COLOR, FRONT_COLOR, MOST_LOST_POINTS, looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes


LOSS_MARGIN, SHOWN_LOST_POINTS = 1.5, 15.0
"""Other designs that lost far more than the front are cut off, and of the front what lost more than so many
points, as in the report: they would squeeze the others into a line."""


def front(data: FrontData, ax: "Axes | None" = None) -> "Axes":
    """Draws a front: energy saved (percent) to the right, accuracy lost (points) downwards.

    Args:
        data: what to draw.
        ax: where; a new figure of 7 x 4.5 inches where absent.

    Returns:
        The axes, whose figure can be saved.
    """
    ax = ax or new_axes()
    if len(data.other_saved_pct):
        ax.scatter(
            data.other_saved_pct, data.other_lost_points, s=9, color=DOMINATED_COLOR, linewidths=0,
            label=f"other designs ({len(data.other_saved_pct)}), search images",
        )  # fmt: skip
    points = ~data.is_exact
    if points.any():
        _errorbar(ax, data, points, color=FRONT_COLOR, marker="o", label="front, report images, 95 % interval")
    exact = "exact network" if points.any() else "exact network, report images, 95 % interval"
    _errorbar(ax, data, data.is_exact, color=EXACT_COLOR, marker="D", label=exact)
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
    end = min(low + LOSS_MARGIN * (high - low), SHOWN_LOST_POINTS)
    margin = 0.05 * max(end - low, 1e-3)
    return low - margin, end + margin


@dataclass(frozen=True, eq=False)
class LabeledFront:
    """One of several fronts.

    Attributes:
        label: of the run, or of the group that it repeats.
        group: number of the group; the fronts of one look alike.
        front: of the run.
    """

    label: str
    group: int
    front: FrontData


@dataclass(frozen=True, eq=False)
class FrontsPicture:
    """Fronts of several runs on one picture."""

    title: str
    fronts: tuple[LabeledFront, ...]


def fronts(data: FrontsPicture, ax: "Axes | None" = None) -> "Axes":
    """Draws several fronts, each with its points and a step line along those that no other of the run beats.

    Args:
        data: what to draw.
        ax: where; a new figure where absent.

    Returns:
        The axes, whose figure can be saved.
    """
    ax = ax or new_axes()
    bottom, end = _common_limits([each.front for each in data.fronts])
    n_of_group = [sum(other.group == each.group for other in data.fronts) for each in data.fronts]
    styles, seen = looks(1 + max(each.group for each in data.fronts)), set()
    for each, n_runs in zip(data.fronts, n_of_group, strict=True):
        look, shown = styles[each.group], each.front
        corners = attainment_surface([np.column_stack([-shown.energy_saved_pct, shown.accuracy_lost_points])], 1)
        line = staircase(corners * [-1, 1], bottom)
        runs = "" if n_runs == 1 else f" ({n_runs} runs)"
        if each.group not in seen:  # an entry of the legend, as strong as its name
            ax.plot([], [], color=look.color, linestyle=look.dash, marker=look.marker, markersize=4, linewidth=1,
                    label=f"{written_name(each.label, LONG_LABEL)}{runs}")  # fmt: skip
        seen.add(each.group)
        alpha = 1.0 if n_runs == 1 else max(0.3, 1 / np.sqrt(n_runs))
        ax.plot(line[:, 0], line[:, 1], color=look.color, linestyle=look.dash, linewidth=0.9, alpha=alpha)
        ax.plot(
            shown.energy_saved_pct, shown.accuracy_lost_points, color=look.color, marker=look.marker, markersize=3.5,
            markeredgewidth=0, linestyle="none", alpha=alpha,
        )  # fmt: skip
    ax.axhline(0, color="0.4", linewidth=0.8, linestyle=":")
    ax.set_ylim(end, min(0.0, *(float(each.front.accuracy_lost_points.min()) for each in data.fronts)) - 0.04 * end)
    ax.set_xlim(left=0)
    name_loss_axes(ax)
    ax.set_title(data.title, fontsize="medium")
    add_grid(ax)
    ax.legend(loc="best", fontsize="small", framealpha=0.9)
    return ax


def _common_limits(shown: Sequence[FrontData]) -> tuple[float, float]:
    """The largest loss of all, and where the axis ends: beyond `MOST_LOST_POINTS` networks have collapsed."""
    bottom = 1.05 * max(1.0, *(float(each.accuracy_lost_points.max()) for each in shown))
    return bottom, min(bottom, MOST_LOST_POINTS)


def front_table(data: FrontData) -> pd.DataFrame:
    """One row a point of the front, measured on the report images."""
    return pd.DataFrame(
        {
            "energy_saved_pct": data.energy_saved_pct,
            "accuracy_lost_points": data.accuracy_lost_points,
            "lost_low": data.lost_low,
            "lost_high": data.lost_high,
            "is_exact": data.is_exact,
        }
    )


def fronts_table(data: FrontsPicture) -> pd.DataFrame:
    """One row a point."""
    parts = [front_table(each.front).assign(group=each.label) for each in data.fronts]
    table = pd.concat(parts, keys=range(len(parts)), names=["front", None]).reset_index("front")
    return table[["front", "group", *(name for name in table.columns if name not in ("front", "group"))]]
