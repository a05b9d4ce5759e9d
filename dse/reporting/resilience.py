"""How resilient neurons are, in pictures: scores of every layer, and where in a picture they are high."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dse.reporting.pictures.canvas import new_axes, png_bytes
from dse.reporting.pictures.style import FRONT_COLOR, POINTS_COLOR
from dse.robustness.neuron_scores import Resilience

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 7
"""Maps beside each other, at most."""

MAP_RANGE = (0.0, 2.0)
"""Of map values relative to the mean of their map, as they are colored."""


@dataclass(frozen=True, eq=False)
class ScoresData:
    """Scores of all neurons.

    Attributes:
        title: network, data, number of images.
        layers: names, in order of execution.
        scores: of each layer those that are not 0, float64 [n].
        n_zero: neurons with a score of 0 that are left out, for the axis is logarithmic.
    """

    title: str
    layers: tuple[str, ...]
    scores: tuple[NDArray[np.float64], ...]
    n_zero: int


def scores_data(found: Resilience, *, title: str) -> ScoresData:
    """What a picture of scores shows."""
    positive = tuple(scores[scores > 0] for scores in found.scores)
    return ScoresData(
        title=f"{title}, {found.n_images} images",
        layers=tuple(layer.name for layer in found.layers),
        scores=positive,
        n_zero=found.n_neurons - sum(map(len, positive)),
    )


def scores(data: ScoresData, ax: "Axes | None" = None) -> "Axes":
    """Draws a box a layer from the lower to the upper quartile, whiskers to the ends, and every neuron as a dot.

    Args:
        data: what to draw.
        ax: where; a new figure, as wide as the layers need, where absent.

    Returns:
        The axes, whose figure can be saved.
    """
    ax = ax or new_axes((max(6.0, 1.5 + 0.32 * len(data.layers)), 4.5))
    places = np.arange(len(data.layers))
    line = {"color": FRONT_COLOR, "linewidth": 1.0}
    ax.boxplot(
        data.scores, positions=places, widths=0.6, whis=(0, 100), showfliers=False, boxprops=line, whiskerprops=line,
        capprops=line, medianprops={"color": POINTS_COLOR, "linewidth": 1.6}, manage_ticks=False,
    )  # fmt: skip
    for place, values in zip(places, data.scores, strict=True):
        spread = place + np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else np.array([place] * len(values))
        ax.scatter(spread, values, s=3, color=FRONT_COLOR, alpha=0.35, linewidths=0, zorder=1)
    if any(map(len, data.scores)):
        ax.set_yscale("log")
    ax.set_xticks(places, data.layers, rotation=90, fontsize="x-small")
    ax.set_xlim(-0.6, len(places) - 0.4)
    ax.set_ylabel("score: mean |slope of the loss|\n(low: resilient)")
    zeros = f"; {data.n_zero} neurons with a score of 0 not shown" if data.n_zero else ""
    ax.set_title(f"{data.title}{zeros}", fontsize="medium")
    ax.grid(visible=True, axis="y", alpha=0.25)
    ax.set_axisbelow(True)
    return ax


def scores_png(data: ScoresData) -> bytes:
    """The picture of scores as the bytes of a PNG file."""
    return png_bytes(scores(data).figure)


@dataclass(frozen=True, eq=False)
class PositionsData:
    """Maps of the layers that have an interior.

    Attributes:
        title: network, data, number of images.
        layers: names, in order of execution.
        maps: of each layer relative to its mean, float64 [H, W].
        edge_ratios: border over interior, float64 [n_layers].
    """

    title: str
    layers: tuple[str, ...]
    maps: tuple[NDArray[np.float64], ...]
    edge_ratios: NDArray[np.float64]


def positions_data(found: Resilience, *, title: str) -> PositionsData:
    """What a picture of maps shows; there may be none."""
    shown = [layer for layer in found.layers if np.isfinite(layer.edge_ratio)]
    return PositionsData(
        title=f"{title}, {found.n_images} images",
        layers=tuple(layer.name for layer in shown),
        maps=tuple(layer.position_map / layer.position_map.mean() for layer in shown),
        edge_ratios=np.array([layer.edge_ratio for layer in shown]),
    )


def positions(data: PositionsData) -> "Figure":
    """Draws a map a layer, dark where neurons are resilient; all have the same colors."""
    from matplotlib.figure import Figure

    n_columns = max(1, min(COLUMNS, len(data.maps)))
    n_rows = max(1, -(-len(data.maps) // n_columns))
    size = (max(5.0, 1.0 + 1.5 * n_columns), 1.0 + 1.75 * n_rows)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    shown, image = [], None
    for panel, name, values, ratio in zip(panels, data.layers, data.maps, data.edge_ratios, strict=False):
        image = panel.imshow(values, cmap="cividis", vmin=MAP_RANGE[0], vmax=MAP_RANGE[1], interpolation="nearest")
        panel.set_title(f"{name}\nedge / interior {ratio:.2f}", fontsize="xx-small")
        shown.append(panel)
    for panel in panels:
        panel.set_xticks([])
        panel.set_yticks([])
        panel.set_visible(panel in shown)
    if image is not None:
        bar = figure.colorbar(image, ax=panels.tolist(), shrink=0.6, extend="max")
        bar.set_label("|slope of the loss| / mean of the layer", fontsize="small")
    else:
        figure.text(0.5, 0.5, "no layer has positions inside and at the edge", ha="center", va="center")
    figure.suptitle(data.title, fontsize="medium")
    return figure


def positions_png(data: PositionsData) -> bytes:
    """The picture of maps as the bytes of a PNG file."""
    return png_bytes(positions(data))
