"""Ending on request: what is being measured is finished and kept, then the command ends.

A signal only sets a flag. Loops look at it where all that is done is on disk, and nowhere else.
"""

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""What batch systems send before they kill."""

POLL_S = 1.0
"""How often a worker looks whether the process that started it is still there."""

EXIT_ORPHANED = 1

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
    """In a worker process: the process that started it decides when it ends, and takes it along when it dies itself."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_after, args=(os.getppid(),), daemon=True).start()


def _end_after(driver: int) -> None:
    """Whose parent dies is given another one."""
    while os.getppid() == driver:
        time.sleep(POLL_S)
    os._exit(EXIT_ORPHANED)
