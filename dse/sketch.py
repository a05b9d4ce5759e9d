"""Small pictures as text, for notebooks: SVG of points in a plane, PNG of a heat map. No plotting library is loaded.

Text and axes take the color of the page, so that they can be read on light and dark ones; kinds of points differ in
shape as well as in color.
"""

import base64
import html
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 460, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 10, 42
"""Pixels around the plane."""

BLUE, VERMILION, GRAY = "#0072B2", "#D55E00", "#999999"
"""Of Okabe and Ito; told apart by people who do not see all colors."""


@dataclass(frozen=True, eq=False)
class Points:
    """One kind of points.

    Attributes:
        label: for the legend.
        x: float64 [n].
        y: float64 [n].
        color: as CSS has it.
        shape: `circle`, `diamond` or `dot`, a small circle.
        hints: shown where the mouse rests, one a point, or none.
    """

    label: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    color: str = BLUE
    shape: str = "circle"
    hints: Sequence[str] = field(default=())


@dataclass(frozen=True)
class Axis:
    """One direction of a plane.

    Attributes:
        label: name and unit.
        low: at the edge where the axis begins; for `is_log` above 0.
        high: at the other edge.
        is_log: equal distances are equal factors; what is below `low` is drawn at `low`.
        is_reversed: the axis begins at the right or at the top.
    """

    label: str
    low: float
    high: float
    is_log: bool = False
    is_reversed: bool = False

    def shares(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where values lie between the left (lower) edge and the other, float64 in [0, 1] for those within."""
        values = np.asarray(values, dtype=np.float64)
        low, high = self.low, self.high
        if self.is_log:
            values, low, high = np.log10(np.maximum(values, low)), math.log10(low), math.log10(high)
        found = (values - low) / (high - low)
        return 1 - found if self.is_reversed else found

    def ticks(self) -> list[float]:
        """Round numbers along the axis: about five, or powers of ten."""
        if self.is_log:
            powers = range(math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1)
            return [10.0**power for power in powers]
        step = _round_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        return [step * i for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _round_step(step: float) -> float:
    """The next of 1, 2, 5, 10, ... times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step * (1 - 1e-9))


def scatter_svg(groups: Sequence[Points], x: Axis, y: Axis) -> str:
    """Points in a plane as an SVG element for an HTML page; what lies outside is left out.

    >>> found = Points("front", np.array([1.0, 2.0]), np.array([3.0, 4.0]), hints=["first", "second"])
    >>> scatter_svg([found], Axis("x", 0, 2), Axis("y", 0, 5)).count("<title>")
    2
    """
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + 22}" width="{WIDTH}" '
        f'height="{HEIGHT + 22}" role="img" font-family="sans-serif" font-size="11" fill="currentColor">',
        *_axes(x, y),
        *(mark for group in groups for mark in _marks(group, x, y)),
        *_legend(groups),
        "</svg>",
    ]
    return "".join(parts)


def _place(x_share: float, y_share: float) -> tuple[float, float]:
    """Pixels from the left and from the top."""
    return LEFT + x_share * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y_share * (HEIGHT - TOP - BOTTOM)


def _axes(x: Axis, y: Axis) -> list[str]:
    (left, bottom), (right, top) = _place(0, 0), _place(1, 1)
    grid = 'stroke="currentColor" stroke-opacity="0.15"'
    parts = [f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="currentColor" stroke-opacity="0.6"/>']
    for value, share in zip(x.ticks(), x.shares(np.array(x.ticks())), strict=True):
        at, _ = _place(share, 0)
        parts.append(f'<path d="M{at:.1f} {top}V{bottom}" {grid}/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 14}" text-anchor="middle">{value:g}</text>')
    for value, share in zip(y.ticks(), y.shares(np.array(y.ticks())), strict=True):
        _, at = _place(0, share)
        parts.append(f'<path d="M{left} {at:.1f}H{right}" {grid}/>')
        parts.append(f'<text x="{left - 5}" y="{at + 4:.1f}" text-anchor="end">{value:g}</text>')
    middle = (top + bottom) / 2
    parts.append(
        f'<text x="{(left + right) / 2}" y="{bottom + 30}" text-anchor="middle">{html.escape(x.label)}</text>'
        f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">'
        f"{html.escape(y.label)}</text>"
    )
    return parts


def _marks(group: Points, x: Axis, y: Axis) -> list[str]:
    x_shares, y_shares = x.shares(group.x), y.shares(group.y)
    inside = (x_shares >= -1e-9) & (x_shares <= 1 + 1e-9) & (y_shares >= -1e-9) & (y_shares <= 1 + 1e-9)
    marks = []
    for i in np.flatnonzero(inside):
        hint = f"<title>{html.escape(group.hints[i])}</title>" if len(group.hints) else ""
        marks.append(_mark(group.shape, *_place(x_shares[i], y_shares[i]), color=group.color, hint=hint))
    return marks


def _mark(shape: str, x: float, y: float, *, color: str, hint: str = "") -> str:
    if shape == "diamond":
        return f'<path d="M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5z" fill="{color}">{hint}</path>'
    radius = 1.8 if shape == "dot" else 4
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{color}">{hint}</circle>'


def _legend(groups: Sequence[Points]) -> list[str]:
    parts, at = [], float(LEFT + 6)
    for group in groups:
        parts.append(_mark(group.shape, at, HEIGHT + 8, color=group.color))
        parts.append(f'<text x="{at + 9:.0f}" y="{HEIGHT + 12}">{html.escape(group.label)}</text>')
        at += 24 + 6.0 * len(group.label)
    return parts


def heat_map_png(values: NDArray[np.float64], *, n_pixels: int = 192) -> str:
    """A square heat map as an HTML image: white where the value is 0, dark blue where it is largest.

    Args:
        values: finite and at least 0, float64 [n, n], the first row at the top.
        n_pixels: of each side on the page.
    """
    from PIL import Image

    shares = np.asarray(values, dtype=np.float64) / max(float(np.max(values)), 1e-300)
    light, dark = np.array([255.0, 255.0, 255.0]), np.array([8.0, 48.0, 107.0])
    pixels = light + np.sqrt(shares)[..., None] * (dark - light)
    buffer = io.BytesIO()
    Image.fromarray(pixels.round().astype(np.uint8)).save(buffer, format="PNG", optimize=True)
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img src="data:image/png;base64,{text}" width="{n_pixels}" height="{n_pixels}" alt="heat map"/>'


def scrollable(table: str, *, height_px: int = 320) -> str:
    """A long HTML table in a box of its own."""
    return f'<div style="max-height: {height_px}px; overflow: auto">{table}</div>'
