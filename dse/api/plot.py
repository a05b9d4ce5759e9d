"""`dse.plot`: one picture, sized for print."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.api.compare import paths_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dse.reporting.pictures.progress import Spent
    from dse.reporting.plot import Picture


def plot(
    runs: Any,
    *,
    kind: str | None = None,
    out: str | Path | None = None,
    data: str | Path | None = None,
    width: str | float = "one",
    height: float | None = None,
    style: str = "paper",
    title: str | None = None,
    max_loss: float | None = None,
    point: int | None = None,
    x: "Spent" = "evaluations",
    ax: "Axes | None" = None,
) -> "Picture":
    """Draws runs as people publish them: sized for one column, readable in print, and by color-blind people.

    Args:
        runs: one or several; directories of runs, of sweeps, folders that hold runs, opened runs; or what
            `dse.operating_points` or `dse.finetune` returned; or the directory of one of these, or of `dse tolerances`.
        kind: `front` (of one run, or of several over each other), `progress` (hypervolume over what was spent),
            `attainment` (what half of the runs of a group reach), `layers` (energy of every layer in every point),
            `energy` (share of each layer before and after), `library` (error against energy, used multipliers marked),
            `predictions` (against measurements), `tolerances`, `points`, `finetuned`, or `memory` (where it is an
            objective; in two columns). By default what suits.
        out: where it is written; PDF, SVG or PNG by its ending, the same bytes for the same picture.
        data: a CSV file for the numbers behind it.
        width: `one` (3.5 inches) or `two` columns (7.16 inches), or inches.
        height: inches; what the kind needs by default.
        style: `paper`, `serif` (beside text in Times), a style of matplotlib, or a style sheet.
        title: above it; "" for none.
        max_loss: where the axis of lost accuracy ends, percentage points, for fronts, attainment and points; by
            default where the data end, at 15 for one front and 10 for several.
        point: of the front, for the kind `energy`; by default the one that saves most within a loss of one point.
        x: of the kind `progress`: `evaluations`, `images` or `time`.
        ax: axes of your own to draw on, as matplotlib is set up; size and style are then yours.

    Returns:
        The picture: `.axes` and `.figure` to change, `.table` with the numbers, `.save(path)`.

    Raises:
        ConfigError: an unknown kind or style, a size beyond reason, or a file of another ending.
        RunError: there is nothing to show.

    >>> import dse
    >>> run = dse.explore(population_size=8, generations=2, out="runs/digits")
    >>> picture = dse.plot(run, kind="progress", out="progress.svg")
    >>> picture
    Picture('progress', 3.50 x 2.52 inches, 2 rows)
    >>> picture.axes.get_xlabel()
    'evaluations (different designs)'
    """
    from dse.errors import ConfigError
    from dse.reporting.pictures.canvas import format_of
    from dse.reporting.plot import Layout, draw, draw_on
    from dse.reporting.plot_kinds import Wanted
    from dse.runs.store import write_table

    if out is not None:
        format_of(out)  # before anything is drawn
    if x not in ("evaluations", "images", "time"):
        raise ConfigError(f"x {x!r}: expected evaluations, images or time")
    wanted = Wanted(tuple(paths_of(runs)), point=point, spent_on=x)
    if ax is None:
        picture = draw(kind, wanted, Layout(width, height, style, title, max_loss))
    else:
        picture = draw_on(ax, kind, wanted, title=title)
    if out is not None:
        picture.save(out)
    if data is not None:
        write_table(Path(data), picture.table)
    return picture
