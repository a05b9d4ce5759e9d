"""What `dse doctor` says."""

import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import pandas as pd

from dse import __version__
from dse.reporting.terminal.output import Format, print_note, print_table

if TYPE_CHECKING:
    from dse.simulation.diagnosis import Fact


def print_diagnosis(facts: "Sequence[Fact]", output_format: Format) -> None:
    """One row a fact; the table leaves advice to lines of its own."""
    table = pd.DataFrame([asdict(fact) for fact in facts])
    if output_format != "table":
        print_table(table, output_format)
        return
    table["section"] = table["section"].mask(table["section"].duplicated(), "")
    print_table(table.drop(columns="advice"), output_format, title=f"dse {__version__} on {platform.platform()}")
    for fact in facts:
        if fact.advice:
            print_note(f"{fact.section}: {fact.advice}")
