"""What people see at a terminal: progress on stderr, tables on stdout. Piped output is plain and complete."""

import json
import logging
import math
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from dse import __version__
from dse.cost.neuron_choices import parse_choice
from dse.multipliers.library import Library
from dse.reporting.live_line import LiveLine
from dse.robustness.tolerances import Tolerances
from dse.runs import loop
from dse.runs.front import SEPARATOR
from dse.runs.results import Run
from dse.runs.tolerance_sweep import SweepDirectory, SweepStart, tolerances_table

if TYPE_CHECKING:
    from dse.simulation.diagnosis import Fact

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


PHASES = {
    "confirm": "measuring the best designs on all search images",
    "report": "measuring the front on the report images",
}
"""What is going on after the search."""


class Watch:
    """Shows how a run goes on: a live line at a terminal, else one line a generation. A context manager."""

    def __init__(self) -> None:
        self._line = LiveLine(make_console(to_stderr=True))
        self._start: loop.Start | None = None
        self._phase = "search"
        self._n_batch = 0

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the live line."""
        self._line.close()

    def on_start(self, start: loop.Start) -> None:
        """See `Observer`."""
        self._start = start
        for line in start_lines(start):
            self._line.print(line)
        self._line.start("preparing", n_total=start.n_generations or start.n_evaluations)

    def on_learning(self, n_done: int, n_steps: int) -> None:
        """See `Observer`."""
        if self._line.is_live:
            self._line.update(f"learning tolerances, step {n_done} of {n_steps}")
        elif n_done == 1:
            self._line.print(f"learning tolerances in {n_steps} steps")

    def on_evaluation(self, progress: loop.Progress) -> None:
        """See `Observer`."""
        if self._line.is_live:
            text = PHASES.get(progress.phase) or progress_text(progress, self._start)
            self._line.update(f"{text}, {progress.n_left} to do")
        elif progress.phase != self._phase:
            self._line.print(PHASES[progress.phase])
        self._phase = progress.phase

    def on_generation(self, progress: loop.Progress) -> None:
        """See `Observer`."""
        text = progress_text(progress, self._start)
        if self._line.is_live:
            done = progress.n_gen if self._start.n_generations else _evaluations_spent(progress, self._start)
            self._line.update(text, n_done=done)
        else:
            self._line.print(text)


class SweepWatch:
    """Shows how a sweep of tolerances goes on: a live line at a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._line = LiveLine(make_console(to_stderr=True))

    def __enter__(self) -> "SweepWatch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the live line."""
        self._line.close()

    def on_start(self, start: SweepStart) -> None:
        """See `SweepObserver`."""
        self._line.print(f"directory {start.path}")
        self._line.print(
            f"{start.network} on {start.dataset}: {start.n_layers} layers, {start.method} weights, {start.n_images} "
            f"training images, {start.n_coefficients} coefficients, {start.n_finished} of them finished"
        )
        self._line.start("learning")

    def on_step(self, coefficient: float, n_done: int, n_steps: int, loss: float) -> None:
        """See `SweepObserver`."""
        text = f"coefficient {coefficient:g}: step {n_done} of {n_steps}, loss {loss:.4f}"
        if self._line.is_live:
            self._line.update(text, n_done=n_done, n_total=n_steps)
        elif n_done % max(1, n_steps // 4) == 0:
            self._line.print(text)

    def on_coefficient(self, found: Tolerances) -> None:
        """See `SweepObserver`."""
        self._line.print(f"coefficient {found.coefficient:g}: done in {duration(found.time_s)}")


def print_tolerances(found: Sequence[Tolerances], output_format: Format, *, path: Path) -> None:
    """One row a coefficient; json and csv have one a coefficient and layer."""
    if output_format != "table":
        print_table(tolerances_table(found), output_format)
        return
    print_table(tolerances_summary(found), "table", title=f"{path}: tolerances of {len(found[0].layers)} layers")
    directory = SweepDirectory(path)
    print_note(f"layer by layer in {directory.table}, drawn in {directory.picture.name}")


def tolerances_summary(found: Sequence[Tolerances]) -> pd.DataFrame:
    """A sweep in a few columns; sigmas are averaged by multiplications."""
    rows = [
        {
            "coefficient": each.coefficient,
            "mean sigma": (each.sigma * each.n_multiplications).sum() / each.n_multiplications.sum(),
            "smallest": each.sigma.min(),
            "at its layer": each.layers[int(each.sigma.argmin())],
            "saturated layers": int(each.is_saturated.sum()),
            "accuracy with noise %": f"{100 * each.accuracy_with_noise:.2f}",
            "accuracy %": f"{100 * each.accuracy:.2f}",
        }
        for each in found
    ]
    return pd.DataFrame(rows)


def start_lines(start: loop.Start) -> list[str]:
    """What is about to run, in a few lines."""
    lines = [
        f"run directory {start.path}",
        f"{start.network} on {start.dataset}: {start.n_layers} layers, {start.n_multiplications:,} multiplications an "
        f"image, {start.n_multipliers} multipliers, {start.n_images_search} search and {start.n_images_report} report "
        f"images, {start.jobs} {f'workers of {start.place}' if start.place else 'jobs'} x {start.threads} threads",
    ]
    if start.data_files:
        lines.append(f"data from {', '.join(start.data_files)}")
    if start.n_journaled:
        lines.append(f"continuing: {start.n_journaled} evaluations are in the journal")
    return lines


def progress_text(progress: loop.Progress, start: loop.Start | None) -> str:
    """One line: generation, evaluations, hypervolume, best energy at the accuracy floor, time left."""
    total = f"/{start.n_generations}" if start and start.n_generations else ""
    best = progress.best_energy_rel
    saved = "none yet" if math.isnan(best) else f"{100 * (1 - best):.1f} %"
    text = (
        f"generation {progress.n_gen}{total}, {progress.n_eval} evaluations, hypervolume {progress.hypervolume:.4f}, "
        f"energy saved at accuracy {100 * progress.accuracy_floor:.1f} %: {saved}"
    )
    left = seconds_left(progress, start)
    return text if left is None else f"{text}, about {duration(left)} left"


def seconds_left(progress: loop.Progress, start: loop.Start | None) -> float | None:
    """Time the search still takes when generations go on as before; `None` where nothing can be said."""
    shares = []
    if start and start.n_generations:
        shares.append(progress.n_gen / start.n_generations)
    if start and start.n_evaluations:
        shares.append(_evaluations_spent(progress, start) / start.n_evaluations)
    share = max(shares, default=0.0)
    return None if share <= 0 else max(0.0, progress.time_s * (1 - share) / share)


def _evaluations_spent(progress: loop.Progress, start: loop.Start) -> float:
    """In evaluations on all images; a race measures many designs on a part of them."""
    return progress.n_images / start.n_images_search


def percent(share: float) -> str:
    """A share as people read it, two digits after the point.

    >>> percent(0.98765)
    '98.77'
    """
    return f"{100 * share:.2f}"


def duration(seconds: float) -> str:
    """A time as people read it.

    >>> duration(75)
    '1 min 15 s'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


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
        grid.add_row(*map(_cell, row))
    console.print(grid, markup=False)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    if isinstance(value, bool):
        return "yes" if value else ""
    return str(value)


def print_front(run: Run, output_format: Format) -> None:
    """The front of a finished run, and where its files are."""
    if output_format != "table":
        print_table(run.front, output_format)
        return
    print_table(front_summary(run), "table", title=f"{run.path}: {len(run.front)} points")
    print_note(f"{run.directory.front} and {run.directory.picture.name}; one point layer by layer: "
               f"dse show {run.path} --point K; to look around: dse report {run.path}")  # fmt: skip


def front_summary(run: Run) -> pd.DataFrame:
    """The columns of a front that fit a terminal, in percent and points."""
    front = run.front
    exact = front.loc[front["is_exact"], "accuracy"].iloc[0]
    interval = [f"{percent(a)} to {percent(b)}" for a, b in zip(front.accuracy_low, front.accuracy_high, strict=True)]
    summary = pd.DataFrame(
        {
            "point": front["point"],
            "energy saved %": front["energy_saved_pct"].map("{:.2f}".format),
            "accuracy %": front["accuracy"].map(percent),
            "95 % interval": interval,
            "lost (points)": (exact - front["accuracy"]).map(percent),
            "multipliers (layers)": front["assignment"].map(count_names),
        }
    )
    if "memory_rel" in front:
        summary.insert(2, "memory saved %", (100 * (1 - front["memory_rel"])).map("{:.2f}".format))
    tuned = finetuned_accuracies(run)
    if tuned:
        found = [tuned.get(point) for point in front["point"]]
        texts = ["" if accuracy is None else f"{percent(accuracy)} ({percent(exact - accuracy)})" for accuracy in found]
        summary.insert(len(summary.columns) - 1, "fine-tuned % (lost)", texts)
    return summary


def finetuned_accuracies(run: Run) -> dict[int, float]:
    """Accuracies on the report images of the points of a front that were fine-tuned, by point."""
    if not run.has_finetuned:
        return {}
    table = run.finetuned.dropna(subset="point")
    return dict(zip(table["point"].astype(int), table["accuracy"], strict=True))


def count_names(assignment: str) -> str:
    """Multipliers with the number of layers that use them, most used first.

    >>> count_names("a;b;b")
    'b (2), a (1)'
    """
    counts = Counter(assignment.split(SEPARATOR)).most_common()
    return ", ".join(f"{name} ({count})" for name, count in counts)


def choice_text(name: str) -> str:
    """A choice of neurons as people read it.

    >>> choice_text("mul8u_1JFF+mul8u_DM1@50")
    'mul8u_1JFF, mul8u_DM1 in the most resilient 50 %'
    """
    high, low, share_pct = parse_choice(name)
    return f"{high}, {low} in the most resilient {share_pct} %" if share_pct else name


def print_point(run: Run, point: int, output_format: Format) -> None:
    """The multiplier of every layer at one point."""
    table = run.assignment(point)
    row = run.front[run.front["point"] == point].iloc[0]
    title = f"point {point}: {row['energy_saved_pct']:.2f} % energy saved, accuracy {percent(row['accuracy'])} %"
    tuned = finetuned_accuracies(run).get(point)
    if tuned is not None:
        title += f", {percent(tuned)} % fine-tuned"
    if output_format == "table" and run.config.search.neuron_shares:
        table["multiplier"] = table["multiplier"].map(choice_text)
    print_table(table, output_format, title=title)


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
        table["value"] = table["value"].map(_cell)
    print_table(table, output_format, title=multiplier.name)
    if output_format == "table":
        for finding in check_multiplier(multiplier):
            print_note(f"{finding.severity}: {finding.name}: {finding.detail}")


def print_checks(library: Library, output_format: Format) -> None:
    """The findings of `dse.multipliers.checks` for every member."""
    from dse.multipliers.checks import check_library

    table = check_library(library)
    print_table(table, output_format, title=f"{len(library)} multipliers, {len(table)} findings")
