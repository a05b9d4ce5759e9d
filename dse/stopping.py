"""Ending on request: what is being measured is finished and kept, then the command ends.

A signal only sets a flag. Loops look at it where all that is done is on disk, and nowhere else.
"""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""What batch systems send before they kill."""

Item = TypeVar("Item")

_is_asked = False


class Stopped(KeyboardInterrupt):
    """A loop has ended because it was asked to; a repeated command goes on from there."""


def is_asked() -> bool:
    """Whether this process was asked to end."""
    return _is_asked


def check() -> None:
    """Call it where everything is saved.

    Raises:
        Stopped: this process was asked to end.
    """
    if _is_asked:
        raise Stopped


def until_asked(items: Iterable[Item]) -> Iterator[Item]:
    """Items as long as nobody asks for an end."""
    for item in items:
        if _is_asked:
            return
        yield item


@contextmanager
def on_signals(*, at_once: bool = False) -> Iterator[None]:
    """SIGTERM and SIGUSR1 ask for an end; a second one ends at once, as Ctrl-C does.

    Args:
        at_once: raise `Stopped` in the middle of whatever goes on, for what holds nothing that could be lost.

    Raises:
        KeyboardInterrupt: at a second signal.
    """
    global _is_asked

    def on_signal(number: int, frame: FrameType | None) -> None:
        global _is_asked
        if _is_asked:
            raise KeyboardInterrupt
        _is_asked = True
        if at_once:
            raise Stopped

    _is_asked = False
    before = {number: signal.signal(number, on_signal) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _is_asked = False


def leave_to_driver() -> None:
    """In a worker process: the process that gave it work decides when it ends."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
