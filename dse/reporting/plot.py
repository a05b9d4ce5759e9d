"""One picture as people publish it: sized for a column, with its numbers beside it."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from dse.errors import ConfigError
from dse.files import replace_file
from dse.reporting.pictures.canvas import format_of, picture_bytes
from dse.reporting.pictures.style import MAX_WIDTH, plain_warnings, styled, width_inches
from dse.reporting.plot_kinds import Wanted, make_drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MIN_HEIGHT = 1.0

LOSS_KINDS = ("front", "attainment", "points", "finetuned")
"""With an axis of lost accuracy."""


@dataclass(frozen=True)
class Layout:
    """How a picture looks.

    Attributes:
        width: `one` or `two` columns, or inches.
        height: inches; None: what the kind needs.
        style: see `dse.reporting.pictures.style.styled`.
        title: above the picture; None: what is shown; empty: none, as where a caption says it.
        max_loss: where the axis of lost accuracy ends, percentage points; None: where the data suggest.
    """

    width: str | float = "one"
    height: float | None = None
    style: str = "paper"
    title: str | None = None
    max_loss: float | None = None


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture that is drawn; notebooks show it.

    Attributes:
        kind: of it.
        figure: matplotlib's, for changes.
        axes: on which it is drawn; its first panel where there are several.
        table: the numbers behind it.
        style: that it was drawn in.
    """

    kind: str
    figure: "Figure"
    axes: "Axes"
    table: pd.DataFrame
    style: str

    def save(self, path: str | Path, *, dpi: float | None = None) -> None:
        """Writes a PDF, SVG or PNG, by the name's ending; fonts are embedded, and no date is written.

        Args:
            path: of the file; replaced where it exists.
            dpi: pixels an inch of a PNG, 300 by default.

        Raises:
            ConfigError: another ending.
            RunError: the file cannot be written.
        """
        replace_file(Path(path), self.content(format_of(path), dpi=dpi))

    def content(self, file_format: str, *, dpi: float | None = None) -> bytes:
        """What `save` writes."""
        with styled(self.style), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # told when it was drawn
            return picture_bytes(self.figure, file_format, dpi=dpi)

    def _repr_png_(self) -> bytes:
        return self.content("png", dpi=150)

    def __repr__(self) -> str:
        width, height = self.figure.get_size_inches()
        return f"Picture({self.kind!r}, {width:.2f} x {height:.2f} inches, {len(self.table)} rows)"


def draw(kind: str | None, wanted: Wanted, layout: Layout | None = None) -> Picture:
    """Draws a picture on a figure of its own.

    Args:
        kind: see `dse.reporting.plot_kinds.KINDS`; None: what suits the directory.
        wanted: what to show.
        layout: how it looks.

    Raises:
        ConfigError: an unknown kind or style, or a size beyond reason.
        RunError: nothing to show.
    """
    from matplotlib.figure import Figure

    layout = layout or Layout()
    width = width_inches(layout.width)
    _check_title(layout.title)
    kind, drawing = make_drawing(kind, wanted)
    height = drawing.height(width) if layout.height is None else _checked_height(layout.height)
    with styled(layout.style):
        figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
        if drawing.on_figure is None:
            drawing.on_axes(figure.add_subplot())
        else:
            drawing.on_figure(figure)
        _set_title(figure, layout.title)
        if layout.max_loss is not None:
            _end_losses(figure.axes[0], kind, layout.max_loss)
        with plain_warnings():
            figure.draw_without_rendering()  # settles the layout while the style holds
    return Picture(kind, figure, figure.axes[0], drawing.table, layout.style)


def draw_on(ax: "Axes", kind: str | None, wanted: Wanted, *, title: str | None = None) -> Picture:
    """Draws a picture on axes of the caller, as matplotlib is set up there."""
    _check_title(title)
    kind, drawing = make_drawing(kind, wanted)
    drawing.on_axes(ax)
    if title is not None:
        ax.set_title(title)
    return Picture(kind, ax.figure, ax, drawing.table, "paper")


def _checked_height(height: float) -> float:
    if not MIN_HEIGHT <= height <= MAX_WIDTH:
        raise ConfigError(f"height {height:g}: expected inches from {MIN_HEIGHT:g} to {MAX_WIDTH:g}")
    return float(height)


def _end_losses(ax: "Axes", kind: str, max_loss: float) -> None:
    if kind not in LOSS_KINDS:
        raise ConfigError(f"max_loss is for pictures of kind {', '.join(LOSS_KINDS)}: leave it out for {kind}")
    least = ax.get_ylim()[1]
    if not least < max_loss < float("inf"):
        raise ConfigError(f"max_loss {max_loss:g}: expected percentage points above {max(0.0, least):g}")
    ax.set_ylim(bottom=max_loss)  # lost accuracy points down


def _check_title(title: str | None) -> None:
    """Text between dollars is a formula for matplotlib, which fails where it cannot read it."""
    from matplotlib.mathtext import MathTextParser

    n_dollars = 0 if title is None else title.replace(r"\$", "").count("$")
    if n_dollars == 0 or n_dollars % 2:
        return
    try:
        MathTextParser("path").parse(title)
    except ValueError as error:
        why = str(error).strip().splitlines()[-1]
        raise ConfigError(
            rf"title {title!r} has a formula that matplotlib cannot read ({why}): write \$ where a dollar is meant"
        ) from None


def _set_title(figure: "Figure", title: str | None) -> None:
    """Long titles go on in a new line: columns are narrow."""
    texts = [figure.axes[0].title] if figure.get_suptitle() == "" else [figure._suptitle]
    for text in texts:
        if title is not None:
            text.set_text(title)
        text.set_wrap(True)
