"""What people see of matching at a terminal."""

from pathlib import Path

import pandas as pd

from dse.reporting.terminal.live_line import LiveLine
from dse.reporting.terminal.output import Format, print_note, print_table
from dse.reporting.wording import count_names


class MatchWatch:
    """Shows how matching goes on; see `dse.runs.matching.MatchObserver`."""

    def __init__(self, line: LiveLine) -> None:
        self._line, self._n_multipliers = line, 0

    def on_start(self, path: str, n_multipliers: int, n_finished: int) -> None:
        """See `MatchObserver`."""
        self._n_multipliers = n_multipliers
        finished = f", {n_finished} of them by earlier commands" if n_finished else ""
        self._line.print(f"directory {path}: errors of {n_multipliers} multipliers{finished}")
        self._line.start("choosing weights for the first multiplier")

    def on_multiplier(self, name: str, n_done: int) -> None:
        """See `MatchObserver`."""
        text = f"errors of {name} measured, {n_done} of {self._n_multipliers}"
        self._line.update(text, n_done=n_done, n_total=self._n_multipliers)


def print_designs(table: pd.DataFrame, output_format: Format, *, path: Path) -> None:
    """The designs, and where they are."""
    if output_format != "table":
        print_table(table, output_format)
        return
    summary = pd.DataFrame(
        {
            "energy saved %": table["energy_saved_pct"].map("{:.2f}".format),
            "cross entropy grows by, predicted": table["predicted_growth"].map("{:.3f}".format),
            "multipliers (layers)": table["assignment"].map(count_names),
        }
    )
    print_table(summary, "table", title=f"{len(table)} matched designs")
    print_note(f"layer by layer in {path}; to fine-tune them: dse finetune RUN --assignments {path} --noise-epochs 4")
