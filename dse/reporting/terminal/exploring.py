"""How a search goes on, in lines."""

import math

from dse.reporting.terminal.live_line import LiveLine
from dse.reporting.terminal.output import make_console
from dse.reporting.wording import duration, workers_text
from dse.runs import loop

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


def start_lines(start: loop.Start) -> list[str]:
    """What is about to run, in a few lines."""
    lines = [
        f"run directory {start.path}",
        f"{start.network} on {start.dataset}: {start.n_layers} layers, {start.n_multiplications:,} multiplications an "
        f"image, {start.n_multipliers} multipliers, {start.n_images_search} search and {start.n_images_report} report "
        f"images, {workers_text(start.jobs, start.threads, start.place)}",
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
