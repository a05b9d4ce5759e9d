"""How pictures look: colors that color-blind people tell apart, sizes of a page's columns, fonts that print.

Colors are those of Okabe and Ito, "Color Universal Design", 2008, https://jfly.uni-koeln.de/color/; Wong, "Points of
view: Color blindness", Nature Methods 8, 2011, recommends them for figures. Nothing is told by color alone: each color
comes with a marker and a dash.

Widths are those of the columns of IEEE and ACM journals. Text is set at its final size, 7 to 8.4 points at these
widths, so include pictures without scaling them.
"""

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dse.errors import ConfigError, unknown_name

_log = logging.getLogger("dse")

BLUE, VERMILLION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
SKY_BLUE, ORANGE, BLACK = "#56b4e9", "#e69f00", "#000000"
COLORS = (BLUE, VERMILLION, GREEN, PURPLE, SKY_BLUE, ORANGE, BLACK)
"""Without the yellow, which is too light for lines on white."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":")

FRONT_COLOR, EXACT_COLOR, POINTS_COLOR = BLUE, BLACK, VERMILLION
DOMINATED_COLOR = "0.75"

MOST_LOST_POINTS = 10.0
"""Losses beyond are cut off where several fronts are drawn: they would squeeze the others into a line."""

COLUMN_WIDTHS = {"one": 3.5, "two": 7.16}
"""Of a page, in inches."""

MIN_WIDTH, MAX_WIDTH = 1.5, 40.0
"""Inches; in less there is no room for text, and more is a mistake."""

_BASE = {
    "font.size": 8.4,  # "medium"; "small", for ticks and legends, is 7.0
    "xtick.labelsize": "small",
    "ytick.labelsize": "small",
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "grid.linewidth": 0.5,
    "legend.handlelength": 1.6,
    "legend.borderpad": 0.3,
    "legend.labelspacing": 0.3,
    "hatch.linewidth": 0.5,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,  # TrueType, as publishers ask for; the default is Type 3
    "ps.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "dse",  # names of clip paths are random otherwise
}
_SERIF = {
    "font.family": "serif",
    "font.serif": ["Times New Roman", "Nimbus Roman", "Liberation Serif", "STIXGeneral"],
    "mathtext.fontset": "stix",
}

STYLES: Mapping[str, Mapping[str, object]] = {"paper": _BASE, "serif": _BASE | _SERIF}
"""By name: `paper` for print, `serif` beside text set in Times."""


@contextmanager
def styled(style: str = "paper") -> Iterator[None]:
    """What is drawn and saved within looks like `style`; matplotlib's own settings are as before afterwards.

    Args:
        style: one of `STYLES`; or one of matplotlib's (`matplotlib.style.available`) or a style sheet (`.mplstyle`),
            which wins over `paper`.

    Raises:
        ConfigError: unknown.
    """
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()  # the user's own settings would make other pictures on other machines
        mpl.rcParams.update(STYLES.get(style, _BASE))
        if style not in STYLES:
            _use_style_sheet(style)
        yield


@contextmanager
def plain_warnings() -> Iterator[None]:
    """What matplotlib warns of while it draws is logged in a line, once, and by what helps; other warnings pass."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    texts = [str(each.message) for each in caught]
    signs = "".join(dict.fromkeys(chr(int(text.split()[1])) for text in texts if _GLYPH.match(text)))
    if signs:
        _log.warning("the font has no %s: boxes are drawn instead. Another one is set by --style FILE.mplstyle", signs)
    if any(_LAYOUT in text for text in texts):
        _log.warning("the picture is too small for what stands around it: ask for more --width or --height")
    for each, text in zip(caught, texts, strict=True):
        if not _GLYPH.match(text) and _LAYOUT not in text:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)


_GLYPH, _LAYOUT = re.compile(r"Glyph \d+ .*missing from"), "constrained_layout not applied"


def _use_style_sheet(style: str) -> None:
    from matplotlib import style as sheets

    if not (style in sheets.available or Path(style).is_file()):
        known = [*STYLES, *sheets.available]
        raise ConfigError(f"{unknown_name('style', style, known)} A style sheet is a file, NAME.mplstyle")
    try:
        sheets.use(style)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise ConfigError(f"style sheet {style} cannot be read ({error}): expected matplotlib's key: value") from None


def width_inches(width: str | float) -> float:
    """A column's width, or inches as they are.

    >>> width_inches("one"), width_inches("5")
    (3.5, 5.0)

    Raises:
        ConfigError: neither, or inches beyond reason.
    """
    if width in COLUMN_WIDTHS:
        return COLUMN_WIDTHS[str(width)]
    try:
        inches = float(width)
    except ValueError:
        inches = float("nan")
    if not MIN_WIDTH <= inches <= MAX_WIDTH:
        raise ConfigError(
            f"width {width}: expected one (3.5 inches), two (7.16 inches), or inches from {MIN_WIDTH:g} to "
            f"{MAX_WIDTH:g}. Centimeters are 2.54 to the inch"
        )
    return inches


@dataclass(frozen=True)
class Look:
    """How one of several is drawn."""

    color: str
    marker: str
    dash: str


def looks(n: int) -> list[Look]:
    """Of `n` things on one picture, all different up to 28: colors first, then dashes.

    >>> [look.color for look in looks(2)]
    ['#0072b2', '#d55e00']
    """
    return [
        Look(COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)], DASHES[i // len(COLORS) % len(DASHES)])
        for i in range(n)
    ]
