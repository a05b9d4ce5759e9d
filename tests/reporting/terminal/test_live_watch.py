"""dse.reporting.terminal.live_watch: the live view at a terminal."""

import io
import os
import re
import select
import signal
import sys
import time

import numpy as np
import pytest
from rich.console import Console

from dse.reporting.terminal import live_watch
from dse.reporting.terminal.exploring import Watch
from dse.reporting.terminal.live_watch import LiveWatch, can_show, make_watch
from dse.runs.loop import Progress, Start

START = Start("runs/x", "net", "data", 4, 1000, 5, 200, 200, 10, None, 0, 1, 1)
F = np.array([[1.0, 0.05], [0.5, 0.06], [0.7, 0.08]])
SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"


@pytest.fixture(autouse=True)
def _terminal_that_can(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


def terminal(encoding="utf-8", **options):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    return Console(file=file, force_terminal=True, highlight=False, **{"width": 80, "height": 30} | options)


def shown(console):
    return console.file.buffer.getvalue().decode(console.encoding)


def progress(n_gen, **changes):
    numbers = {"n_eval": 24 * n_gen, "n_new": 24 * n_gen, "n_images": 1000 * n_gen, "hypervolume": 0.1 * n_gen}
    return Progress(**{"n_gen": n_gen, "time_s": float(n_gen), "accuracy_floor": 0.9, "F": F, **numbers} | changes)


def test_the_last_picture_stays():
    console = terminal()
    with LiveWatch(console) as watch:
        watch.on_start(START)
        watch.on_learning(3, 10)
        assert "learning tolerances, step 3 of 10" in watch.render().plain
        watch.on_evaluation(Progress(n_left=24))
        watch.on_generation(progress(1))
        watch.on_evaluation(progress(1, n_left=11))
        assert "searching: generation 1/10, 24 evaluations, 11 to do" in watch.render().plain
        watch.on_generation(progress(2, best_energy_rel=0.5))
        watch.on_evaluation(progress(2, phase="report", n_left=3))
        assert "measuring the front on the report images" in watch.render().plain
        assert HIDE_CURSOR in shown(console)
        assert SHOW_CURSOR not in shown(console)
    text = shown(console)
    assert text.startswith("run directory runs/x\nnet on data: 4 layers")
    last = text[text.rindex("net on data") :]
    assert "finished: generation 2/10, 48 evaluations" in last
    assert "energy saved at accuracy 90.0 %: 50.0 %" in last
    assert "left" not in last
    assert "●" in last
    assert text.rindex(SHOW_CURSOR) > text.rindex(HIDE_CURSOR)
    watch.close()
    assert shown(console) == text


def test_an_interrupt_leaves_the_terminal_usable():
    console = terminal()

    def interrupt():
        with LiveWatch(console) as watch:
            watch.on_start(START)
            watch.on_generation(progress(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    text = shown(console)
    assert "searching: generation 1/10" in text[text.rindex("net on data") :]
    assert text.rindex(SHOW_CURSOR) > text.rindex(HIDE_CURSOR)


def test_the_rate_is_that_of_this_process(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(live_watch.time, "monotonic", lambda: now[0])
    watch = LiveWatch(terminal())
    watch.on_generation(progress(1, n_new=0))
    assert "1,000 images simulated; 0 s so far" in watch.render().plain
    now[0] = 110.0
    watch.on_generation(progress(2, n_new=24))
    assert "2,000 images simulated, 100 a second; 10 s so far" in watch.render().plain


def test_plain_characters_where_the_terminal_has_no_others():
    watch = LiveWatch(terminal("latin-1"))
    watch.on_generation(progress(1))
    assert watch.render().plain.isascii()
    assert "O front 2" in watch.render().plain


@pytest.mark.parametrize("size", [{"width": 49}, {"height": 14}, {"force_terminal": False}])
def test_no_place_for_a_picture(monkeypatch, capsys, size):
    console = terminal(**size) if "force_terminal" not in size else Console(file=io.StringIO())
    assert not can_show(console)
    monkeypatch.setattr(live_watch, "make_console", lambda to_stderr: console)
    assert isinstance(make_watch(is_live=True), Watch)
    assert "expected a terminal of at least 50 columns and 15 lines" in " ".join(capsys.readouterr().err.split())


def test_what_is_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(live_watch, "make_console", lambda to_stderr: terminal())
    assert isinstance(make_watch(is_live=True), LiveWatch)
    assert isinstance(make_watch(is_live=False), Watch)
    assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a pseudo-terminal")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_ctrl_c_at_a_real_terminal(tmp_path):
    import fcntl
    import pty
    import struct
    import termios

    process, terminal_end = pty.fork()
    if process == 0:
        command = ["-m", "dse", "explore", "--live", "--generations", "500", "--out", str(tmp_path / "run")]
        os.execv(sys.executable, [sys.executable, *command])
    fcntl.ioctl(terminal_end, termios.TIOCSWINSZ, struct.pack("HHHH", 32, 100, 0, 0))
    text, deadline, is_interrupted = b"", time.monotonic() + 120, False
    while time.monotonic() < deadline:
        try:
            text += os.read(terminal_end, 65536) if select.select([terminal_end], [], [], 0.1)[0] else b""
        except OSError:  # the other end is closed
            break
        # Few generations are drawn, and any will do.
        if not is_interrupted and re.search(rb"searching: generation \d", text):
            os.write(terminal_end, b"\x03")
            is_interrupted = True
    else:
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    os.close(terminal_end)
    text = text.decode(errors="replace")  # Ctrl-C may come in the middle of a sign
    assert is_interrupted, text[-2000:]
    assert os.waitstatus_to_exitcode(status) == 130, text[-2000:]
    assert text.rindex(SHOW_CURSOR) > text.rindex(HIDE_CURSOR)
    assert "interrupted; everything measured is in" in text[text.rindex(SHOW_CURSOR) :]
