"""What is printed, and where: tables on stdout, notes and errors on stderr. Piped output is plain and complete."""

import json
import logging
import math
from typing import Literal

import pandas as pd
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

Format = Literal["table", "json", "csv"]

PLAIN_WIDTH = 160
"""Characters a line where the output is no terminal."""


def make_console(*, to_stderr: bool) -> Console:
    """Where people read: as wide as the terminal, or `PLAIN_WIDTH` characters where there is none."""
    console = Console(stderr=to_stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=to_stderr, highlight=False, width=PLAIN_WIDTH)


def configure_logging(is_verbose: bool) -> None:
    """Shows warnings of dse on stderr, and everything when verbose."""
    logger = logging.getLogger("dse")
    handler = RichHandler(console=make_console(to_stderr=True), show_time=False, show_path=False)
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if is_verbose else logging.WARNING)


def print_error(message: str) -> None:
    """One line (or one a problem) on stderr."""
    for line in message.splitlines():
        make_console(to_stderr=True).print(f"error: {line}", markup=False, soft_wrap=True)


def print_note(message: str) -> None:
    """One line on stderr."""
    make_console(to_stderr=True).print(message, markup=False, soft_wrap=True)


def print_text(text: str) -> None:
    """On stdout as it is, whatever its length."""
    make_console(to_stderr=False).print(text, markup=False, soft_wrap=True)


def print_table(table: pd.DataFrame, output_format: Format, *, title: str = "") -> None:
    """Prints a table on stdout; json and csv hold every digit, the table four."""
    console = make_console(to_stderr=False)
    if output_format == "json":
        text = json.dumps(json.loads(table.to_json(orient="records", double_precision=15)), indent=1)
        console.print(text, markup=False, soft_wrap=True)
        return
    if output_format == "csv":
        console.print(table.to_csv(index=False).rstrip("\n"), markup=False, soft_wrap=True)
        return
    grid = Table(title=title or None, title_justify="left")
    for name in table.columns:
        is_number = pd.api.types.is_numeric_dtype(table[name]) and not pd.api.types.is_bool_dtype(table[name])
        grid.add_column(name.replace("_", " "), justify="right" if is_number else "left", overflow="fold")
    for row in table.itertuples(index=False):
        grid.add_row(*map(cell_text, row))
    console.print(grid, markup=False)


def cell_text(value: object) -> str:
    """A value as a table shows it: four digits, nothing for NaN and `False`."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    if isinstance(value, bool):
        return "yes" if value else ""
    return str(value)
