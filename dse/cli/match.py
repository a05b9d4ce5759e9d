"""The command `dse match`; see `cli`."""

from pathlib import Path
from typing import Annotated

import typer

from dse.cli.options import EXECUTION, SEARCH, Format, FormatOption, numbers, option, terminable
from dse.reporting.terminal.live_line import LiveLine
from dse.reporting.terminal.output import make_console


def match(
    run: Annotated[Path, typer.Argument(help="A run directory.", metavar="RUN")],
    energy_saved: Annotated[
        str, option("Percents of the energy, a design for each; default 50,60,70,75.", SEARCH, metavar="P,P,..")
    ] = "50,60,70,75",
    threads: Annotated[int | None, option("Of this process; default as the run.", EXECUTION)] = None,
    out: Annotated[Path | None, option("Directory; default RUN/matched.", EXECUTION, metavar="DIR")] = None,
    output_format: FormatOption = Format.table,
) -> None:
    """Match designs that are going to be fine-tuned, on the errors that chosen weights will leave.

    The run gives network, data and multipliers; it need not be finished. For example

        dse match runs/resnet20 --energy-saved 70,75
        dse finetune runs/resnet20 --assignments runs/resnet20/matched/designs.csv --noise-epochs 4

    What is measured is kept: other savings take a moment.
    """
    from dse.api.match import match as match_designs
    from dse.reporting.terminal.matching import MatchWatch, print_designs
    from dse.runs.matching import FOLDER, MatchDirectory

    with (
        LiveLine(make_console(to_stderr=True)) as line,
        terminable("what was measured is kept", close=line.close),
    ):
        found = match_designs(
            run, energy_saved=numbers(energy_saved, "--energy-saved", "60,70,75"), threads=threads, out=out,
            watch=MatchWatch(line),
        )  # fmt: skip
    print_designs(found, output_format, path=MatchDirectory(out or run / FOLDER).designs)
