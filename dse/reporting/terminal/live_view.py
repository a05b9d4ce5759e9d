"""The live view of a search as lines of text: what is drawn, and how. No terminal is needed to draw it.

Energy saved is to the right, accuracy lost points down, as in the pictures. Every kind of design has a sign of its own,
so that colors only repeat what the signs say.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dse.pareto import front_indices
from dse.reporting.wording import duration
from dse.runs.loop import Progress

DEEPEST_POINTS = 15.0
"""Accuracy lost at the lower edge, at most: what lies deeper is counted, not drawn."""

MARGIN = 1.25
"""The lower edge lies so much deeper than the deepest design of the front."""

STEP_PCT = 10.0
"""Of energy saved, between numbers below the axis."""

ROWS_A_NUMBER, COLUMNS_A_NUMBER = 4, 8
"""At least so far apart are numbers at the axes."""

MIN_WIDTH, MIN_HEIGHT = 50, 14
"""Characters and lines below which nothing can be seen."""

AXIS_WIDTH = 6
"""Characters of the numbers at the left, with the axis."""


@dataclass(frozen=True)
class Glyphs:
    """What designs and lines are drawn with."""

    front: str = "●"
    exact: str = "◆"
    dominated: str = "·"
    vertical: str = "│"
    horizontal: str = "─"
    corner: str = "└"
    levels: str = "▁▂▃▄▅▆▇█"


UNICODE = Glyphs()
ASCII = Glyphs(front="O", exact="X", dominated=".", vertical="|", horizontal="-", corner="+", levels="_.-=+*#@")
"""Where the terminal cannot show the others."""


@dataclass(frozen=True, eq=False)
class LiveData:
    """Where a search stands.

    Attributes:
        title: network, data and directory.
        phase: what is going on.
        energy_saved_pct: of the designs measured on all images, float64 [n], percent.
        accuracy_lost_points: likewise, against the exact network, percentage points.
        is_front: which of them nothing dominates, bool [n].
        is_exact: which is the exact network, bool [n].
        hypervolume: after every generation, float64 [n_generations].
        n_gen: generations finished.
        n_generations: of all there will be; None where unknown.
        n_eval: different designs measured so far.
        n_evaluations: all there may be; None where unlimited.
        n_images: images simulated for them.
        rate_images_s: images simulated a second, by this process; NaN where unknown.
        n_left: evaluations left in this batch.
        time_s: since the search began.
        left_s: until it ends, about; None where unknown.
        best_saved_pct: energy saved at `floor_pct` or more, percent; NaN where nothing reaches it.
        floor_pct: accuracy, percent.
    """

    title: str
    phase: str
    energy_saved_pct: NDArray[np.float64]
    accuracy_lost_points: NDArray[np.float64]
    is_front: NDArray[np.bool_]
    is_exact: NDArray[np.bool_]
    hypervolume: NDArray[np.float64]
    n_gen: int = 0
    n_generations: int | None = None
    n_eval: int = 0
    n_evaluations: int | None = None
    n_images: int = 0
    rate_images_s: float = float("nan")
    n_left: int = 0
    time_s: float = 0.0
    left_s: float | None = None
    best_saved_pct: float = float("nan")
    floor_pct: float = float("nan")


def designs_data(progress: Progress) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """`energy_saved_pct`, `accuracy_lost_points`, `is_front` and `is_exact` of `LiveData`; empty before a generation.

    More objectives than energy and accuracy count for the front, and are not drawn.
    """
    F = progress.F if progress.F is not None else np.empty((0, 2))
    is_exact = np.zeros(len(F), dtype=bool)
    is_exact[:1] = True
    is_front = np.zeros(len(F), dtype=bool)
    is_front[front_indices(F) if len(F) else []] = True
    saved, lost = 100 * (1 - F[:, 0]), 100 * (F[:, 1] - F[:1, 1])
    known = ~np.isnan(F).any(axis=1)
    return saved[known], lost[known], is_front[known], is_exact[known]


def live_lines(data: LiveData, *, width: int, height: int, glyphs: Glyphs = UNICODE) -> list[str]:
    """Draws where a search stands.

    Args:
        data: what to draw.
        width: characters a line, at most; at least `MIN_WIDTH`.
        height: lines, at most; at least `MIN_HEIGHT`.
        glyphs: to draw with.

    Returns:
        Exactly `height` lines, none longer than `width`.
    """
    head = [data.title, _counts(data), _times(data), *_curve(data, glyphs, width)]
    legend = _legend(data, glyphs)
    plot = plot_lines(data, width=width, height=height - len(head) - 1, glyphs=glyphs)
    return [line[:width] for line in (*head, *plot, legend)]


def plot_lines(data: LiveData, *, width: int, height: int, glyphs: Glyphs = UNICODE) -> list[str]:
    """The designs alone, with axes: `height` lines."""
    rows, columns = height - 3, width - AXIS_WIDTH - 1  # half of the last number lies beyond the last column
    low, high = saved_limits(data)
    top, bottom = lost_limits(data)
    canvas = np.full((rows, columns), " ")
    is_plain = ~(data.is_front | data.is_exact)
    for chosen, glyph in (
        (is_plain, glyphs.dominated), (data.is_front, glyphs.front), (data.is_exact, glyphs.exact),
    ):  # fmt: skip
        lost = data.accuracy_lost_points[chosen]
        is_inside = lost <= bottom
        at_row = _cells(lost[is_inside], top, bottom, rows)
        canvas[at_row, _cells(data.energy_saved_pct[chosen][is_inside], low, high, columns)] = glyph
    labels = {row: f"{top + row * (bottom - top) / (rows - 1):.1f}" for row in range(0, rows, ROWS_A_NUMBER)}
    lines = [f"{labels.get(i, ''):>{AXIS_WIDTH - 1}}{glyphs.vertical}{''.join(row)}" for i, row in enumerate(canvas)]
    lines.append(" " * (AXIS_WIDTH - 1) + glyphs.corner + glyphs.horizontal * columns)
    return ["accuracy lost (points, downwards) by energy saved (%)", *lines, _column_labels(low, high, columns)]


def saved_limits(data: LiveData) -> tuple[float, float]:
    """Energy saved at the left and right edges, percent, multiples of `STEP_PCT`."""
    found = data.energy_saved_pct
    low = STEP_PCT * np.floor(min(0.0, float(found.min(initial=0.0))) / STEP_PCT)
    return float(low), float(STEP_PCT * max(1.0, np.ceil(float(found.max(initial=0.0)) / STEP_PCT)))


def lost_limits(data: LiveData) -> tuple[float, float]:
    """Accuracy lost at the upper and lower edges, percentage points."""
    front = data.accuracy_lost_points[data.is_front]
    top = min(0.0, float(front.min(initial=0.0)))
    return top, min(DEEPEST_POINTS, max(top + 1.0, MARGIN * float(front.max(initial=0.0))))


def sparkline(values: Sequence[float] | NDArray[np.float64], *, width: int, glyphs: Glyphs = UNICODE) -> str:
    """A curve in one line, from its lowest to its highest value; the last value of each part where it is too long.

    >>> sparkline([0, 1, 2, 3], width=10)
    '▁▃▆█'
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) > width:
        values = values[np.linspace(0, len(values) - 1, width).round().astype(int)]
    cells = _cells(values, values.min(initial=np.inf), values.max(initial=-np.inf), len(glyphs.levels))
    return "".join(glyphs.levels[cell] for cell in cells)


def _cells(values: NDArray[np.float64], low: float, high: float, n: int) -> NDArray[np.int64]:
    """Which of `n` cells between the limits each value is in, int64 [len(values)]; 0 where the limits are one."""
    share = (values - low) / (high - low) if high > low else np.zeros(len(values))
    return np.clip(np.round(share * (n - 1)), 0, n - 1).astype(np.int64)


def _column_labels(low: float, high: float, columns: int) -> str:
    """The line of numbers below the axis, each centered at its place."""
    line = [" "] * (columns + AXIS_WIDTH + 1)
    n_steps = round((high - low) / STEP_PCT)
    every = -(-n_steps * COLUMNS_A_NUMBER // columns)  # rounded up
    for step in range(0, n_steps + 1, every):
        text = f"{low + step * STEP_PCT:.0f}"
        begin = AXIS_WIDTH + round(step / n_steps * (columns - 1)) - (len(text) - 1) // 2
        begin = min(begin, len(line) - len(text))
        line[begin : begin + len(text)] = text
    return "".join(line).rstrip()


def _counts(data: LiveData) -> str:
    generations = f"/{data.n_generations}" if data.n_generations else ""
    evaluations = f"/{data.n_evaluations:,}" if data.n_evaluations else ""
    left = f", {data.n_left} to do" if data.n_left else ""
    return f"{data.phase}: generation {data.n_gen}{generations}, {data.n_eval:,}{evaluations} evaluations{left}"


def _times(data: LiveData) -> str:
    rate = "" if np.isnan(data.rate_images_s) else f", {data.rate_images_s:,.0f} a second"
    left = "" if data.left_s is None else f", about {duration(data.left_s)} left"
    return f"{data.n_images:,} images simulated{rate}; {duration(data.time_s)} so far{left}"


def _curve(data: LiveData, glyphs: Glyphs, width: int) -> list[str]:
    """Hypervolume over generations; energy saved at the accuracy of interest."""
    if not len(data.hypervolume):
        return ["hypervolume", ""]
    text = f"hypervolume {data.hypervolume[-1]:.4f} "
    saved = "none yet" if np.isnan(data.best_saved_pct) else f"{data.best_saved_pct:.1f} %"
    return [
        text + sparkline(data.hypervolume, width=width - len(text), glyphs=glyphs),
        f"energy saved at accuracy {data.floor_pct:.1f} %: {saved}",
    ]


def _legend(data: LiveData, glyphs: Glyphs) -> str:
    n_below = int((data.accuracy_lost_points > lost_limits(data)[1]).sum())
    below = f" ({n_below} below)" if n_below else ""
    dominated = f"dominated {int((~(data.is_front | data.is_exact)).sum())}{below}"
    return (
        f"{glyphs.front} front {int(data.is_front.sum())}  {glyphs.dominated} {dominated}  {glyphs.exact} exact network"
    )
