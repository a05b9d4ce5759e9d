"""What commands have in common: options of the same name and meaning, the format of tables, how they end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from dse import stopping
from dse.errors import ConfigError
from dse.reporting.terminal.output import print_note

EXIT_INTERRUPTED = 130

INPUT, INTEGER, SEARCH, EXECUTION = "Network, data, multipliers", "Quantization and recovery", "Search", "Execution"
LEARNING, POINTS = "Learning", "Operating points"
"""Panels of the help text."""


class Format(StrEnum):
    """How a table is printed."""

    table = "table"
    json = "json"
    csv = "csv"


FormatOption = Annotated[Format, typer.Option("--format", help="How the table is printed.")]


def option(help_text: str, panel: str, *names: str, metavar: str | None = None) -> Any:
    """An option without a default of its own, in a panel of the help text."""
    return typer.Option(*names, help=help_text, rich_help_panel=panel, metavar=metavar, show_default=False)


def numbers(
    text: str | None, option: str, example: str, *, number: type[int] | type[float] = float
) -> tuple[float, ...] | None:
    """The value of an option that takes several; `example` is one.

    Raises:
        ConfigError: something else than numbers.
    """
    try:
        return None if text is None else tuple(number(word) for word in text.split(","))
    except ValueError:
        kind = "whole numbers" if number is int else "numbers"
        raise ConfigError(f"{option} {text}: expected {kind} with commas between them, as {example}") from None


@contextmanager
def terminable(kept: str, *, close: Callable[[], None] = lambda: None, at_once: bool = False) -> Iterator[None]:
    """Ctrl-C ends a command at once; SIGTERM and SIGUSR1 when what it is measuring is done, and that is no failure.

    Args:
        kept: what is not lost, for the line that says how to continue.
        close: called before that line is printed.
        at_once: nothing needs to be waited for.
    """
    try:
        with stopping.on_signals(at_once=at_once):
            yield
    except KeyboardInterrupt as interrupt:
        close()
        is_asked = isinstance(interrupt, stopping.Stopped)
        end = "stopped as asked" if is_asked else "interrupted"
        print_note(f"{end}; {kept}. Repeat the same command to continue")
        raise typer.Exit(0 if is_asked else EXIT_INTERRUPTED) from None


RunFile = Annotated[Path | None, typer.Argument(help="A TOML run file; options win over it.", metavar="RUN.toml")]
NetworkName = Annotated[str | None, option("Zoo name or MODULE:FUNCTION.", INPUT, metavar="NAME")]
Weights = Annotated[Path | None, option("State dict of the network.", INPUT, metavar="FILE")]
DatasetName = Annotated[str | None, option("Dataset name or MODULE:FUNCTION.", INPUT, metavar="NAME")]
DataFolder = Annotated[Path | None, option("Folder of the dataset's files.", INPUT, metavar="DIR")]
Preprocessing = Annotated[str | None, option("unit, raw, centered, imagenet or mean=..;std=..", INPUT, metavar="TEXT")]
CalibrationImages = Annotated[int | None, option("Images that fix the ranges.", INPUT)]
SchemeName = Annotated[
    str | None, option("unsigned-affine, unsigned-centered or signed-symmetric.", INTEGER, metavar="NAME")
]
ObserverName = Annotated[str | None, option("minmax, percentile or mse.", INTEGER, metavar="NAME")]
PerChannel = Annotated[bool | None, option("One weight scale per output channel.", INTEGER)]
Excluded = Annotated[
    list[str] | None, option("Layer (or pattern) that stays exact; repeatable.", INTEGER, metavar="NAME")
]

Jobs = Annotated[int | None, option("Worker processes.", EXECUTION)]
Threads = Annotated[int | None, option("Threads per worker.", EXECUTION)]
WorkersBackend = Annotated[
    str | None, option("Of the jobs: loky (processes), threading or dask.", EXECUTION, metavar="NAME")
]
Cluster = Annotated[
    str | None,
    option("dask:tcp://HOST:PORT joins a dask cluster, slurm, pbs or lsf starts one.", EXECUTION, metavar="NAME"),
]
Workers = Annotated[int | None, option("Workers to start there; those to wait for.", EXECUTION)]
Partition = Annotated[str | None, option("Of the batch system, its queue.", EXECUTION, metavar="NAME")]
Walltime = Annotated[str | None, option("Of a worker, as 02:00:00.", EXECUTION, metavar="TIME")]
Memory = Annotated[str | None, option("Of a worker, as 4GB.", EXECUTION, metavar="SIZE")]
Interface = Annotated[str | None, option("Network between the machines, as ib0.", EXECUTION, metavar="NAME")]
WorkerTimeout = Annotated[
    float | None, option("Seconds for an assignment; then another worker gets it.", EXECUTION, metavar="SECONDS")
]
