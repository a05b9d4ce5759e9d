"""Numbers and names as people read them."""

import math
from collections import Counter

import pandas as pd

from dse.runs.front import SEPARATOR


def percent(share: float) -> str:
    """A share as people read it, two digits after the point.

    >>> percent(0.98765)
    '98.77'
    """
    return f"{100 * share:.2f}"


def duration(seconds: float) -> str:
    """A time as people read it.

    >>> duration(75)
    '1 min 15 s'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def workers_text(jobs: int, threads: int, place: str) -> str:
    """Who measures; `place` is a cluster, or empty.

    >>> workers_text(2, 1, ""), workers_text(8, 1, "dask at tcp://10.0.0.1:8786")
    ('2 jobs x 1 threads', '8 workers of dask at tcp://10.0.0.1:8786 x 1 threads')
    """
    return f"{jobs} {f'workers of {place}' if place else 'jobs'} x {threads} threads"


def count_names(assignment: str) -> str:
    """Multipliers with the number of layers that use them, most used first.

    >>> count_names("a;b;b")
    'b (2), a (1)'
    """
    counts = Counter(assignment.split(SEPARATOR)).most_common()
    return ", ".join(f"{name} ({count})" for name, count in counts)


def median_and_quartiles(table: pd.DataFrame, figure: str, digits: str, *, has_quartiles: bool = True) -> list[str]:
    """A text a row of statistics, empty for NaN.

    Args:
        table: with columns `<figure>_median`, `_q25` and `_q75`.
        figure: which one.
        digits: as `.1f`.
        has_quartiles: or the median alone.
    """
    values = zip(*(table[f"{figure}_{end}"] for end in ("median", "q25", "q75")), strict=True)
    texts = []
    for median, low, high in values:
        quartiles = f" ({low:{digits}} to {high:{digits}})" if has_quartiles else ""
        texts.append("" if math.isnan(median) else f"{median:{digits}}{quartiles}")
    return texts


def saving_title(figure: str, *, with_memory: bool) -> str:
    """A column of a table for a figure of `dse.runs.run_collection.figure_names`, but its first.

    >>> saving_title("saved_at_1_pct", with_memory=False), saving_title("saved_at_0.5_pct", with_memory=True)
    ('saved % at 1 point', 'energy saved % at 0.5 points')
    """
    what, loss = figure.removesuffix("_pct").split("saved_at_")
    whose = (what.removesuffix("_") or "energy") + " " if with_memory else ""
    return f"{whose}saved % at {loss} {'point' if loss == '1' else 'points'}"
