"""The runs of a sweep on this machine: each is a process of the ordinary command, so that none takes others along.

A process that is left over from a killed sweep goes on by itself, and holds the lock of its run: it is waited for.
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from dse.errors import ConfigError, RunError
from dse.runs.execution import available_cpus
from dse.runs.store import lock_holder
from dse.runs.sweep_folder import Outcome, SweepFolder

POLL_S = 0.1
PATIENCE_S = 60.0
"""How long runs may take to end when they are asked to, before they are killed; what they measured is kept."""

_PR_SET_PDEATHSIG = 1

Command = Callable[[SweepFolder, str], list[str]]


class RunsObserver(Protocol):
    """Told how the runs of a sweep go on; must not change anything."""

    def on_start(self, n_runs: int, n_finished: int) -> None:
        """Everything is planned."""

    def on_run(self, name: str) -> None:
        """A run begins."""

    def on_elsewhere(self, name: str, holder: str) -> None:
        """A run is going on in another process."""

    def on_submitted(self, name: str, job: str) -> None:
        """A run is in the queue of a batch system."""

    def on_queued(self, name: str) -> None:
        """A run is not submitted, as it is in the queue or going on already."""

    def on_outcome(self, name: str, outcome: Outcome) -> None:
        """A run ended."""


class SilentRuns(RunsObserver):
    """The observer that does nothing: the methods of the protocol are empty."""


def explore_command(folder: SweepFolder, name: str) -> list[str]:
    """The ordinary command of a run, with the Python of this process."""
    run_file, path = folder.run_file(name), folder.run(name).path
    return [sys.executable, "-m", "dse", "explore", str(run_file), "--out", str(path)]


class Attempt:
    """A process that does, or continues, one run of a sweep; its output is in the run's log.

    Args:
        folder: of the sweep.
        name: of the run.
        command: that does it.
        cpus: cores for it; all by default.
        is_bound: it is asked to end when this process dies in whatever way, gets the signals of its terminal, and
            begins with SIGUSR1 and SIGUSR2 ignored.
            Otherwise it goes on by itself, and Ctrl-C reaches this process alone, which then asks it to end.
    """

    def __init__(
        self, folder: SweepFolder, name: str, command: Command, cpus: Sequence[int] = (), *, is_bound: bool = False
    ) -> None:
        self.name, self.is_asked_to_end = name, False
        self._folder, self._begin = folder, time.monotonic()
        folder.write_outcome(name, None)
        log = folder.log(name)
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as file:
                file.write(f"== {datetime.now():%Y-%m-%d %H:%M:%S} on {socket.gethostname()}\n".encode())
                file.flush()
                self._log_start = file.tell()
                self._process = subprocess.Popen(
                    command(folder, name), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                    start_new_session=not is_bound, preexec_fn=_bind_to_parent if is_bound else None,
                )  # fmt: skip
        except OSError as error:
            reason = f"{error.strerror}. Check {log.parent}, memory and limits"
            raise RunError(f"cannot start run {name}: {reason}") from None
        if cpus:
            _hold_to(self._process.pid, cpus)

    def poll(self) -> Outcome | None:
        """How it ended, which is then kept; `None` while it goes on."""
        code = self._process.poll()
        if code is None:
            return None
        outcome = self._outcome(code)
        self._folder.write_outcome(self.name, outcome)
        return outcome

    def end(self) -> None:
        """Asks it to end: what it is measuring is finished or lost, all before is kept."""
        self.is_asked_to_end = True
        self._process.terminate()

    def kill(self) -> None:
        """Ends it at once, with the processes that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _outcome(self, code: int) -> Outcome:
        time_s = time.monotonic() - self._begin
        if self._folder.is_done(self.name):
            return Outcome("finished", time_s=time_s)
        if self.is_asked_to_end or code in (0, 130, -signal.SIGTERM, -signal.SIGINT):
            return Outcome("interrupted", time_s=time_s)
        said = _last_error(self._folder.log(self.name), self._log_start)
        if code < 0:
            said = f"killed by signal {-code} ({signal.strsignal(-code)})" + (f" after: {said}" if said else "")
        return Outcome("failed", said or f"exit code {code}, nothing printed", time_s)


def _last_error(log: Path, start: int) -> str:
    """The last line of an attempt that tells of an error, else its last line."""
    with log.open("rb") as file:
        file.seek(max(start, file.seek(0, os.SEEK_END) - 100_000))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("error: ")]
    return (told or lines or [""])[-1].removeprefix("error: ")


def _bind_to_parent() -> None:
    """For a child, before it becomes another program: SIGTERM when its parent dies (on Linux; elsewhere it lives on).

    What a batch system tells all processes of a job does not end the child before it can listen: its parent hears it.
    """
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _hold_to(pid: int, cpus: Sequence[int]) -> None:
    """Gives a process cores of its own: it makes as many threads as it has cores."""
    with contextlib.suppress(AttributeError, OSError):  # no such call, or it has ended already
        os.sched_setaffinity(pid, cpus)


def check_jobs(jobs: int) -> None:
    """Raises `ConfigError` where a number of runs at a time makes no sense."""
    if jobs < 1:
        raise ConfigError(f"jobs is {jobs}: expected 1 or more")


def run_locally(
    folder: SweepFolder,
    names: Sequence[str],
    *,
    jobs: int = 1,
    command: Command = explore_command,
    observer: RunsObserver | None = None,
) -> None:
    """Does every run that is not finished, `jobs` at a time; a run that fails does not stop the others.

    Args:
        folder: of the sweep, locked by the caller.
        names: of its runs.
        jobs: processes at a time, which share the cores of this one.
        command: of a run.
        observer: told how it goes on.

    Raises:
        KeyboardInterrupt: as it came, once all processes have ended.
    """
    check_jobs(jobs)
    observer = observer or SilentRuns()
    waiting = [name for name in names if not folder.is_done(name)]
    observer.on_start(len(names), len(names) - len(waiting))
    slots = _Slots(folder, jobs, command, observer)
    try:
        while waiting or slots.active:
            waiting = slots.fill(waiting)
            slots.collect()
            time.sleep(POLL_S)
    finally:
        slots.close()


class _Slots:
    """Room for a few runs at a time."""

    def __init__(self, folder: SweepFolder, n_slots: int, command: Command, observer: RunsObserver) -> None:
        self.active: dict[int, Attempt] = {}
        self._folder, self._n_slots, self._command, self._observer = folder, n_slots, command, observer
        self._elsewhere: dict[str, str] = {}

    def fill(self, waiting: Sequence[str]) -> list[str]:
        """Starts runs where there is room; returns those that still wait."""
        if len(self.active) >= self._n_slots:
            return list(waiting)  # thousands of locks need not be looked at ten times a second
        left = []
        holders = {name: lock_holder(self._folder.run(name).path) for name in waiting}
        here = f" on {socket.gethostname()}"
        n_here = sum(holder is not None and holder.endswith(here) for holder in holders.values())
        for name in waiting:
            if holders[name] is not None:
                left.append(name)
                if name not in self._elsewhere:
                    self._observer.on_elsewhere(name, holders[name])
                self._elsewhere[name] = holders[name]
            elif self._elsewhere.pop(name, None) is not None and self._folder.is_done(name):
                self._observer.on_outcome(name, Outcome("finished"))
            elif len(self.active) + n_here < self._n_slots:
                self._start(name)
            else:
                left.append(name)
        return left

    def _start(self, name: str) -> None:
        slot = next(number for number in range(self._n_slots) if number not in self.active)
        self._observer.on_run(name)
        self.active[slot] = Attempt(self._folder, name, self._command, cpus_of(slot, self._n_slots))

    def collect(self) -> None:
        """Takes out what has ended."""
        for slot, attempt in list(self.active.items()):
            outcome = attempt.poll()
            if outcome is not None:
                del self.active[slot]
                self._observer.on_outcome(attempt.name, outcome)

    def close(self) -> None:
        """Asks everything to end, and waits for it; what takes too long, or a second Ctrl-C meets, is killed."""
        for attempt in self.active.values():
            attempt.end()
        limit = time.monotonic() + PATIENCE_S
        try:
            while self.active and time.monotonic() < limit:
                self.collect()
                time.sleep(POLL_S)
        finally:
            for attempt in self.active.values():
                attempt.kill()
            self.collect()


def cpus_of(slot: int, n_slots: int) -> list[int]:
    """Cores of one of several processes: equal parts of those of this one; none where there are too few to share."""
    if n_slots == 1 or not hasattr(os, "sched_getaffinity"):
        return []
    cpus = sorted(os.sched_getaffinity(0))[: available_cpus()]
    share = len(cpus) // n_slots
    return cpus[slot * share : (slot + 1) * share] if share else [cpus[slot % len(cpus)]]
