"""Command `dse compare`; see `cli`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dse.cli.options import Format, FormatOption, numbers


class Table(StrEnum):
    """Which table of a comparison."""

    groups = "groups"
    runs = "runs"
    tests = "tests"
    ahead = "ahead"
    standings = "standings"


def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Run directories, sweeps, or folders that hold runs.", metavar="RUN...")
    ],
    losses: Annotated[str, typer.Option(help="Percentage points at which savings are compared.")] = "0.5,1,2",
    baseline: Annotated[
        str | None,
        typer.Option(help="Group that all others are compared with.", metavar="GROUP", show_default=False),
    ] = None,
    output_format: FormatOption = Format.table,
    table: Annotated[Table, typer.Option(help="Which one --format csv prints.")] = Table.groups,
) -> None:
    """Compare runs: hypervolume, energy saved at fixed losses, what that took, and who is ahead at which loss.

    Runs that differ in seeds only are a group, with median and quartiles; groups of several runs are tested against
    each other. For example `dse compare runs/nsga2 runs/random`, each a folder with a run a seed.
    """
    from dse.api.compare import compare as compare_runs
    from dse.reporting.terminal.comparison import print_comparison

    found = compare_runs(runs, losses=numbers(losses, "--losses", "0.5,1,2"), baseline=baseline)
    print_comparison(found, output_format, table=table.value)
