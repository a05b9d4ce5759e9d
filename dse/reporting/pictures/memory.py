"""Fronts of energy, accuracy and memory: in space, and as each two of them see it."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dse.reporting.memory_data import BOUNDS_POINTS, MemoryFrontData, Projection
from dse.reporting.pictures.canvas import add_grid, png_bytes
from dse.reporting.pictures.style import COLORS, DOMINATED_COLOR, EXACT_COLOR, FRONT_COLOR, MARKERS, MOST_LOST_POINTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE, NARROW = (10, 8), 5.0
"""Inches; in a narrow figure a view in space is too small to read."""

LABELS = {
    "energy": "multiplication energy saved (%)",
    "memory": "memory of the weights saved (%)",
    "loss": "accuracy lost (percentage points)",
}
_VIEW = {"elev": 22, "azim": -125}


def memory_front(data: MemoryFrontData, figure: "Figure | None" = None) -> "Figure":
    """Draws a front of three objectives and its three projections; better is up, and to the right.

    Points that two objectives alone would not have are pale there: they are on the front for the third one. Energy is
    seen against memory among points that lose little: else one cheap design that has collapsed beats all others.

    Args:
        data: what to draw.
        figure: an empty one; in a narrow one the projections alone stand below each other.
    """
    from matplotlib.figure import Figure

    figure = figure or Figure(figsize=SIZE, dpi=150, layout="constrained")
    is_narrow = figure.get_figwidth() < NARROW
    rows, columns = (len(data.projections), 1) if is_narrow else (2, 2)
    if not is_narrow:
        _in_space(data, figure.add_subplot(rows, columns, 1, projection="3d"))
    for place, projection in enumerate(data.projections, start=1 if is_narrow else 2):
        draw = _projection if projection.y == "loss" else _bounded
        draw(data, projection, figure.add_subplot(rows, columns, place))
    kib = data.dense_bytes / 1024
    figure.suptitle(f"{data.title}\nweights of {kib:,.1f} KiB in int8, report images", fontsize="medium")
    return figure


def memory_table(data: MemoryFrontData) -> pd.DataFrame:
    """One row a point."""
    names = ("energy_saved_pct", "accuracy_lost_points", "lost_low", "lost_high", "memory_bytes", "memory_saved_pct")
    return pd.DataFrame(
        {"point": data.points, **{name: getattr(data, name) for name in names}, "is_exact": data.is_exact}
    )


def memory_front_png(data: MemoryFrontData) -> bytes:
    """The picture as the bytes of a PNG file."""
    return png_bytes(memory_front(data))


def _values(data: MemoryFrontData, name: str) -> np.ndarray:
    """As they are shown, float64 [n_points]."""
    if name == "loss":
        return data.accuracy_lost_points
    return data.energy_saved_pct if name == "energy" else data.memory_saved_pct


def _in_space(data: MemoryFrontData, ax: "Axes") -> None:
    """Without points that have collapsed, which would squeeze the others into a plane."""
    is_shown = data.accuracy_lost_points <= MOST_LOST_POINTS
    x, y, z = (_values(data, name)[is_shown] for name in ("energy", "memory", "loss"))
    is_exact = data.is_exact[is_shown]
    ground = max(float(z.max(initial=0.0)), 1.0)
    for point in zip(x, y, z, strict=True):  # what stands above what is hard to see without
        ax.plot([point[0]] * 2, [point[1]] * 2, [point[2], ground], color="0.85", linewidth=0.6)
    ax.scatter(x, y, z, c=z, cmap="viridis_r", s=16, depthshade=False)
    ax.scatter(x[is_exact], y[is_exact], z[is_exact], color=EXACT_COLOR, marker="D", s=24)
    ax.set_zlim(ground, min(float(z.min(initial=0.0)), 0.0))
    ax.view_init(**_VIEW)
    ax.set_xlabel("energy saved (%)", fontsize="small")
    ax.set_ylabel("memory saved (%)", fontsize="small")
    ax.set_zlabel("points lost", fontsize="small")
    ax.tick_params(labelsize="small")


def _bounded(data: MemoryFrontData, projection: Projection, ax: "Axes") -> None:
    """Energy against memory, with fronts of the points that lose no more than some bounds."""
    x, y = (_values(data, name) for name in (projection.x, projection.y))
    ax.scatter(x, y, s=12, color=DOMINATED_COLOR, linewidths=0)
    kinds = zip(BOUNDS_POINTS, data.within, COLORS, MARKERS, strict=False)
    for size, (bound, own, color, marker) in zip((4, 6, 8), kinds, strict=True):
        order = np.argsort(x[own], kind="stable")
        label = f"at most {bound:g} point{'s' if bound != 1 else ''} lost"
        ax.plot(
            x[own][order], y[own][order], color=color, linewidth=0.8, marker=marker, markersize=size, label=label,
            fillstyle="none", zorder=3,
        )  # fmt: skip
    _finish(data, projection, ax)


def _projection(data: MemoryFrontData, projection: Projection, ax: "Axes") -> None:
    x, y, own = _values(data, projection.x), _values(data, projection.y), projection.is_front
    ax.scatter(x[~own], y[~own], s=12, color=DOMINATED_COLOR, linewidths=0, label="on the front for the third")
    order = np.argsort(x[own], kind="stable")
    ax.plot(x[own][order], y[own][order], color=FRONT_COLOR, linewidth=0.6, alpha=0.6)
    ax.scatter(x[own], y[own], s=16, color=FRONT_COLOR, linewidths=0, label="front of these two", zorder=3)
    lowest = min(float(y.min(initial=0.0)), 0.0)
    ax.set_ylim(min(max(float(y.max(initial=0.0)), 1.0), MOST_LOST_POINTS) * 1.05, lowest - 0.5)  # lost points down
    ax.axhline(0, color="0.4", linewidth=0.8, linestyle=":")
    _finish(data, projection, ax)


def _finish(data: MemoryFrontData, projection: Projection, ax: "Axes") -> None:
    x, y = (_values(data, name)[data.is_exact] for name in (projection.x, projection.y))
    ax.scatter(x, y, s=24, color=EXACT_COLOR, marker="D", label="exact", zorder=4)
    ax.set_xlabel(LABELS[projection.x])
    ax.set_ylabel(LABELS[projection.y])
    add_grid(ax)
    ax.legend(loc="best", fontsize="small", framealpha=0.9)
