"""AxNN's loop in a picture: what every attempt cost and lost, and where each bound ended."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dse.reporting.pictures.canvas import new_axes, png_bytes
from dse.reporting.pictures.style import DOMINATED_COLOR, EXACT_COLOR, FRONT_COLOR, POINTS_COLOR
from dse.runs.axnn import AxnnRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOSS_MARGIN = 1.6
"""Attempts that lost far more than the loosest bound are cut off."""


@dataclass(frozen=True, eq=False)
class AxnnData:
    """Attempts and finished bounds; accuracies in percent.

    Attributes:
        title: network and data.
        energy_pct, accuracy, is_accepted: of each attempt, on the validation images.
        accuracy_exact: of the exact network, on the report images.
        bounds: percent.
        bound_energy_pct, bound_accuracy: of each bound, on the report images.
    """

    title: str
    energy_pct: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    is_accepted: NDArray[np.bool_]
    accuracy_exact: float
    bounds: NDArray[np.float64]
    bound_energy_pct: NDArray[np.float64]
    bound_accuracy: NDArray[np.float64]


def axnn_data(found: AxnnRun, *, title: str) -> AxnnData:
    """What a picture of a design shows."""
    attempts, bounds = found.attempts, found.bounds
    return AxnnData(
        title=title,
        energy_pct=100 * attempts["energy_rel"].to_numpy(dtype=float),
        accuracy=100 * attempts["accuracy"].to_numpy(dtype=float),
        is_accepted=attempts["is_accepted"].to_numpy(dtype=bool),
        accuracy_exact=100 * float(bounds["accuracy_exact"].iloc[0]),
        bounds=bounds["bound_pct"].to_numpy(),
        bound_energy_pct=100 * bounds["energy_rel"].to_numpy(),
        bound_accuracy=100 * bounds["accuracy"].to_numpy(),
    )


def axnn(data: AxnnData, ax: "Axes | None" = None) -> "Axes":
    """Draws energy (percent of the exact network) to the right and accuracy upwards.

    Args:
        data: what to draw.
        ax: where; a new figure of 7 x 4.5 inches where absent.

    Returns:
        The axes, whose figure can be saved.
    """
    ax = ax or new_axes((7, 4.5))
    for chosen, color, label in (
        (~data.is_accepted, DOMINATED_COLOR, "attempts taken back"),
        (data.is_accepted, FRONT_COLOR, "attempts kept, validation images"),
    ):
        ax.scatter(data.energy_pct[chosen], data.accuracy[chosen], s=14, color=color, linewidths=0, label=label)
    ax.plot(
        data.bound_energy_pct, data.bound_accuracy, color=POINTS_COLOR, marker="s", linestyle="none",
        label="finished bounds, report images", zorder=4,
    )  # fmt: skip
    for (x, y), names in _places(data).items():
        ax.annotate(f"{names} %", (x, y), xytext=(6, 5), textcoords="offset points", color=POINTS_COLOR)
    ax.plot(100, data.accuracy_exact, color=EXACT_COLOR, marker="D", linestyle="none", label="exact, report images")
    ax.set_xlim(0, 104)
    ax.set_ylim(*_limits(data))
    ax.set_xlabel("energy (% of the exact network)")
    ax.set_ylabel("accuracy (%)")
    ax.set_title(data.title, fontsize="medium")
    ax.grid(visible=True, alpha=0.25)
    ax.set_axisbelow(True)
    ax.legend(loc="lower right", fontsize="small", framealpha=0.9)
    return ax


def axnn_png(data: AxnnData) -> bytes:
    """The picture of a design as the bytes of a PNG file."""
    return png_bytes(axnn(data).figure)


def _places(data: AxnnData) -> dict[tuple[float, float], str]:
    """Bounds by where they are drawn: one that allows no more than the one before it ends where that did."""
    places: dict[tuple[float, float], str] = {}
    for bound, x, y in zip(data.bounds, data.bound_energy_pct, data.bound_accuracy, strict=True):
        before = f"{places[x, y]}, " if (x, y) in places else ""
        places[x, y] = f"{before}{bound:g}"
    return places


def _limits(data: AxnnData) -> tuple[float, float]:
    shown = [data.accuracy_exact, *data.bound_accuracy, *data.accuracy[data.is_accepted]]
    low, high = min(*shown, data.accuracy_exact - LOSS_MARGIN * data.bounds.max()), max(shown)
    margin = 0.05 * max(high - low, 1.0)
    return low - margin, high + margin
