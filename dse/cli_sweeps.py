"""Commands about many runs; see `cli`."""

from pathlib import Path
from typing import Annotated

import typer

from dse.cli_options import EXECUTION, EXIT_INTERRUPTED, Format, FormatOption, option, terminable
from dse.reporting import terminal

EXIT_UNFINISHED = 1
"""Some runs of a sweep failed, or were interrupted."""


def sweep(
    sweep_file: Annotated[Path, typer.Argument(help="A TOML file with a table [sweep].", metavar="SWEEP.toml")],
    jobs: Annotated[int, option("Runs at a time; default 1.", EXECUTION)] = 1,
    out: Annotated[Path | None, option("Directory; default runs/SWEEP.", EXECUTION, metavar="DIR")] = None,
    output_format: FormatOption = Format.table,
) -> None:
    """Do many runs: every combination of the values of a few axes, as seeds, networks, libraries and methods.

    A sweep file is a run file, or names one with `base = "run.toml"`, and has a table of lists. For example

        [sweep]
        search.seed = [0, 1, 2]
        search.method = ["nsga2", "random"]

    The same command continues what is not finished, and does what was added to the lists.
    """
    from dse import api_sweeps
    from dse.reporting.terminal_sweeps import RunsWatch, print_status

    with terminable():
        try:
            table = api_sweeps.sweep(sweep_file, jobs=jobs, out=out, watch=RunsWatch())
        except KeyboardInterrupt:
            terminal.print_note("interrupted; everything measured is kept. Repeat the same command to continue")
            raise typer.Exit(EXIT_INTERRUPTED) from None
    print_status(table, output_format)
    if (table["state"] != "finished").any():
        raise typer.Exit(EXIT_UNFINISHED)


def status(
    directory: Annotated[Path, typer.Argument(help="Of a sweep, or a folder that holds runs.", metavar="DIR")],
    output_format: FormatOption = Format.table,
) -> None:
    """Print where every run stands: state, evaluations, hypervolume so far.

    For example `dse status runs/seeds`. Works while they run.
    """
    from dse.reporting.terminal_sweeps import print_status
    from dse.runs.run_status import status_table

    print_status(status_table(directory), output_format)


def collect(
    directory: Annotated[Path, typer.Argument(help="Of a sweep, or a folder that holds runs.", metavar="DIR")],
    out: Annotated[Path | None, option("Where the files go; default DIR.", EXECUTION, metavar="DIR")] = None,
    output_format: FormatOption = Format.table,
) -> None:
    """Put the fronts of all finished runs into one table, with statistics over seeds and attainment surfaces.

    Writes collected.csv (all fronts), statistics.csv (median and quartiles of each group of runs that differ in seeds
    only), attainment.csv and attainment.png. For example `dse collect runs/seeds`.
    """
    from dse import api_sweeps
    from dse.reporting.terminal_sweeps import print_collection

    print_collection(api_sweeps.collect(directory, out=out), output_format, path=out or directory)
