"""What people see of many runs at a terminal; see `terminal`."""

import math

import pandas as pd

from dse.reporting.terminal import Format, duration, print_note, print_table
from dse.runs.sweep_folder import Outcome


class RunsWatch:
    """A line whenever a run begins or ends; see `RunsObserver`."""

    def __init__(self) -> None:
        self._n_runs = self._n_done = 0

    def on_start(self, n_runs: int, n_finished: int) -> None:
        """See `RunsObserver`."""
        self._n_runs, self._n_done = n_runs, n_finished
        print_note(f"{n_runs} runs, {n_finished} of them finished")

    def on_run(self, name: str) -> None:
        """See `RunsObserver`."""
        print_note(f"{name}: begins")

    def on_elsewhere(self, name: str, holder: str) -> None:
        """See `RunsObserver`."""
        print_note(f"{name}: going on in {holder}, which is waited for")

    def on_outcome(self, name: str, outcome: Outcome) -> None:
        """See `RunsObserver`."""
        self._n_done += outcome.state == "finished"
        took = f" in {duration(outcome.time_s)}" if outcome.time_s else ""
        why = f": {outcome.message}" if outcome.message else ""
        print_note(f"{name}: {outcome.state}{took}{why} ({self._n_done} of {self._n_runs} finished)")


def print_status(table: pd.DataFrame, output_format: Format) -> None:
    """Where runs stand; axes are left out of the table, names have them."""
    if output_format != "table":
        print_table(table, output_format)
        return
    summary = pd.DataFrame(
        {
            "name": table["name"],
            "state": table["state"],
            "evaluations": [_of(*pair) for pair in zip(table.evaluations, table.evaluations_max, strict=True)],
            "hypervolume": table["hypervolume"].map(lambda value: "" if math.isnan(value) else f"{value:.4f}"),
            "last activity": table["last_activity"].str.replace("T", " "),
        }
    )
    print_table(summary, "table", title=states_text(table))
    for name, state, message in zip(table["name"], table["state"], table["message"], strict=True):
        if message:
            print_note(f"{name} {state}: {message}")


def states_text(table: pd.DataFrame) -> str:
    """How many runs are in which state.

    >>> states_text(pd.DataFrame({"state": ["finished", "failed", "finished"]}))
    '3 runs: 2 finished, 1 failed'
    """
    counts = table["state"].value_counts()
    return f"{len(table)} runs: " + ", ".join(f"{count} {state}" for state, count in counts.items())


def _of(n_done: int, n_most: float) -> str:
    return str(n_done) if math.isnan(n_most) else f"{n_done} / {n_most:.0f}"
