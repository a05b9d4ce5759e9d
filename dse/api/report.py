"""`dse.report`: runs as one HTML file, which a browser opens without a network."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dse.api.compare import paths_of
from dse.errors import ConfigError, RunError

if TYPE_CHECKING:
    from dse.runs.results import Run
    from dse.runs.run_status import FoundRun

REPORT = "report.html"

REWRITTEN_S = 30.0
"""A page that is watched is written at least so often, so that it can tell when nobody writes it any more."""

LONGEST_S = 3600.0
"""Between two looks; a page that is older than `REWRITTEN_S` says so."""

PATIENCE = 10
"""A page is made at most in this part of the time: one of many evaluations is made less often."""


class ReportObserver(Protocol):
    """Told how a report goes on."""

    def on_waiting(self, why: str) -> None:
        """There is no run yet."""

    def on_written(self, path: Path, n_finished: int, n_runs: int) -> None:
        """So many of the runs are finished."""


class SilentReport(ReportObserver):
    """The observer that does nothing: the methods of the protocol are empty."""


def report(runs: "str | Path | Run | Sequence[str | Path | Run]", *, out: str | Path | None = None) -> Path:
    """Writes runs as one HTML file: front, layers, search, library, table, and how they were made.

    The file needs nothing beside it, and no network. Unfinished runs are shown as far as they are.

    Args:
        runs: directories of runs, of sweeps, or folders that hold runs; or opened runs.
        out: the file; by default `report.html` in the one directory that is given, else in the current one.

    Returns:
        The file.

    Raises:
        MissingDependencyError: plotly is not installed.
        RunError: there is no run, one is damaged, or the file cannot be written, or is none of ours.

    >>> import dse
    >>> run = dse.explore(population_size=6, generations=1, out="runs/reported")
    >>> print(dse.report(run))
    runs/reported/report.html
    """
    paths = paths_of(runs)
    path = _checked(default_report_path(paths) if out is None else Path(out))
    begun, n_waiting = _begun(paths)
    _write(path, begun, n_waiting, refresh_s=0.0)
    return path


def watch_report(
    runs: "str | Path | Run | Sequence[str | Path | Run]",
    *,
    out: str | Path | None = None,
    interval_s: float = 5.0,
    watch: ReportObserver | None = None,
) -> Path:
    """Writes a report again and again while runs go on; the page reloads itself.

    Args:
        runs, out: as in `report`; a run may begin later.
        interval_s: at least so long between two looks at the runs, from 1 to `LONGEST_S`.
        watch: told whenever it is written.

    Returns:
        The file, once all runs are finished, or failed.

    Raises:
        ConfigError: `interval_s` is out of bounds.
        KeyboardInterrupt: was asked to end; the file is whole then, and reloads itself no more.
        MissingDependencyError, RunError: as `report`.
    """
    if not 1 <= interval_s <= LONGEST_S:
        raise ConfigError(f"the interval is {interval_s:g}: expected seconds from 1 to {LONGEST_S:g}")
    watch, paths = watch or SilentReport(), paths_of(runs)
    path = _checked(default_report_path(paths) if out is None else Path(out))
    written_s, seen = float("-inf"), None
    try:
        while True:
            started_s = time.monotonic()
            begun, n_waiting = _awaited(paths, watch)
            is_over = bool(begun) and n_waiting == 0 and all(run.state in ("finished", "failed") for run in begun)
            state = _state_of(begun)
            if begun and (is_over or state != seen or started_s - written_s > REWRITTEN_S):
                _write(path, begun, n_waiting, refresh_s=0.0 if is_over else interval_s)
                watch.on_written(path, sum(run.directory.is_finished for run in begun), len(begun) + n_waiting)
                written_s, seen = time.monotonic(), state
            if is_over:
                return path
            time.sleep(max(interval_s, PATIENCE * (time.monotonic() - started_s)))
    except KeyboardInterrupt:
        begun, n_waiting = _awaited(paths, watch)
        if begun:
            _write(path, begun, n_waiting, refresh_s=0.0)
        raise


def default_report_path(paths: Sequence[str | Path]) -> Path:
    """Where a report goes if nothing is said."""
    return Path(paths[0]) / REPORT if len(paths) == 1 else Path(REPORT)


def _checked(path: Path) -> Path:
    """Raises `RunError` where another file would be lost."""
    from dse.reporting.report.html import GENERATOR

    if path.is_dir():
        raise RunError(f"{path} is a directory: expected the name of a file, as --out {path / REPORT}")
    try:
        with path.open("rb") as file:
            is_ours = GENERATOR.encode() in file.read(4000)
    except (FileNotFoundError, NotADirectoryError):
        return path
    except OSError as error:
        raise RunError(
            f"{path} cannot be read ({error}), it may be no report of dse: choose another with --out"
        ) from None
    if not is_ours:
        raise RunError(f"{path} is no report of dse, and would be lost: choose another file with --out")
    return path


def _awaited(paths: Sequence[str | Path], watch: ReportObserver) -> "tuple[list[FoundRun], int]":
    """As `_begun`; nothing where there is no run yet."""
    try:
        return _begun(paths)
    except RunError as error:
        watch.on_waiting(str(error))
        return [], 0


def _begun(paths: Sequence[str | Path]) -> "tuple[list[FoundRun], int]":
    """Runs that have something to show, and how many others there are."""
    from dse.runs.run_groups import runs_at

    found = runs_at(paths)
    begun = [run for run in found if run.directory.resolved.exists()]
    if not begun:
        raise RunError(f"none of the {len(found)} runs in {paths[0]} has begun: see `dse status {paths[0]}`")
    return begun, len(found) - len(begun)


def _state_of(found: "Sequence[FoundRun]") -> tuple[object, ...]:
    """Changes when there is something new to show."""
    files = [
        file
        for run in found
        for file in (run.directory.manifest, run.directory.journal, run.directory.generations, run.directory.front)
    ]
    stats = [file.stat() for file in files if file.exists()]
    return (*((stat.st_mtime_ns, stat.st_size) for stat in stats), *(run.state for run in found))


def _write(path: Path, begun: "Sequence[FoundRun]", n_waiting: int, *, refresh_s: float) -> None:
    from dse.files import replace_file
    from dse.reporting.report.contents import report_data
    from dse.reporting.report.html import report_html

    notes = [f"{n_waiting} more {'run has' if n_waiting == 1 else 'runs have'} not begun."] if n_waiting else []
    replace_file(path, report_html(report_data(begun, refresh_s=refresh_s, notes=notes)))
