"""The command `dse`: parse, call, print. What it calls is there in Python too (`dse.explore`, `dse.open_run`)."""

import sys
from typing import Annotated

import typer

from dse import __version__
from dse.cli import (
    axnn,
    compare,
    explore,
    finetune,
    installation,
    match,
    multipliers,
    operating_points,
    plot,
    report,
    resilience,
    results,
    sweeps,
    tolerances,
)  # fmt: skip
from dse.errors import DseError
from dse.reporting.terminal.output import configure_logging, print_error

EXIT_ERROR = 2

app = typer.Typer(
    name="dse",
    help="Find which approximate multiplier each layer of a neural network should use.\n\n"
    "Start with `dse explore`, which runs a small example in about a minute.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.add_typer(multipliers.app, name="multipliers")
for command in (
    explore.explore, tolerances.tolerances, match.match, resilience.resilience, axnn.axnn, sweeps.sweep, sweeps.status,
    sweeps.collect, operating_points.operating_points, finetune.finetune, results.show, results.export,
    compare.compare, report.report, plot.plot, installation.networks, installation.doctor,
):  # fmt: skip
    app.command()(command)


def main() -> None:
    """Runs the command and turns errors into one line and an exit code."""
    debug = "--debug" in sys.argv
    try:
        app()
    except DseError as error:
        if debug:
            raise
        print_error(str(error))
        sys.exit(EXIT_ERROR)
    except OSError as error:  # a disk or a file that fails where nobody thought of it
        if debug:
            raise
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
        print_error(f"{what}. Everything finished before is saved: repeat the same command to continue")
        sys.exit(EXIT_ERROR)


def _version(is_asked: bool) -> None:
    if is_asked:
        print(f"dse {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    configure_logging(debug)
