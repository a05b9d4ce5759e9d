"""One run of a sweep as a job of a batch system: `python -m dse.runs.sweep_task SWEEP_DIRECTORY RUN`.

The job does what `dse sweep` does on one machine: it starts the ordinary command, writes its log, and keeps how it
ended. Told to stop, it lets the run finish what it is measuring; the next job of the run continues.
"""

import signal
import sys
import time
from pathlib import Path
from types import FrameType

from dse.runs.store import lock_holder
from dse.runs.sweep_execution import POLL_S, Attempt, Command, explore_command
from dse.runs.sweep_folder import SweepFolder

SHARED_S = 5.0
"""SIGTERM reaches all processes of a job: the run ends by itself before it is asked again, which would disturb it."""

EXIT_FAILED = 1
EXIT_IN_USE = 3


class _Signals:
    """When the run is to be asked to end. SLURM sends SIGTERM, and as time runs out submitit's SIGUSR2."""

    def __init__(self) -> None:
        self.end_at: float | None = None

    def catch(self) -> None:
        """From now on."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        wait_s = SHARED_S if number in (signal.SIGTERM, signal.SIGINT) else 0.0
        self.end_at = min(self.end_at or float("inf"), time.monotonic() + wait_s)


def do_run(folder: SweepFolder, name: str, command: Command = explore_command) -> int:
    """Does or continues a run until it ends.

    Returns:
        The exit code: 0 where the run is finished, or was interrupted as asked.
    """
    if folder.is_done(name):
        return 0
    holder = lock_holder(folder.run(name).path)
    if holder is not None:
        sys.stderr.write(f"{name} is going on in {holder}\n")
        return EXIT_IN_USE
    signals = _Signals()
    signals.catch()
    attempt = Attempt(folder, name, command, is_bound=True)
    while (outcome := attempt.poll()) is None:
        if signals.end_at is not None:
            attempt.is_asked_to_end = True
            if time.monotonic() >= signals.end_at:
                attempt.end()
                signals.end_at = float("inf")
        time.sleep(POLL_S)
    sys.stderr.write(f"{name}: {outcome.state} {outcome.message}\n")
    return EXIT_FAILED if outcome.state == "failed" else 0


if __name__ == "__main__":
    sys.exit(do_run(SweepFolder(Path(sys.argv[1])), sys.argv[2]))
