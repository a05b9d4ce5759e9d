"""The runs of a sweep as one SLURM job array, through submitit.

A job is a plain command (`dse.runs.sweep_task`). submitit keeps it in a file that is unpickled by the job: it holds
words that were written here, and nothing that a user gave as a file. A job that runs out of time, or is preempted, is
put into the queue again by submitit, and continues its run.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dse.errors import ConfigError, MissingDependencyError, RunError
from dse.files import replace_file
from dse.runs.store import lock_holder
from dse.runs.sweep_folder import SweepFolder

MAX_TIMEOUTS = 20
"""How often a job may run out of time and be queued again; after that, the sweep's command does it."""

ANSWER_S = 60.0
"""How long SLURM may take to tell its queue."""

SIGNAL_DELAY_S = 90
"""Before the end of its time a job is told, to finish what it is measuring."""


@dataclass(frozen=True)
class SlurmOptions:
    """What each job gets.

    Attributes:
        walltime: hours, minutes and seconds, as 04:00:00, or days before them, as 2-00:00:00.
        memory: as 4GB.
        cpus: cores.
        parallelism: jobs of the array that may run at a time.
        partition: SLURM's default where absent.
    """

    walltime: str = "24:00:00"
    memory: str = "4GB"
    cpus: int = 1
    parallelism: int = 50
    partition: str | None = None

    def __post_init__(self) -> None:
        minutes_of(self.walltime)
        if not re.fullmatch(r"0*[1-9][0-9]* ?[KMGT]?B?", self.memory):
            raise ConfigError(f"memory {self.memory!r}: expected a size above zero, as 4GB or 800MB")
        for name in ("cpus", "parallelism"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: expected 1 or more")
        if self.partition is not None and not re.fullmatch(r"[\w.:@+,-]+", self.partition):
            raise ConfigError(f"partition {self.partition!r}: expected a name of SLURM's, see `sinfo`")

    def parameters(self) -> dict[str, Any]:
        """In submitit's words."""
        values = {
            "job_name": "dse-sweep", "time": minutes_of(self.walltime), "mem": self.memory.replace(" ", ""),
            "cpus_per_task": self.cpus, "array_parallelism": self.parallelism, "signal_delay_s": SIGNAL_DELAY_S,
            "srun_args": [f"--cpus-per-task={self.cpus}"],  # newer versions of srun do not take it over from sbatch
        }  # fmt: skip
        return values | ({} if self.partition is None else {"partition": self.partition})


def minutes_of(walltime: str) -> int:
    """Whole minutes, at least one, of a time as SLURM takes it.

    >>> minutes_of("02:30:00"), minutes_of("1-00:00:00")
    (150, 1440)
    """
    found = re.fullmatch(r"(?:([0-9]+)-)?([0-9]+):([0-9]{2}):([0-9]{2})", walltime)
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0, 0)
    total_s = ((24 * days + hours) * 60 + minutes) * 60 + seconds
    if total_s == 0:
        raise ConfigError(f"walltime {walltime!r}: expected hours, minutes and seconds, as 04:00:00 or 2-00:00:00")
    return -(-total_s // 60)


def task_command(folder: SweepFolder, name: str) -> list[str]:
    """What the job of a run executes."""
    return [sys.executable, "-m", "dse.runs.sweep_task", str(folder.path.resolve()), name]


def batch_script(folder: SweepFolder, n_runs: int, options: SlurmOptions) -> str:
    """The script that `submit` gives to sbatch for so many runs, but writes nothing. Text from a pure function.

    Raises:
        ConfigError: submitit has that function no more.
        MissingDependencyError: submitit is not installed.
    """
    make_text = getattr(_submitit().slurm.slurm, "_make_sbatch_string", None)  # no public one, without submitting
    if make_text is None:
        raise ConfigError(
            "this version of submitit does not tell its script: install submitit 1.5, or leave --dry-run out to submit"
        )
    job_folder = folder.job_files.resolve()
    command = f"{shlex.quote(sys.executable)} -u -m submitit.core._submit {shlex.quote(str(job_folder))}"
    count = {"map_count": n_runs} if n_runs > 1 else {}
    return make_text(command=command, folder=job_folder, **options.parameters(), **count)


def submit(folder: SweepFolder, names: Sequence[str], options: SlurmOptions) -> dict[str, str]:
    """Submits runs as one array.

    Args:
        folder: of the sweep, locked by the caller.
        names: of runs; see `to_submit`.
        options: of each job.

    Returns:
        The job of each run, as `123_4`; kept in the folder too.

    Raises:
        ConfigError: there is no SLURM here.
        MissingDependencyError: submitit is not installed.
        RunError: SLURM refuses the array.
    """
    submitit = _submitit()
    for program in ("sbatch", "srun"):
        if shutil.which(program) is None:
            raise ConfigError(
                f"there is no `{program}` on this machine: submit on a node of a SLURM cluster that may do so, print "
                "the script with --dry-run, or leave --cluster out to run here"
            )
    from dse.runs.sweep_job import RunCommand

    try:
        executor = submitit.SlurmExecutor(folder=folder.job_files.resolve(), max_num_timeout=MAX_TIMEOUTS)
        executor.update_parameters(**options.parameters())
        with executor.batch():
            jobs = [executor.submit(RunCommand(task_command(folder, name))) for name in names]
    except (OSError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise RunError(f"SLURM did not take the array of {len(names)} runs: {reason}. Check the options") from None
    submitted = {name: str(job.job_id) for name, job in zip(names, jobs, strict=True)}
    replace_file(folder.jobs, json.dumps(read_jobs(folder) | submitted, indent=1) + "\n")
    return submitted


def read_jobs(folder: SweepFolder) -> dict[str, str]:
    """The job that each run was submitted as last; none where none was."""
    try:
        return {str(name): str(job) for name, job in json.loads(folder.jobs.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def to_submit(folder: SweepFolder, names: Sequence[str]) -> list[str]:
    """Those of some runs that are neither done, nor running, nor in SLURM's queue.

    Raises:
        RunError: some were submitted before, and SLURM does not tell whether they are in its queue.
    """
    jobs = read_jobs(folder)
    queue = queued_jobs() if any(name in jobs for name in names) else frozenset()
    return [
        name
        for name in names
        if not folder.is_done(name) and lock_holder(folder.run(name).path) is None and jobs.get(name) not in queue
    ]


def queued_jobs() -> frozenset[str]:
    """The user's jobs that SLURM holds, as `123` or `123_4`; none where there is no SLURM.

    Raises:
        RunError: SLURM does not answer.
    """
    # A number, as users of containers may have no name.
    command = ["squeue", f"--user={os.getuid()}", "--noheader", "--array", "--format=%i"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S, check=True).stdout
    except FileNotFoundError:
        return frozenset()
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or "").strip().splitlines() or [str(error)]
        raise RunError(
            f"SLURM does not tell which jobs are in its queue ({said[-1]}), and runs that are there must not be "
            "submitted twice. Repeat the command when `squeue` answers"
        ) from None
    return frozenset(answer.split())


def _submitit() -> Any:
    try:
        import submitit
        import submitit.helpers
        import submitit.slurm.slurm
    except ImportError:
        raise MissingDependencyError(
            "--cluster slurm needs the package submitit, which is not installed: pip install 'dse[cluster]'"
        ) from None
    return submitit
