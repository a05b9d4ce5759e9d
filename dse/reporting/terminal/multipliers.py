"""Libraries and multipliers as tables."""

from dse.multipliers.library import Library
from dse.reporting.terminal.output import Format, cell_text, print_note, print_table


def print_library(library: Library, output_format: Format) -> None:
    """One row a multiplier; the table leaves out what does not fit."""
    table = library.to_dataframe()
    if output_format == "table":
        table = table.drop(columns=["mse", "wcre_pct", "technology", "key"], errors="ignore")
    print_table(table, output_format, title=f"library {library.name}: {len(library)} multipliers")


def print_multiplier(library: Library, name: str, output_format: Format) -> None:
    """Everything known about one multiplier, one line a property; as a table also what `check` finds."""
    from dse.multipliers.checks import check_multiplier, describe

    multiplier = library[name]
    table = describe(multiplier)
    if output_format == "table":
        table["value"] = table["value"].map(cell_text)
    print_table(table, output_format, title=multiplier.name)
    if output_format == "table":
        for finding in check_multiplier(multiplier):
            print_note(f"{finding.severity}: {finding.name}: {finding.detail}")


def print_checks(library: Library, output_format: Format) -> None:
    """The findings of `dse.multipliers.checks` for every member."""
    from dse.multipliers.checks import check_library

    table = check_library(library)
    print_table(table, output_format, title=f"{len(library)} multipliers, {len(table)} findings")
