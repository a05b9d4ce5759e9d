"""What people see of a report at a terminal."""

from pathlib import Path

from dse.reporting.terminal.output import print_note


class ReportWatch:
    """One line at the first page, and one whenever another run is finished; see `ReportObserver`."""

    def __init__(self) -> None:
        self._n_finished, self._is_waiting = -1, False

    def on_waiting(self, why: str) -> None:
        """See `ReportObserver`."""
        if not self._is_waiting:
            print_note(f"waiting for a run to begin: {why}")
        self._is_waiting = True

    def on_written(self, path: Path, n_finished: int, n_runs: int) -> None:
        """See `ReportObserver`."""
        if n_finished == self._n_finished:
            return
        first = f"open {address(path)}; " if self._n_finished < 0 else ""
        print_note(f"{first}{n_finished} of {n_runs} runs finished")
        self._n_finished = n_finished


def print_report(path: Path) -> None:
    """Where it is, and how it is opened."""
    print_note(f"{path} ({path.stat().st_size / 1e6:.1f} MB): open it in a browser, {address(path)}")


def address(path: Path) -> str:
    """What a browser takes."""
    return path.resolve().as_uri()
