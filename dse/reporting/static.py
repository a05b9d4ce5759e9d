"""Pictures with matplotlib, drawn on figures of our own: no window system and no global state is touched."""

import io
from typing import TYPE_CHECKING

import numpy as np

from dse.reporting.data import FinetunedData, FrontData, PointsData, PredictionData, ToleranceData

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FRONT_COLOR = "#1f4e9c"
EXACT_COLOR = "#c0392b"
POINTS_COLOR = "#d35400"
DOMINATED_COLOR = "0.75"
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
    ax = ax or new_axes((7, 4.5))
    ax.scatter(
        data.dominated_saved_pct, data.dominated_lost_points, s=9, color=DOMINATED_COLOR, linewidths=0,
        label=f"dominated ({len(data.dominated_saved_pct)}), search images",
    )  # fmt: skip
    points = ~data.is_exact
    _errorbar(ax, data, points, color=FRONT_COLOR, marker="o", label="front, report images, 95 % interval")
    _errorbar(ax, data, data.is_exact, color=EXACT_COLOR, marker="D", label="exact network")
    ax.axhline(0, color="0.4", linewidth=0.8, linestyle=":")
    ax.set_ylim(*_loss_limits(data))
    ax.invert_yaxis()
    ax.set_xlabel("multiplication energy saved (%)")
    ax.set_ylabel("accuracy lost (percentage points)")
    ax.set_title(data.title, fontsize="medium")
    ax.grid(visible=True, alpha=0.25)
    ax.set_axisbelow(True)
    ax.legend(loc="lower left", fontsize="small", framealpha=0.9)
    return ax


def front_png(data: FrontData) -> bytes:
    """The picture of a front as the bytes of a PNG file."""
    return png_bytes(front(data).figure)


def predictions(data: PredictionData, ax: "Axes | None" = None) -> "Axes":
    """Draws measured against predicted losses with the predictions' standard deviations; `ax` as in `front`."""
    ax = ax or new_axes((5, 4.5))
    for chosen, color, label in (
        (data.is_blind, DOMINATED_COLOR, "before anything was measured"),
        (~data.is_blind, FRONT_COLOR, "fitted to all designs before"),
    ):
        ax.errorbar(
            data.predicted_points[chosen], data.measured_points[chosen], xerr=data.std_points[chosen], color=color,
            linestyle="none", marker="o", markersize=3, elinewidth=0.5, alpha=0.8, label=label,
        )  # fmt: skip
    top = 1.05 * max(1.0, float(data.measured_points.max(initial=0.0)))
    ax.plot([0, top], [0, top], color="0.4", linewidth=0.8, linestyle=":")
    ax.set_xlim(-0.03 * top, top)
    ax.set_ylim(min(-0.03 * top, float(data.measured_points.min(initial=0.0)) - 0.5), top)
    ax.set_xlabel("predicted loss (percentage points)")
    ax.set_ylabel(f"measured loss on {data.n_images} images (percentage points)")
    figures = f"rank correlation {data.rank_correlation:.3f}, {100 * data.share_within_2_std:.0f} % within 2 std"
    ax.set_title(f"{data.title}\n{figures}", fontsize="medium")
    ax.grid(visible=True, alpha=0.25)
    ax.set_axisbelow(True)
    ax.legend(loc="lower right", fontsize="small", framealpha=0.9)
    return ax


def predictions_png(data: PredictionData) -> bytes:
    """The picture of predictions as the bytes of a PNG file."""
    return png_bytes(predictions(data).figure)


def points(data: PointsData, ax: "Axes | None" = None) -> "Axes":
    """Draws operating points, numbered, on the front of free choice where there is one; axes as in `front`."""
    if data.front is not None:
        ax = front(data.front, ax)
    elif ax is None:
        ax = new_axes((7, 4.5))
        ax.invert_yaxis()
        ax.set_xlabel("multiplication energy saved (%)")
        ax.set_ylabel("accuracy lost (percentage points)")
        ax.grid(visible=True, alpha=0.25)
    y = data.accuracy_lost_points
    error = np.vstack([y - data.lost_low, data.lost_high - y]).clip(min=0)
    ax.errorbar(
        data.energy_saved_pct, y, yerr=error, color=POINTS_COLOR, marker="s", markersize=6, linestyle="-",
        linewidth=0.8, elinewidth=0.9, capsize=2, zorder=4, label="operating points, report images, 95 % interval",
    )  # fmt: skip
    for number, (x, lost) in enumerate(zip(data.energy_saved_pct, y, strict=True)):
        place = (6, 6) if number % 2 == 0 else (-13, -13)  # neighbours may be close
        ax.annotate(str(number), (x, lost), xytext=place, textcoords="offset points", color=POINTS_COLOR, weight="bold")
    bottom, top = ax.get_ylim()  # accuracy lost points down
    lowest, highest = float(data.lost_high.max(initial=0.0)), float(data.lost_low.min(initial=0.0))
    ax.set_ylim(max(bottom, 1.05 * lowest), min(top, highest))
    missing = "" if data.front is not None else "; the run has no front yet"
    ax.set_title(f"{data.title}{missing}\n{len(data.names)} multipliers: {', '.join(data.names)}", fontsize="medium")
    ax.legend(loc="lower left", fontsize="small", framealpha=0.9)
    return ax


def points_png(data: PointsData) -> bytes:
    """The picture of operating points as the bytes of a PNG file."""
    return png_bytes(points(data).figure)


def finetuned(data: FinetunedData, ax: "Axes | None" = None) -> "Axes":
    """Draws an arrow a point from what it lost untuned to what it loses tuned; axes as in `front`."""
    ax = ax or new_axes((7, 4.5))
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
    ax.invert_yaxis()
    ax.set_xlabel("multiplication energy saved (%)")
    ax.set_ylabel(f"accuracy lost on {data.n_images_report} images (percentage points)")
    ax.set_title(data.title, fontsize="medium")
    ax.grid(visible=True, alpha=0.25)
    ax.set_axisbelow(True)
    ax.legend(loc="lower left", fontsize="small", framealpha=0.9)
    return ax


def finetuned_png(data: FinetunedData) -> bytes:
    """The picture of fine-tuned points as the bytes of a PNG file."""
    return png_bytes(finetuned(data).figure)


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


def tolerances(data: ToleranceData) -> "Figure":
    """Draws one panel a coefficient with a bar a layer; saturated ones are hatched: the tolerance is at least that."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    n_panels, n_layers = data.sigma.shape
    size = (max(6.0, 1.5 + 0.32 * n_layers), 1.6 + 1.3 * n_panels)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    panels = figure.subplots(n_panels, 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for panel, coefficient, sigma, is_saturated, lost in zip(
        panels, data.coefficients, data.sigma, data.is_saturated, data.accuracy_lost_points, strict=True
    ):
        for chosen, style in ((~is_saturated, {}), (is_saturated, {"hatch": "////", "edgecolor": "white"})):
            panel.bar(np.flatnonzero(chosen), sigma[chosen], width=0.75, color=FRONT_COLOR, **style)
        title = f"coefficient {coefficient:g}, {lost:.2f} points lost under noise"
        panel.set_title(title, fontsize="small", loc="left")
        panel.grid(visible=True, axis="y", alpha=0.25)
        panel.set_axisbelow(True)
    panels[0].legend(
        handles=[Patch(facecolor=FRONT_COLOR, hatch="////", edgecolor="white", label="at least")],
        loc="upper left", fontsize="small",
    )  # fmt: skip
    panels[-1].set_xticks(range(n_layers), data.layers, rotation=90, fontsize="x-small")
    figure.supylabel("tolerated noise / std of the outputs", fontsize="medium")
    figure.suptitle(data.title, fontsize="medium")
    return figure


def tolerances_png(data: ToleranceData) -> bytes:
    """The picture of tolerances as the bytes of a PNG file."""
    return png_bytes(tolerances(data))


def new_axes(size: tuple[float, float]) -> "Axes":
    """Of a new figure of `size` inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=size, dpi=150, layout="constrained").add_subplot()


def png_bytes(figure: "Figure") -> bytes:
    """The content of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
