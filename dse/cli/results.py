"""Commands about what a run found: `dse show`, `dse export`."""

from pathlib import Path
from typing import Annotated

import typer

from dse.cli.options import Format, FormatOption
from dse.reporting.terminal.fronts import print_front, print_point


def show(
    run: Annotated[Path, typer.Argument(help="A run directory.", metavar="RUN")],
    point: Annotated[int | None, typer.Option(help="Show the multiplier of every layer at this point.")] = None,
    output_format: FormatOption = Format.table,
) -> None:
    """Print the front of a run, or one point of it.

    For example `dse show runs/digits --point 3`.
    """
    from dse.runs.results import open_run

    opened = open_run(run)
    if point is None:
        print_front(opened, output_format)
    else:
        print_point(opened, point, output_format)


def export(
    directory: Annotated[Path, typer.Argument(help="A run, or a set of operating points.", metavar="DIR")],
    point: Annotated[int | None, typer.Option(help="Of the front of a run.", show_default=False)] = None,
    out: Annotated[
        Path | None, typer.Option(help="The two files, without suffix; default in DIR/exported.", metavar="NAME")
    ] = None,
    untuned: Annotated[bool, typer.Option("--untuned", help="As they were before fine-tuning.")] = False,
    output_format: FormatOption = Format.table,
) -> None:
    """Write a point of a run, or all points of a set, as NAME.npz and NAME.json that stand alone.

    For example `dse export runs/digits --point 3`. In Python, `dse.load_exported(NAME)` runs it with the same bits,
    without the network's own code. Points that were fine-tuned are exported so.
    """
    from dse.reporting.terminal.export import print_export
    from dse.runs.exporting import export_points

    print_export(export_points(directory, point=point, out=out, untuned=untuned), output_format)
