"""Command `dse report`; see `cli`."""

from pathlib import Path
from typing import Annotated

import typer

from dse.cli.options import EXECUTION, option, terminable


def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Run directories, sweeps, or folders that hold runs.", metavar="RUN...")
    ],
    out: Annotated[
        Path | None, option("The file; default RUN/report.html, or report.html for several.", EXECUTION, metavar="FILE")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Write it again while the runs go on.")] = False,
    interval: Annotated[float, typer.Option(help="Seconds between two looks with --watch.")] = 5.0,
) -> None:
    """Write runs as one HTML file: front, layers, search, multipliers, table, and how they were made.

    It opens in any browser, offline: nothing is loaded, nothing is sent. Click a point of the front to see its layers.
    For example `dse report runs/first`, or `dse report runs/seeds` for all runs of a sweep side by side. With --watch
    the page reloads itself until the runs are finished.
    """
    from dse.api.report import report as write_report
    from dse.api.report import watch_report
    from dse.reporting.terminal.output import print_note
    from dse.reporting.terminal.report import ReportWatch, print_report

    if not watch:
        print_report(write_report(runs, out=out))
        return
    print_note("watching until the runs are finished; Ctrl-C ends it, the runs go on")
    with terminable("the file stays as it is", at_once=True):
        print_report(watch_report(runs, out=out, interval_s=interval, watch=ReportWatch()))
