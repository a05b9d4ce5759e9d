"""What the live view of a search costs: pairs of the same search at a pseudo-terminal, with and without `--live`.

    python benchmarks/live_cost.py

Without it the terminal is told a line a generation. Each pair runs one after the other, every second pair in the other
order, each with a fresh run directory; the first pair, which fills caches, is left out. Clock and processor time
are those of the whole command, from its start to its end. Before that, how long one picture takes, of which at most
four are drawn a second. Needs nothing but the package, and a system with pseudo-terminals; three minutes.
"""

import argparse
import fcntl
import io
import os
import pty
import statistics
import struct
import sys
import tempfile
import termios
import time

import numpy as np
from rich.console import Console

from dse.reporting.terminal.live_watch import LiveWatch
from dse.runs.loop import Progress

ROWS, COLUMNS = 40, 120


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--generations", type=int, default=12, help="of the embedded example")
    options = parser.parse_args()
    for n_designs in (300, 2400):
        print(f"a picture of {n_designs} designs: {1000 * picture_s(n_designs):.1f} ms")
    clock, processor = [], []
    for pair in range(options.pairs + 1):
        order = (False, True) if pair % 2 else (True, False)
        measured = {is_live: search(options.generations, is_live=is_live) for is_live in order}
        if pair:
            clock.append([measured[is_live][0] for is_live in (False, True)])
            processor.append([measured[is_live][1] for is_live in (False, True)])
    print(f"{options.pairs} pairs, {options.generations} generations, load {os.getloadavg()[0]:.1f}")
    for name, times in (("clock", clock), ("processor", processor)):
        differences = sorted(live - plain for plain, live in times)
        plain, live = (statistics.median(side) for side in zip(*times, strict=True))
        middle = statistics.median(differences)
        print(
            f"{name}: without {plain:.2f} s, with {live:.2f} s; difference of a pair {1000 * middle:+.0f} ms "
            f"({100 * middle / plain:+.1f} %), from {1000 * differences[0]:+.0f} to {1000 * differences[-1]:+.0f} ms"
        )


def picture_s(n_designs: int) -> float:
    """Seconds for one picture, made and sent; median of 100."""
    console = Console(file=io.StringIO(), force_terminal=True, width=COLUMNS, height=ROWS)
    watch = LiveWatch(console)
    F = np.random.default_rng(0).random((n_designs, 2)) * [1.0, 0.2]
    watch.on_generation(Progress(n_gen=1, n_eval=n_designs, hypervolume=0.5, F=F))
    times = []
    for _ in range(100):
        begin = time.perf_counter()
        console.print(watch.render())
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def search(generations: int, *, is_live: bool) -> tuple[float, float]:
    """Seconds by the clock and of processors that one search takes."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "dse", "explore", "--generations", str(generations), "--out", f"{folder}/run"]
        started_s = time.perf_counter()
        process, terminal = pty.fork()
        if process == 0:
            time.sleep(0.1)  # until the terminal has its size
            os.execvpe(command[0], command + ["--live"] * is_live, os.environ | {"TERM": "xterm-256color"})
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        text = b""
        try:
            while part := os.read(terminal, 65536):
                text += part
        except OSError:  # the other end is closed
            pass
        _, status, used = os.wait4(process, 0)
        clock_s = time.perf_counter() - started_s
        os.close(terminal)
        if os.waitstatus_to_exitcode(status) != 0 or (b"searching: generation" in text) != is_live:
            sys.exit(text.decode(errors="replace"))
        return clock_s, used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
