"""What people see of AxNN's loop at a terminal."""

from typing import Any

import pandas as pd

from dse.reporting.terminal.live_line import LiveLine
from dse.reporting.terminal.output import Format, print_note, print_table
from dse.reporting.wording import duration, percent
from dse.runs.axnn import AxnnRun, AxnnStart
from dse.runs.axnn_directory import AxnnDirectory
from dse.search.neurons import Attempt


class AxnnWatch:
    """Shows how a design goes on; see `AxnnObserver`."""

    def __init__(self, line: LiveLine) -> None:
        self._line = line
        self._number, self._last = 0, ""

    def on_start(self, start: AxnnStart) -> None:
        """See `AxnnObserver`."""
        self._number = start.n_attempts
        for text in start_lines(start):
            self._line.print(text)
        if start.n_bounds_finished < len(start.bounds):
            self._line.start("measuring the exact network")

    def on_step(self, n_done: int, n_steps: int, loss: float) -> None:
        """See `AxnnObserver`."""
        text = f"attempt {self._number}: retraining, step {n_done} of {n_steps}, loss {loss:.4f}{self._last}"
        self._line.update(text, n_done=n_done, n_total=n_steps)

    def on_attempt(self, number: int, attempt: Attempt, accuracy_exact: float, time_s: float) -> None:
        """See `AxnnObserver`."""
        self._number = number + 1
        self._last = f"; before: {duration(time_s)}, energy {100 * attempt.energy_rel:.1f} %"
        self._line.print(
            f"attempt {number}: {attempt.n_lowered} neurons a level down, energy {100 * attempt.energy_rel:.1f} %, "
            f"{100 * (accuracy_exact - attempt.accuracy):.2f} of {100 * attempt.bound:g} points lost: "
            f"{'kept' if attempt.is_accepted else 'taken back'}"
        )

    def on_bound(self, row: dict[str, Any]) -> None:
        """See `AxnnObserver`."""
        self._line.print(
            f"bound of {row['bound_pct']:g} % finished: energy {100 * row['energy_rel']:.1f} %, "
            f"{row['improvement']:.2f} times less, {percent(row['accuracy'])} % of the report images"
        )


def start_lines(start: AxnnStart) -> list[str]:
    """What is about to happen, in a few lines."""
    bounds = ", ".join(f"{100 * bound:g}" for bound in start.bounds)
    device = "" if start.device == "cpu" else f", on {start.device}"
    lines = [
        f"directory {start.path}",
        f"{start.network} on {start.dataset}: {start.n_neurons} neurons in {start.n_layers} layers, "
        f"{start.n_images_training} training, {start.n_images_validation} validation and {start.n_images_report} "
        f"report images{device}",
        f"levels {', '.join(start.levels)}; bounds of {bounds} %",
    ]
    if start.n_attempts:
        lines.append(f"{start.n_attempts} attempts and {start.n_bounds_finished} bounds are finished")
    return lines


def print_axnn(found: AxnnRun, output_format: Format) -> None:
    """One row a bound, and where the files are; json and csv have all columns."""
    if output_format != "table":
        print_table(found.bounds, output_format)
        return
    n_kept = int(found.attempts["is_accepted"].sum())
    title = f"{found.path}: {len(found.attempts)} attempts, {n_kept} of them kept"
    print_table(axnn_summary(found.bounds), "table", title=title)
    directory = AxnnDirectory(found.path)
    print_note(
        f"neuron by neuron in {directory.neurons}, every attempt in {directory.attempts.name}, drawn in "
        f"{directory.picture.name}"
    )


def axnn_summary(bounds: pd.DataFrame) -> pd.DataFrame:
    """The columns that fit a terminal, in percent and points."""
    levels = [name for name in bounds.columns if name.startswith("neurons_")]
    neurons = [
        ", ".join(f"{name.removeprefix('neurons_')}: {n}" for name, n in zip(levels, row, strict=True) if n)
        for row in bounds[levels].to_numpy()
    ]
    return pd.DataFrame(
        {
            "bound %": bounds["bound_pct"].map("{:g}".format),
            "energy %": (100 * bounds["energy_rel"]).map("{:.1f}".format),
            "improvement": bounds["improvement"].map("{:.2f}x".format),
            "exact %": bounds["accuracy_exact"].map(percent),
            "accuracy %": bounds["accuracy"].map(percent),
            "lost (points)": bounds["lost_points"].map("{:.2f}".format),
            "neurons by level": neurons,
        }
    )
