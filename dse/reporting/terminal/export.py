"""What people see of an export at a terminal."""

import pandas as pd

from dse.reporting.terminal.output import Format, print_note, print_table
from dse.runs.exporting import Export


def print_export(export: Export, output_format: Format) -> None:
    """One row an operating point; the table leaves the assignment out, and says where the files are."""
    if output_format != "table":
        files = {"arrays": str(export.arrays), "document": str(export.document), "is_finetuned": export.is_finetuned}
        print_table(export.table.assign(**files), output_format)
        return
    kind = "fine-tuned" if export.is_finetuned else "not fine-tuned"
    n_bytes = export.arrays.stat().st_size + export.document.stat().st_size
    print_table(export_summary(export), "table", title=f"{export.arrays.with_suffix('')}: {kind}, {n_bytes:,} bytes")
    print_note(f'wrote {export.arrays} and {export.document.name}; dse.load_exported("{export.arrays}") runs them')


def export_summary(export: Export) -> pd.DataFrame:
    """An export in a few columns."""
    return pd.DataFrame(
        {
            "point": export.table["point"],
            "energy saved %": [f"{100 * (1 - energy):.2f}" for energy in export.table["energy_rel"]],
            "accuracy %": ["?" if pd.isna(a) else f"{100 * a:.2f}" for a in export.table["accuracy"]],
            "report images": export.table["n_images_report"],
        }
    )
