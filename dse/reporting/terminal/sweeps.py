"""What people see of many runs at a terminal."""

import math
from pathlib import Path

import pandas as pd

from dse.api.sweeps import Preview
from dse.reporting.terminal.output import Format, print_note, print_table, print_text
from dse.reporting.wording import duration, median_and_quartiles, saving_title
from dse.runs.comparison_notes import memory_is_left_out
from dse.runs.run_collection import LOSSES, Collection, figure_names
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

    def on_submitted(self, name: str, job: str) -> None:
        """See `RunsObserver`."""
        print_note(f"{name}: submitted as job {job}")

    def on_queued(self, name: str) -> None:
        """See `RunsObserver`."""
        print_note(f"{name}: in the queue or going on already")

    def on_outcome(self, name: str, outcome: Outcome) -> None:
        """See `RunsObserver`."""
        self._n_done += outcome.state == "finished"
        took = f" in {duration(outcome.time_s)}" if outcome.time_s else ""
        why = f": {outcome.message}" if outcome.message else ""
        print_note(f"{name}: {outcome.state}{took}{why} ({self._n_done} of {self._n_runs} finished)")


def print_preview(found: Preview, output_format: Format) -> None:
    """The script, then the runs; json and csv have the runs alone."""
    if output_format != "table":
        print_table(found.runs, output_format)
        return
    if found.script:
        print_text(found.script)
        print_table(found.runs[["task", "name", "state"]], "table", title=states_text(found.runs))
        return
    print_table(found.runs[["name", "state"]], "table", title=states_text(found.runs))
    for command in found.runs.loc[found.runs["task"] != "", "command"]:
        print_text(command)


def print_status(table: pd.DataFrame, output_format: Format) -> None:
    """Where runs stand; axes are left out of the table, names have them."""
    if output_format != "table":
        print_table(table, output_format)
        return
    summary = pd.DataFrame(
        {
            "name": table["name"],
            "state": table["state"],
            "designs": table["evaluations"],
            "evaluations": [_of(*pair) for pair in zip(table.evaluations_spent, table.evaluations_max, strict=True)],
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


def _of(n_done: float, n_most: float) -> str:
    return f"{n_done:.0f}" if math.isnan(n_most) else f"{n_done:.0f} / {n_most:.0f}"


def print_collection(found: Collection, output_format: Format, *, runs: Path, out: Path) -> None:
    """Median and quartiles of each group of the runs in a folder, and where the files are; json and csv have all."""
    if output_format != "table":
        print_table(found.statistics, output_format)
        return
    statistics = found.statistics
    columns = {axis: statistics[axis] for axis in found.groups} | {"runs": statistics["n_runs"]}
    columns["hypervolume"] = median_and_quartiles(statistics, "hypervolume", ".4f")
    for figure in figure_names(LOSSES, with_memory=found.has_memory)[1:]:
        title = saving_title(figure, with_memory=found.has_memory)
        columns[title] = median_and_quartiles(statistics, figure, ".1f")
    columns["evaluations"] = median_and_quartiles(statistics, "evaluations", ".0f")
    columns["time (s)"] = median_and_quartiles(statistics, "time_s", ".0f")
    title = f"{runs}: median (quartiles) of {len(found.runs)} runs, {len(found.fronts)} points"
    print_table(pd.DataFrame(columns), "table", title=title)
    if found.has_memory:
        print_note("hypervolume: of energy, accuracy and memory; memory saved: relative to int8 without pruning")
    for note in memory_is_left_out(found):
        print_note(note)
    if found.n_unfinished:
        what = "1 run is" if found.n_unfinished == 1 else f"{found.n_unfinished} runs are"
        print_note(f"{what} not finished and left out: see `dse status {runs}`")
    print_note(f"all points in {out / 'collected.csv'}; statistics.csv, attainment.csv and attainment.png beside it")
