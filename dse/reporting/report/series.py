"""Series of designs for a report, and those beside the front: operating points and fine-tuned points.

A series is designs of one kind, by position: energy saved (percent), accuracy lost (percentage points, with its 95 %
interval where one is known), memory of the weights saved (percent of int8 without pruning, where it is known) and codes
of the choice of every layer, which stand for a multiplier and its energy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from dse.errors import DseError
from dse.reporting.report.numbers import Section, numbers
from dse.reporting.run_data import layer_energies
from dse.runs.finetuned import FOLDER as FINETUNED
from dse.runs.finetuned import read_table
from dse.runs.front import SEPARATOR
from dse.runs.point_set import FOLDER, open_points
from dse.runs.results import Run


@dataclass
class Choices:
    """Codes for what layers get, in the order in which they are first met: a multiplier and its relative energy."""

    run: Run
    codes: dict[tuple[str, float], int] = field(default_factory=dict)

    def encode(self, assignments: Sequence[str]) -> list[list[int]]:
        """Of every layer of every design, named as in `front.csv`.

        Raises:
            RunError: an assignment does not fit the network or the library of the run.
        """
        multipliers = tuple(tuple(str(text).split(SEPARATOR)) for text in assignments)
        energies = np.round(layer_energies(self.run, multipliers), 6)
        return [
            [self.codes.setdefault(pair, len(self.codes)) for pair in zip(names, row, strict=True)]
            for names, row in zip(multipliers, energies.tolist(), strict=True)
        ]


def series_of(table: pd.DataFrame, exact_accuracy: "float | pd.Series", *, codes: list[list[int]]) -> Section:
    """What all series have; losses are relative to the exact network on the same images."""

    def lost(name: str) -> list[float | None] | None:
        return numbers(100 * (exact_accuracy - table[name]), 4) if name in table else None

    return {
        "saved": numbers(table["energy_saved_pct"], 4), "lost": lost("accuracy"),
        "low": lost("accuracy_high"), "high": lost("accuracy_low"),
        "memory": numbers(100 * (1 - table["memory_rel"]), 3) if "memory_rel" in table else None,
        "accuracy": numbers(table["accuracy"], 6), "exact": [], "codes": codes, "rows": [], "more": {},
    }  # fmt: skip


def other_series(run: Run, choices: Choices) -> tuple[list[Section], list[str]]:
    """Operating points and fine-tuned points in the directory of the run, and notes about those that cannot be read."""
    series: list[Section] = []
    notes: list[str] = []
    readers: tuple[tuple[str, Callable[[Path, Run, Choices], Section | None]], ...] = (
        (f"{FOLDER}/*/operating_points.csv", _operating_points),
        ("*/finetuned.csv", _finetuned),
        (f"{FOLDER}/*/*/finetuned.csv", _finetuned),
    )
    for pattern, read in readers:
        for path in sorted(run.path.glob(pattern)):
            try:
                found = read(path, run, choices)
            except (DseError, OSError, ValueError, KeyError) as error:
                notes.append(f"{path.relative_to(run.path)} is left out, it cannot be read: {error}")
                continue
            series += [] if found is None else [found]
    return series, notes


def _operating_points(path: Path, run: Run, choices: Choices) -> Section | None:
    table = open_points(path.parent).table
    table = table[table["accuracy"].notna()]
    if table.empty:
        return None
    codes = choices.encode(table["assignment"].tolist())
    return series_of(table, table["accuracy_exact"], codes=codes) | {
        "kind": "points", "noun": "operating point", "label": f"operating points, {path.parent.name}",
        "images": f"{int(table['n_images_report'].iloc[0]):,} report images",
        "names": table["point"].astype(str).tolist(),
    }  # fmt: skip


def _finetuned(path: Path, run: Run, choices: Choices) -> Section | None:
    table = read_table(path)
    table = table[table["accuracy"].notna()]
    if table.empty:
        return None
    codes = choices.encode(table["assignment"].tolist())
    before = numbers(100 * (table["accuracy_exact"] - table["accuracy_untuned"]), 4)
    of_what = " ".join(part for part in path.parent.relative_to(run.path).parts if part not in (FOLDER, FINETUNED))
    return series_of(table, table["accuracy_exact"], codes=codes) | {
        "kind": "tuned", "noun": "fine-tuned", "label": f"fine-tuned, {of_what}" if of_what else "fine-tuned points",
        "images": f"{int(table['n_images_report'].iloc[0]):,} report images", "before": before,
        "names": [name.replace("_", " ") for name in table["name"].astype(str)],
    }  # fmt: skip
