"""What happens to runs whose process is killed, whose disk fails, whose files are damaged.

    python benchmarks/reliability.py kills --number 200
    python benchmarks/reliability.py failures --number 200
    python benchmarks/reliability.py fuzz --number 100000

Each prints a table, writes it to `results/reliability/`, and ends with exit code 1 where something was lost. Needs
nothing but the embedded example.

`kills`: commands are killed with SIGKILL at random moments and repeated until they finish. `failures`: one write of a
command fails (the disk is full from then on, no permission, an input/output error, or the process dies with half of the
write done), then the command is repeated. Both compare results with those of an undisturbed command, byte for byte, and
look in the journals for evaluations that were lost or measured twice. `fuzz`: readers get damaged files; whatever comes
out that is no `DseError` is counted.
"""

import argparse
import contextlib
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch  # noqa: F401  once, for all processes that are forked

from dse.cli import main as command
from dse.errors import DseError
from dse.runs.journal import read_journal
from dse.testing.fakes import FakeEvaluator, use_fakes
from dse.testing.faults import KINDS, Died, Faults

RESULTS = Path(__file__).resolve().parents[1] / "results" / "reliability"

SMALL = ["--images", "40", "--report-images", "40", "--calibration-images", "64", "--threads", "1", "--out", "one"]
SEARCH = ["explore", "--population-size", "6", "--generations", "4", *SMALL]


@dataclass(frozen=True)
class Task:
    """A command, and what must come out the same however often it was disturbed.

    Attributes:
        name: for the table.
        arguments: of `dse`.
        results: files below the working directory.
        before: a command that is run undisturbed before.
        is_faked: evaluations are those of a stand-in, which takes no time.
    """

    name: str
    arguments: Sequence[str]
    results: Sequence[str]
    before: Sequence[str] | None = None
    is_faked: bool = False


FRONT = ("one/front.csv",)
TASKS = (
    Task("nsga2, agn, races", SEARCH, FRONT),
    Task("nsga2, plain", [*SEARCH, "--plain"], FRONT),
    Task("random", ["explore", "--method", "random", "--evaluations", "40", *SMALL], FRONT),
    Task("greedy", ["explore", "--method", "greedy", "--evaluations", "40", *SMALL], FRONT),
    Task("nsga2, two processes", [*SEARCH, "--jobs", "2"], FRONT),
    Task(
        "operating points", ["operating-points", "one", "--method", "search", "--evaluations", "30", "--out", "points"],
        ("points/operating_points.csv",), [*SEARCH, "--plain"],
    ),
    Task(
        "tolerances", ["tolerances", "--method", "trained", "--coefficients", "0.1,0.2,0.4", "--epochs", "3",
                       "--batch-size", "32", "--training-images", "256", "--calibration-images", "64", "--out", "one"],
        ("one/tolerances.csv",),
    ),
)  # fmt: skip
WRITING = (
    *(
        replace(task, is_faked=task.name != "tolerances")
        for task in TASKS
        if task.name not in ("nsga2, two processes", "random", "greedy")
    ),
    Task(
        "finetune", ["finetune", "one", "--points", "0,1", "--epochs", "2", "--batch-size", "32", "--training-images",
                     "64", "--validation-images", "40", "--no-reconstruction", "--out", "tuned"],
        ("tuned/point_0.npz", "tuned/point_1.npz"), [*SEARCH, "--plain"],
    ),
    Task(
        "axnn", ["axnn", "--bounds", "50", "--levels", "4", "--group-share", "1", "--smallest-share", "0.6", "--epochs",
                 "1", "--training-images", "64", "--validation-images", "40", *SMALL[2:]],
        ("one/neurons.csv", "one/bound_50.npz"),
    ),
    Task("sweep", ["sweep", "../sweep.toml", "--out", "one"], ("one/seed_0/front.csv",)),
)  # fmt: skip
SWEEP = """[search]
population_size = 4
generations = 1
initial = "random"
surrogate = false
[data]
images = 20
report_images = 20
[execution]
threads = 1
[sweep]
search.seed = [0]
"""


def start(folder: Path, arguments: Sequence[str], faults: Faults | None = None, *, is_faked: bool = False) -> int:
    """Forks a process that does a command in a folder; its number. What it prints goes to files beside."""
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        os.setsid()
        os.chdir(folder)
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(f"../{folder.name}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.argv = ["dse", *arguments]
        if is_faked:
            use_fakes(pytest.MonkeyPatch(), FakeEvaluator())
        if faults is None:
            command()
        else:
            with faults.happening():
                command()
    except SystemExit as end:
        code = int(end.code or 0)
    except Died:
        code = 100
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        if faults is not None:
            Path(f"../{folder.name}.faults").write_text(f"{faults.n_done} {faults.failed}")
        os._exit(code)


def finish(folder: Path, arguments: Sequence[str], faults: Faults | None = None, *, is_faked: bool = False) -> int:
    """Does a command to its end; the exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(start(folder, arguments, faults, is_faked=is_faked), 0)[1])


def require(folder: Path, arguments: Sequence[str], *, is_faked: bool = False) -> None:
    """Does a command that must not fail."""
    if finish(folder, arguments, is_faked=is_faked):
        sys.exit(f"dse {' '.join(arguments)} failed: {folder.with_suffix('.stderr').read_text()}")


def kill_after(pid: int, time_s: float) -> bool:
    """Kills a process after some time, and those that it started; whether it was still there."""
    end = time.monotonic() + time_s
    while time.monotonic() < end:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with contextlib.suppress(ProcessLookupError):  # loky's workers would wait minutes for work
        os.killpg(pid, signal.SIGKILL)
    return True


def journaled(folder: Path) -> Counter:
    """Everything measured below a folder, by journal; that a race was lost is no measurement."""
    return Counter(
        (path.relative_to(folder), *e.key, e.n_images)
        for path in folder.rglob("*.jsonl")
        for e in read_journal(path)
        if e.state != "raced"
    )


def is_same(folder: Path, whole: Path, task: Task) -> bool:
    """Whether the results are there, and those of the undisturbed command."""
    files = [(folder / name, whole / name) for name in task.results]
    return all(one.exists() and one.read_bytes() == other.read_bytes() for one, other in files)


@dataclass
class Tally:
    """What became of a task."""

    name: str
    disturbed: int = 0
    results: int = 0
    identical: int = 0
    evaluations: int = 0
    lost: int = 0
    twice: int = 0
    clear: int = 0

    def take(self, folder: Path, whole: Path, task: Task) -> None:
        """A command that was disturbed has finished."""
        self.results += 1
        same = is_same(folder, whole, task)
        self.identical += same
        self.twice += sum(n - 1 for n in journaled(folder).values())
        if not same:
            print(f"{task.name}: {folder} differs", flush=True)

    @property
    def is_good(self) -> bool:
        return self.results == self.identical and not self.lost and not self.twice


def fresh(place: Path, name: str, task: Task) -> Path:
    """A folder in which the task can begin."""
    folder = place / name
    folder.mkdir()
    if task.before is not None:
        shutil.copytree(place / "before" / "one", folder / "one")
    return folder


def prepare_task(place: Path, task: Task) -> tuple[Path, float]:
    """Folder and duration (s) of the undisturbed command."""
    (place / "sweep.toml").write_text(SWEEP)
    if task.before is not None:
        (place / "before").mkdir()
        require(place / "before", task.before, is_faked=task.is_faked)
    whole = fresh(place, "whole", task)
    begin = time.monotonic()
    require(whole, task.arguments, is_faked=task.is_faked)
    return whole, time.monotonic() - begin


def kills(number: int, seed: int) -> tuple[pd.DataFrame, bool]:
    """Kills every task equally often."""
    rng, tallies = random.Random(seed), []
    for index, task in enumerate(TASKS):
        n_kills = number // len(TASKS) + (index < number % len(TASKS))
        tally = Tally(task.name)
        with tempfile.TemporaryDirectory() as place:
            whole, time_s = prepare_task(Path(place), task)
            while tally.disturbed < n_kills:
                folder = fresh(Path(place), f"r{tally.results}", task)
                before, is_whole = Counter(), True
                while tally.disturbed < n_kills:
                    begin = time.monotonic()
                    if not kill_after(start(folder, task.arguments), rng.uniform(0, time_s)):
                        if is_whole:  # the machine may be less busy now
                            time_s = min(time_s, time.monotonic() - begin)
                        break
                    is_whole = False
                    tally.disturbed += 1
                    now = journaled(folder)
                    tally.lost += (before - now).total()
                    before = now
                require(folder, task.arguments)
                tally.lost += (before - journaled(folder)).total()
                tally.evaluations += journaled(folder).total()
                tally.take(folder, whole, task)
                shutil.rmtree(folder)
        print(tally, f"undisturbed {time_s:.1f} s", flush=True)
        tallies.append(tally)
    table = pd.DataFrame([vars(tally) for tally in tallies]).drop(columns="clear")
    return table.rename(columns={"disturbed": "kills", "results": "runs"}), all(t.is_good for t in tallies)


def failures(number: int, seed: int) -> tuple[pd.DataFrame, bool]:
    """Fails writes of every task equally often, of all kinds, at random operations."""
    rng, tallies = random.Random(seed), []
    for index, task in enumerate(WRITING):
        # Those with networks take long: each of them gets a tenth of what one without gets.
        weights = [10 if task.is_faked else 1 for task in WRITING]
        n_faults = round(number * sum(weights[: index + 1]) / sum(weights)) - round(
            number * sum(weights[:index]) / sum(weights)
        )
        tally = Tally(task.name)
        with tempfile.TemporaryDirectory() as place:
            whole, time_s = prepare_task(Path(place), task)
            counting = fresh(Path(place), "counting", task)
            finish(counting, task.arguments, Faults(counting), is_faked=task.is_faked)
            n_operations = int(counting.with_suffix(".faults").read_text().split()[0])
            while tally.disturbed < n_faults:
                fail_once(
                    Path(place), task, tally, whole, at=rng.randrange(n_operations), kind=KINDS[tally.disturbed % 4]
                )
        print(tally, f"undisturbed {time_s:.1f} s, {n_operations} operations", flush=True)
        tallies.append(tally)
    table = pd.DataFrame([vars(tally) for tally in tallies])
    is_good = all(t.is_good and t.clear == t.disturbed for t in tallies)
    return table.rename(columns={"disturbed": "failures", "results": "runs"}), is_good


def fail_once(place: Path, task: Task, tally: Tally, whole: Path, *, at: int, kind: str) -> None:
    folder = fresh(place, f"r{tally.results}", task)
    code = finish(folder, task.arguments, Faults(folder, at, kind), is_faked=task.is_faked)
    told = [x for x in folder.with_suffix(".stderr").read_text().splitlines() if x.startswith("error: ")]
    failed = folder.with_suffix(".faults").read_text().partition(" ")[2]
    if failed:
        # What fails after everything is written need not be told.
        is_harmless = code == 0 and not told and is_same(folder, whole, task)
        is_clear = code == 100 if kind == "torn" else (code, len(told)) == (2, 1) or is_harmless
        tally.disturbed += 1
        tally.clear += is_clear
        if not is_clear:
            print(f"{task.name}: {kind} at {at} ({failed}): exit code {code}, {told}", flush=True)
            print(folder.with_suffix(".stderr").read_text()[-2000:], flush=True)
    before = journaled(folder)
    require(folder, task.arguments, is_faked=task.is_faked)
    tally.lost += (before - journaled(folder)).total()
    tally.evaluations += journaled(folder).total()
    tally.take(folder, whole, task)
    shutil.rmtree(folder)


def fuzz(number: int, seed: int, only: str = "") -> tuple[pd.DataFrame, bool]:
    """Every reader with `only` in its name gets its share of the inputs."""
    from reliability_readers import readers

    logging.getLogger("dse").setLevel(logging.CRITICAL)
    rows = []
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as place:
        (Path(place) / "made").mkdir()
        every = list(readers(Path(place) / "made"))
        share = number / sum(reader.weight for reader in every)
        for reader in (reader for reader in every if only in reader.name):
            rows.append(fuzz_one(reader, Path(place) / "input", int(np.ceil(share * reader.weight)), seed))
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    return table, not table["wrong"].any()


def fuzz_one(reader: Any, folder: Path, number: int, seed: int) -> dict[str, Any]:
    """A row of the table: inputs that were read, refused with an error of dse, and answered with another one."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded
    from reliability_readers import contents

    counts, told = Counter(read=0, refused=0, wrong=0), set()

    def some(contents: list[bytes]) -> None:
        for content in contents:
            one(content)

    def one(content: bytes) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / reader.file).write_bytes(content)
        try:
            reader.read(folder)
            counts["read"] += 1
        except DseError:
            counts["refused"] += 1
        except Exception as error:
            counts["wrong"] += 1
            frames = [f for f in traceback.extract_tb(error.__traceback__) if f"{os.sep}dse{os.sep}" in f.filename]
            where = ", ".join(f"{Path(f.filename).name}:{f.lineno}" for f in frames)
            if (type(error), where) not in told:
                told.add((type(error), where))
                print(f"    {type(error).__name__}: {str(error)[:200]} at {where} for {content[:300]!r}", flush=True)

    begin, n_rounds = time.monotonic(), 0
    while (left := number - counts.total()) > 0:  # hypothesis ends earlier where it finds nothing new
        options = settings(
            max_examples=max(left // 12, 1), deadline=None, database=None, suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )  # fmt: skip
        seeded(seed + n_rounds)(options(given(contents(reader))(some)))()
        n_rounds += 1
    return {"reader": reader.name, "inputs": counts.total(), **counts, "time_s": time.monotonic() - begin}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["kills", "failures", "fuzz"])
    parser.add_argument("--number", type=int, help="of kills, failures or inputs; default 200, 200, 100000")
    parser.add_argument("--seed", type=int, default=0, help="of moments and inputs")
    parser.add_argument("--only", default="", help="fuzz readers with this in their name")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    numbers = {"kills": 200, "failures": 200, "fuzz": 100_000}
    do = {"kills": kills, "failures": failures, "fuzz": partial(fuzz, only=options.only)}[options.what]
    table, is_good = do(options.number or numbers[options.what], options.seed)
    print(table.to_string(index=False))
    options.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out / f"{options.what}.csv", index=False, float_format="%.4g")
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
