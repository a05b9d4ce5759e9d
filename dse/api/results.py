"""`dse.show`: what a run found."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def show(run: Any, *, point: int | None = None) -> "pd.DataFrame":
    """The front of a finished run, or one point of it, as the command `dse show` prints them.

    Args:
        run: a run directory, or a `Run`.
        point: of the front, from 0; None: the whole front.

    Returns:
        `Run.front`, one row a point, or `Run.assignment(point)`, one row a layer.

    Raises:
        RunError: no run is there, it has no front yet, or no such point.

    >>> import dse
    >>> run = dse.explore(population_size=8, generations=2, out="runs/digits")
    >>> dse.show(run)["is_exact"].tolist()[-1:]  # the last point is the exact network
    [True]
    >>> dse.show("runs/digits", point=0)[["layer", "multiplier", "energy_rel"]]
             layer    multiplier  energy_rel
    0   features.0 ...
    1   features.3 ...
    2   features.7 ...
    3  features.10 ...
    4       linear ...
    """
    from dse.runs.results import Run, open_run

    opened = run if isinstance(run, Run) else open_run(Path(run))
    return opened.front if point is None else opened.assignment(point)
