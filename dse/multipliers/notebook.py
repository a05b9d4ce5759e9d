"""Libraries and multipliers as HTML, for notebooks: what `_repr_html_` of these classes returns."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import numpy as np

from dse.sketch import BLUE, VERMILION, Axis, Points, heat_map_png, scatter_svg, scrollable

if TYPE_CHECKING:
    import pandas as pd

    from dse.multipliers.library import Library
    from dse.multipliers.multiplier import Multiplier

COLUMNS = ("name", "signed", "cost", "unit", "energy_rel", "mae_pct", "wce_pct", "ep_pct", "mre_pct", "bias")
"""Of `Library.to_dataframe` that fit a page."""

POOL = 2
"""Entries of the error table that share a pixel, in each direction; the largest shows."""


def library_html(library: Library) -> str:
    """A library: error against energy as a picture, and a table."""
    table = library.to_dataframe()
    title = f"<p><b>library {html.escape(library.name)}</b>: {len(library)} multipliers</p>"
    shown = table[list(COLUMNS)].to_html(index=False, float_format="{:.4g}".format)
    return title + _errors_svg(table) + scrollable(shown)


def _errors_svg(table: pd.DataFrame) -> str:
    """Nothing where no energy or no error is known."""
    known = table[table["energy_rel"].notna()]
    wrong = known[~known["exact"]]
    if wrong.empty:
        return ""
    smallest, largest = float(wrong["mae_pct"].min()), float(wrong["mae_pct"].max())
    low, high = 10.0 ** np.floor(np.log10(smallest) - 0.3), 10.0 ** np.ceil(np.log10(largest) + 1e-9)
    x = Axis("energy of one multiplication (% of the exact one's)", 0.0, max(105.0, 105 * known["energy_rel"].max()))
    y = Axis("mean error (% of the largest product)", low, high, is_log=True)
    groups = []
    for label, part, color, shape in (
        ("approximate", wrong, BLUE, "circle"),
        ("exact (error 0, at the edge)", known[known["exact"]], VERMILION, "diamond"),
    ):
        hints = [f"{name}: error {error:.3g} %" for name, error in zip(part["name"], part["mae_pct"], strict=True)]
        errors, energies = part["mae_pct"].to_numpy(np.float64), 100 * part["energy_rel"].to_numpy(np.float64)
        groups.append(Points(label, energies, errors, color, shape, hints))
    return scatter_svg([group for group in groups if len(group.x)], x, y)


def multiplier_html(multiplier: Multiplier) -> str:
    """A multiplier: what is known about it, and where it errs."""
    from dse.multipliers.checks import describe

    table = describe(multiplier)[["property", "value"]]
    table = table[table["value"].map(lambda value: value != "" and value is not None)]
    title = f"<p><b>{html.escape(multiplier.name)}</b></p>"
    shown = table.to_html(index=False, float_format="{:.4g}".format)
    if multiplier.is_exact:
        return title + shown
    size = len(multiplier.error) // POOL
    errors = np.abs(multiplier.error.astype(np.float64)).reshape(size, POOL, size, POOL).max(axis=(1, 3))
    note = f"<p>where it errs: activations downwards, weights to the right; darkest {errors.max():g}</p>"
    return title + heat_map_png(errors) + note + scrollable(shown)
