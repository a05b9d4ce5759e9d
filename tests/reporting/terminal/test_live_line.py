"""dse.reporting.terminal.live_line: one line at a terminal, a line now and then elsewhere."""

import io

import pytest
from rich.console import Console

from dse.reporting.terminal import live_line
from dse.reporting.terminal.live_line import LiveLine


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(live_line.time, "monotonic", lambda: now[0])
    return now


def test_without_a_terminal(clock):
    console = Console(file=io.StringIO(), width=100)
    with LiveLine(console) as line:
        line.start("begin")
        assert not line.is_live
        for second in range(0, 25, 3):
            clock[0] = second
            line.update(f"[{second}]", n_done=second, n_total=25)
        line.print("stays")
        line.news("told at once")
        line.update("not yet")
    assert console.file.getvalue().splitlines() == ["[0]", "[12]", "[24]", "stays", "told at once"]


def test_at_a_terminal():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with LiveLine(console) as line:
        line.start("begin", n_total=8)
        assert line.is_live
        line.update("step 3", n_done=3)
        line._bar.refresh()
        assert (line._bar.tasks[0].completed, line._bar.tasks[0].total) == (3, 8)
        line.print("stays")
    assert not line.is_live
    assert "step 3" in console.file.getvalue()
    assert "stays" in console.file.getvalue()
    line.close()
