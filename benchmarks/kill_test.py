"""Kills a search with SIGKILL at random moments, continues it, and compares with an uninterrupted one.

    python benchmarks/kill_test.py --kills 20

Passes when the two `front.csv` are identical byte for byte, and no assignment was measured twice on the same images.
Needs nothing but the embedded example; about a minute for the reference and a few seconds for each kill.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

OPTIONS = ["--population-size", "16", "--generations", "10", "--images", "200", "--seed", "3"]


def command(out: Path, jobs: int) -> list[str]:
    return [sys.executable, "-m", "dse", "explore", *OPTIONS, "--jobs", str(jobs), "--out", str(out)]


def start(out: Path, jobs: int) -> subprocess.Popen:
    return subprocess.Popen(command(out, jobs), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def check(process: subprocess.Popen) -> None:
    """Waits for the end, and ends too where it was a failure."""
    _, message = process.communicate()
    if process.returncode:
        sys.exit(f"the search failed: {message.decode()}")


def run_reference(out: Path, jobs: int) -> tuple[float, float]:
    """Seconds until the first evaluation is in the journal, and in all."""
    begin, first = time.monotonic(), 0.0
    process = start(out, jobs)
    while process.poll() is None:
        if not first and n_journaled(out):
            first = time.monotonic() - begin
        time.sleep(0.02)
    check(process)
    return first, time.monotonic() - begin


def run_killed(out: Path, jobs: int, n_kills: int, *, step: int, first: float, rng: random.Random) -> int:
    """Kills at random moments, then lets the search finish; the number of kills that hit a living process.

    Three in four come a random moment after up to `2 * step` new evaluations, so that the search advances however busy
    the machine is; the others in the first `first` seconds, while it loads.
    """
    for count in range(n_kills):
        process, before = start(out, jobs), n_journaled(out)
        if rng.random() < 0.25:
            wait_until(lambda: False, process, timeout=rng.uniform(0, first))
        else:
            target = before + rng.randint(1, 2 * step)
            wait_until(lambda target=target: n_journaled(out) >= target, process, timeout=600)
            wait_until(lambda: False, process, timeout=rng.uniform(0, 0.1))
        if process.poll() is not None:
            check(process)
            return count
        process.send_signal(signal.SIGKILL)
        process.wait()
        print(f"kill {count + 1:2d}: {n_journaled(out)} evaluations in the journal", flush=True)
    check(start(out, jobs))
    return n_kills


def wait_until(is_done: Callable[[], bool], process: subprocess.Popen, *, timeout: float) -> None:
    end = time.monotonic() + timeout
    while process.poll() is None and not is_done() and time.monotonic() < end:
        time.sleep(0.005)


def n_journaled(out: Path) -> int:
    journal = out / "evaluations.jsonl"
    return max(journal.read_bytes().count(b"\n") - 1, 0) if journal.exists() else 0


def repeated(out: Path) -> list[tuple]:
    """Split, assignment, images and state of everything that was measured more than once."""
    records = [json.loads(line) for line in (out / "evaluations.jsonl").read_text().splitlines()]
    records = [r for r in records if r["kind"] == "evaluation"]
    counts = Counter((r["split"], tuple(r["assignment"]), r.get("n_images"), r["state"]) for r in records)
    return [key for key, count in counts.items() if count > 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, parts = Path(folder, "whole"), Path(folder, "parts")
        first, total = run_reference(whole, options.jobs)
        print(f"uninterrupted: first evaluation after {first:.1f} s, finished after {total:.1f} s")
        step = max(1, n_journaled(whole) // (options.kills + 5))
        n_kills = run_killed(parts, options.jobs, options.kills, step=step, first=first, rng=rng)
        is_same = (whole / "front.csv").read_bytes() == (parts / "front.csv").read_bytes()
        again = repeated(parts)
    print(f"{n_kills} kills, identical front: {is_same}, assignments measured twice: {len(again)}")
    sys.exit(0 if is_same and not again else 1)


if __name__ == "__main__":
    main()
