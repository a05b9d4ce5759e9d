"""A line at a terminal that changes as work goes on; where there is no terminal, a line now and then."""

import math
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

NEWS_TIME_S = 10.0
"""Between lines, where there is no terminal."""


class LiveLine:
    """Progress on one line. A context manager.

    Args:
        console: where it is shown.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._task = None
        self._told_at = -math.inf

    def __enter__(self) -> "LiveLine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the line."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    @property
    def is_live(self) -> bool:
        """Whether there is a line that changes."""
        return self._bar is not None

    def print(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, markup=False)

    def start(self, text: str, *, n_total: int | None = None) -> None:
        """Begins, at a terminal; `n_total` is all there is to do, where that is known."""
        if self._console.is_terminal:
            columns = (BarColumn(bar_width=24), TextColumn("{task.description}", markup=False))
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task(text, total=n_total)
            self._bar.start()

    def update(self, text: str, *, n_done: int | None = None, n_total: int | None = None) -> None:
        """What is going on now, and how much of it is done."""
        if self._bar is not None:
            self._bar.update(self._task, description=text, completed=n_done, total=n_total)
        elif time.monotonic() - self._told_at > NEWS_TIME_S:
            self.news(text)

    def news(self, text: str) -> None:
        """A line that stays where there is no other; the next update has time."""
        self.print(text)
        self._told_at = time.monotonic()
