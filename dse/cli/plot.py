"""Command `dse plot`; see `cli`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dse.reporting.terminal.output import print_note

SIZE = "Size and look"
"""A panel of the help text."""


class Kind(StrEnum):
    """What a picture shows."""

    front = "front"
    progress = "progress"
    attainment = "attainment"
    layers = "layers"
    energy = "energy"
    library = "library"
    predictions = "predictions"
    tolerances = "tolerances"
    points = "points"
    finetuned = "finetuned"
    memory = "memory"


class Spent(StrEnum):
    """What a search spends."""

    evaluations = "evaluations"
    images = "images"
    time = "time"


def plot(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Runs, sweeps, folders of runs; or operating points, tolerances.", metavar="RUN..."),
    ],
    kind: Annotated[
        Kind | None, typer.Option(help="What is shown; default: what suits RUN.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="PDF, SVG or PNG; default KIND.pdf here.", metavar="FILE", show_default=False),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Also write the numbers, as CSV.", metavar="FILE", show_default=False)
    ] = None,
    point: Annotated[int | None, typer.Option(help="Of the front, for --kind energy.", show_default=False)] = None,
    x: Annotated[Spent, typer.Option(help="Of --kind progress.")] = Spent.evaluations,
    max_loss: Annotated[
        float | None,
        typer.Option(help="Where the axis of lost accuracy ends, points; at most 15 by default.", show_default=False),
    ] = None,
    width: Annotated[
        str, typer.Option(help="one (3.5 in) or two (7.16 in) columns, or inches.", rich_help_panel=SIZE)
    ] = "one",
    height: Annotated[
        float | None, typer.Option(help="Inches; default: what it needs.", rich_help_panel=SIZE, show_default=False)
    ] = None,
    style: Annotated[
        str, typer.Option(help="paper, serif, or a style of matplotlib (name or .mplstyle).", rich_help_panel=SIZE)
    ] = "paper",
    title: Annotated[
        str | None, typer.Option(help="Above it; '' for none.", rich_help_panel=SIZE, show_default=False)
    ] = None,
) -> None:
    """Draw runs for a publication: fits a column, readable in print and by color-blind people.

    For example `dse plot runs/first --kind layers --out layers.pdf`, or `dse plot runs/nsga2 runs/random --kind
    attainment --width two`. In Python, `dse.plot` returns matplotlib's figure.
    """
    from dse.api.plot import plot as draw
    from dse.reporting.plot_kinds import default_kind

    chosen = kind.value if kind is not None else default_kind(runs)
    path = out or Path(f"{chosen}.pdf")
    draw(
        runs, kind=chosen, out=path, data=data, width=width, height=height, style=style, title=title,
        max_loss=max_loss, point=point, x=x.value,
    )  # fmt: skip
    print_note(f"{chosen} in {path}" + (f", its numbers in {data}" if data is not None else ""))
