"""A search at a terminal as a picture that grows: `dse explore --live`; see `live_view` for what is drawn.

A thread of rich draws at most `REFRESHES_A_SECOND` times a second, in a few milliseconds; the search itself only hands
over numbers, once a generation and a batch.
"""

import math
import re
import time
from dataclasses import replace

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.text import Text

from dse.reporting.terminal.exploring import PHASES, Watch, seconds_left, start_lines
from dse.reporting.terminal.live_view import ASCII, MIN_HEIGHT, MIN_WIDTH, UNICODE, LiveData, designs_data, live_lines
from dse.reporting.terminal.output import make_console, print_note
from dse.runs.loop import Progress, Start

REFRESHES_A_SECOND = 4

MAX_WIDTH, MAX_HEIGHT = 110, 26

STYLES = ((UNICODE.dominated, "bright_black"), (UNICODE.front, "bold blue"), (UNICODE.exact, "bold red"))


def can_show(console: Console) -> bool:
    """Whether there is a terminal that takes a picture."""
    is_terminal = console.is_terminal and not console.is_dumb_terminal
    return is_terminal and console.width >= MIN_WIDTH and console.height > MIN_HEIGHT


def make_watch(*, is_live: bool) -> "Watch | LiveWatch":
    """What shows how a run goes on: a picture where that is asked for and possible, else a line."""
    console = make_console(to_stderr=True)
    if is_live and can_show(console):
        return LiveWatch(console)
    if is_live:
        print_note(
            f"--live draws on stderr: expected a terminal of at least {MIN_WIDTH} columns and {MIN_HEIGHT + 1} lines "
            "there. Showing lines of text instead"
        )
    return Watch()


class LiveWatch:
    """Draws where a run stands, and leaves the last picture on the screen. A context manager and an `Observer`.

    Args:
        console: a terminal, see `can_show`.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._glyphs = UNICODE if console.encoding.lower().startswith("utf") else ASCII
        nothing, none = np.empty(0), np.empty(0, dtype=bool)
        self._data = LiveData("", "preparing", nothing, nothing, none, none, nothing)
        self._start: Start | None = None
        self._begin = self._told = time.monotonic()
        self._replayed = 0, self._begin  # images that are in the journal, and until when they were looked up
        self._live = Live(
            get_renderable=self.render, console=console, refresh_per_second=REFRESHES_A_SECOND, transient=False
        )

    def __enter__(self) -> "LiveWatch":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None and self._live.is_started:
            self._data = replace(self._data, phase="finished", n_left=0, left_s=None)
        self.close()

    def close(self) -> None:
        """Draws the last picture, which stays, and gives the terminal back."""
        if self._live.is_started:
            self._live.stop()

    def render(self) -> Text:
        """The picture of now, as rich prints it."""
        size = self._console.size
        now, data = time.monotonic(), self._data
        left_s = None if data.left_s is None else max(0.0, data.left_s - (now - self._told))
        lines = live_lines(
            replace(data, time_s=now - self._begin, left_s=left_s),
            width=max(MIN_WIDTH, min(size.width, MAX_WIDTH)),
            height=max(MIN_HEIGHT, min(size.height - 1, MAX_HEIGHT)),
            glyphs=self._glyphs,
        )
        text = Text("\n".join(lines), no_wrap=True, overflow="crop")
        for glyph, style in STYLES if self._glyphs is UNICODE else ():
            text.highlight_regex(f"{re.escape(glyph)}+", style)
        return text

    def on_start(self, start: Start) -> None:
        """See `Observer`."""
        for line in start_lines(start):
            self._console.print(line, markup=False)
        self._start = start
        self._begin = self._told = time.monotonic()
        self._data = replace(
            self._data, title=f"{start.network} on {start.dataset}", n_generations=start.n_generations,
            n_evaluations=start.n_evaluations,
        )  # fmt: skip
        self._live.start()

    def on_learning(self, n_done: int, n_steps: int) -> None:
        """See `Observer`."""
        self._data = replace(self._data, phase=f"learning tolerances, step {n_done} of {n_steps}")

    def on_evaluation(self, progress: Progress) -> None:
        """See `Observer`."""
        phase = PHASES.get(progress.phase, "searching")
        self._data = replace(self._data, phase=phase, n_left=progress.n_left)

    def on_generation(self, progress: Progress) -> None:
        """See `Observer`."""
        now = time.monotonic()
        if progress.n_new == 0:
            self._replayed = progress.n_images, now
        n_images, seconds = progress.n_images - self._replayed[0], now - self._replayed[1]
        saved, lost, is_front, is_exact = designs_data(progress)
        self._told = now
        self._data = replace(
            self._data,
            phase="searching",
            energy_saved_pct=saved,
            accuracy_lost_points=lost,
            is_front=is_front,
            is_exact=is_exact,
            hypervolume=np.append(self._data.hypervolume, progress.hypervolume),
            n_gen=progress.n_gen,
            n_eval=progress.n_eval,
            n_images=progress.n_images,
            rate_images_s=n_images / seconds if n_images and seconds > 0 else math.nan,
            n_left=0,
            left_s=seconds_left(progress, self._start),
            best_saved_pct=100 * (1 - progress.best_energy_rel),
            floor_pct=100 * progress.accuracy_floor,
        )
