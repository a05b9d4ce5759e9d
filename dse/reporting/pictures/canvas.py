"""Figures of our own to draw on: no window system and no global state of matplotlib is touched."""

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dse.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

SIZE = (7, 4.5)
"""Inches, where nobody says."""

LINE_INCHES, CHARACTER_INCHES = 0.125, 0.062
"""What a line and, on average, a character of small text need."""

MOST_LETTERS = 24
"""Of a name on a picture: longer ones would leave no room for what they name."""

LONG_LABEL = 60
"""Letters of a name in a legend, which has more room."""

FORMATS = ("pdf", "svg", "png")
_DATES = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
"""Left out, so that the same picture is the same file."""


def new_axes(size: tuple[float, float] = SIZE) -> "Axes":
    """Of a new figure of `size` inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=size, dpi=150, layout="constrained").add_subplot()


def picture_bytes(figure: "Figure", file_format: str, *, dpi: float | None = None) -> bytes:
    """The content of a file, the same for the same picture.

    Args:
        figure: what to write; within `style.styled` fonts are embedded as publishers ask for.
        file_format: one of `FORMATS`.
        dpi: pixels an inch of a PNG; by default the style's, which is the figure's own outside of styles.
    """
    buffer = io.BytesIO()
    more = {} if dpi is None else {"dpi": dpi}
    figure.savefig(buffer, format=file_format, metadata=_DATES[file_format], **more)
    return buffer.getvalue()


def png_bytes(figure: "Figure") -> bytes:
    """The content of a PNG file."""
    return picture_bytes(figure, "png")


def format_of(path: object) -> str:
    """By the ending of a file's name.

    >>> format_of("runs/Front.PDF")
    'pdf'

    Raises:
        ConfigError: another one.
    """
    ending = str(path).rpartition(".")[2].lower()
    if ending not in FORMATS:
        raise ConfigError(f"{path}: expected a name that ends in .pdf, .svg or .png")
    return ending


def written_name(name: str, n_most: int = MOST_LETTERS) -> str:
    """A name from outside for matplotlib: dollars are no formula, and the middle of a long one is left out.

    >>> written_name("$a$"), written_name("features.12.block.1.conv", 12)
    ('\\\\$a\\\\$', 'featu…1.conv')
    """
    if len(name) > n_most:
        end = n_most // 2
        name = f"{name[: n_most - 1 - end]}…{name[-end:]}"
    return name.replace("$", r"\$")


def names_inches(names: Sequence[str]) -> float:
    """What the longest of some names needs, about, as `written_name` writes it."""
    return CHARACTER_INCHES * max((min(len(name), MOST_LETTERS) for name in names), default=0)


def name_loss_axes(ax: "Axes") -> None:
    """Energy saved to the right, accuracy lost downwards: better is towards the upper right."""
    ax.yaxis.set_inverted(True)
    ax.set_xlabel("multiplication energy saved (%)")
    ax.set_ylabel("accuracy lost (percentage points)")


def add_grid(ax: "Axes", axis: str = "both") -> None:
    """A light one behind everything."""
    ax.grid(visible=True, axis=axis, alpha=0.25)
    ax.set_axisbelow(True)


def name_layers(axis: "Axis", layers: Sequence[str], *, length_inches: float) -> None:
    """Writes names of layers along an axis whose places are 0, 1, 2, ..., as many as there is room for.

    Args:
        axis: of an `Axes`; names along a horizontal one stand upright.
        layers: every name.
        length_inches: of the axis, about.
    """
    step = max(1, math.ceil(len(layers) * LINE_INCHES / length_inches))
    places = list(range(0, len(layers), step))
    rotation = 90 if axis.axis_name == "x" else 0
    axis.set_ticks(places, [written_name(layers[place]) for place in places], rotation=rotation, fontsize="small")


def name_points(
    ax: "Axes", points: NDArray[np.float64], names: Sequence[str], *, others: NDArray[np.float64] | None = None
) -> None:
    """Writes names beside points, each where it lies on no other point or name and within the axes, or not at all.

    Args:
        ax: with its scales and limits set; where the names end up is estimated from the size of the figure.
        points: float64 [n, 2].
        names: one each, the most important first.
        others: what else is drawn and has no name, float64 [m, 2]; names do not lie on that either.
    """
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=1.5, foreground="white")]  # names may lie on other points
    inches = np.array([ax.figure.get_figwidth() - 0.8, ax.figure.get_figheight() - 1.0])
    drawn = points if others is None else np.concatenate([points, others])
    everywhere = (ax.transScale + ax.transLimits).transform(drawn) * inches
    places = everywhere[: len(points)]
    taken: list[tuple[float, float, float, float]] = []
    for name, point, (x, y) in zip(map(written_name, names), points, places, strict=True):
        width = CHARACTER_INCHES * len(name)
        for side, above in _AROUND:
            left = x + 0.07 * side - width * (1 - side) / 2
            bottom = y + 0.05 * above - LINE_INCHES * (1 - above) / 2
            box = (left, bottom, left + width, bottom + LINE_INCHES)
            is_inside = left >= 0 and bottom >= 0 and box[2] <= inches[0] and box[3] <= inches[1]
            hidden = [*taken, *np.column_stack([everywhere - 0.06, everywhere + 0.06])]
            if is_inside and not any(_overlap(box, other) for other in hidden):
                taken.append(box)
                ax.annotate(
                    name, point, xytext=(5 * side, 4 * above), textcoords="offset points", fontsize="small",
                    ha=("center", "left", "right")[side], va=("center", "bottom", "top")[above], path_effects=halo,
                )  # fmt: skip
                break


_AROUND = ((1, 1), (-1, -1), (1, -1), (-1, 1), (1, 0), (-1, 0), (0, 1), (0, -1))
"""Where names may stand: to the right or left (1, -1), above or below; 0: neither."""


def decade_below(values: NDArray[np.float64]) -> float:
    """The power of ten at or below the smallest value: a scale that is linear from there to 0 has no other tick there.

    >>> decade_below(np.array([0.3, 0.04]))
    0.01
    """
    return float(10.0 ** np.floor(np.log10(values.min())))


def _overlap(first: Sequence[float], second: Sequence[float]) -> bool:
    """Of boxes: left, bottom, right, top."""
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def staircase(corners: NDArray[np.float64], bottom: float) -> NDArray[np.float64]:
    """Corners joined by steps, float64 [n, 2], from the most energy saved at the largest loss to none saved.

    Who may lose more than a corner saves at least as much: below a corner the boundary goes straight down.
    """
    if len(corners) == 0:
        return np.empty((0, 2))
    steps = [(corners[0, 0], bottom)]
    for (saved, lost), (next_saved, _) in zip(corners, [*corners[1:], (0.0, 0.0)], strict=True):
        steps += [(saved, lost), (next_saved, lost)]
    return np.array(steps)
