"""The directory of a sweep: ordinary runs, and beside them what makes and follows them.

    sweep.toml           the sweep file as given last
    sweep.csv            every run's name, and its value on each axis
    run_files/NAME.toml  what each run does
    NAME/                each run, made by `dse explore run_files/NAME.toml --out NAME`
    logs/NAME.log        what it printed
    logs/NAME.json       how its last attempt ended
    slurm/, slurm.json   scripts and logs of SLURM jobs, and which job is which run

Values may be added to the axes later: runs that are there stay.
"""

import json
import logging
from collections.abc import Container
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from dse.config import RunConfig, load_config, to_toml
from dse.errors import RunError
from dse.files import replace_file
from dse.runs.store import PLAN_FILE, RunDirectory, lock_holder, refuse_foreign, refuse_other_kinds, write_table
from dse.runs.sweep_plan import SweepPlan

_log = logging.getLogger("dse")

State = Literal["waiting", "running", "interrupted", "finished", "failed"]
RESERVED = ("run_files", "logs", "slurm")


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a run ended: `finished`, `interrupted` or `failed`, and in the last case why."""

    state: State
    message: str = ""
    time_s: float = 0.0


class SweepFolder:
    """The files of a sweep."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @property
    def plan(self) -> Path:
        return self.path / PLAN_FILE

    @property
    def jobs(self) -> Path:
        return self.path / "slurm.json"

    @property
    def job_files(self) -> Path:
        return self.path / "slurm"

    def run_file(self, name: str) -> Path:
        """Of one run."""
        return self.path / "run_files" / f"{name}.toml"

    def log(self, name: str) -> Path:
        """Of one run."""
        return self.path / "logs" / f"{name}.log"

    def run(self, name: str) -> RunDirectory:
        """Its directory."""
        return RunDirectory(self.path / name)

    def check(self, plan: SweepPlan) -> None:
        """Checks that runs which are there already are those of the plan.

        Raises:
            RunError: the directory is a file, foreign, or a run itself, or holds a run of the same name with another
                configuration.
        """
        refuse_other_kinds(self.path, PLAN_FILE)
        refuse_foreign(RunDirectory(self.path))
        for run in plan.runs:
            if self.run(run.name).resolved.exists():
                self.run(run.name).check_same(run.config, may_move=True)

    def claim(self, plan: SweepPlan) -> None:
        """Writes what belongs to the plan; call it while holding the lock of the directory.

        Raises:
            RunError: see `check`; or nothing can be written.
        """
        self.check(plan)
        rows = [{"name": run.name} | dict(run.labels) for run in plan.runs]
        former = self._former({run.name for run in plan.runs})
        for run in plan.runs:
            _replace_if_other(self.run_file(run.name), to_toml(run.config))
        _replace_if_other(self.path / "sweep.toml", plan.text)
        write_table(self.plan, pd.DataFrame([*rows, *former]).fillna(""))

    def _former(self, names: Container[str]) -> list[dict[str, str]]:
        """Rows of runs that have begun, and are none of those that are asked for now."""
        try:
            return [row for row in self.rows() if row["name"] not in names and self.run(row["name"]).is_run]
        except RunError:
            _log.warning("%s was damaged: runs that the sweep file no longer asks for are not listed now", self.plan)
            return []

    def rows(self) -> list[dict[str, str]]:
        """Name and labels of every run; none where there is no sweep.

        Raises:
            RunError: `sweep.csv` is damaged.
        """
        if not self.plan.exists():
            return []
        try:
            table = pd.read_csv(self.plan, dtype=str, keep_default_na=False)
        except (ValueError, UnicodeDecodeError) as error:
            raise RunError(f"{self.plan} is damaged ({error}): repeat the `dse sweep` command") from None
        if "name" not in table or table["name"].duplicated().any() or not table["name"].map(_is_run_name).all():
            raise RunError(
                f"{self.plan} is damaged: expected a column `name` with different directories beside it: repeat the "
                "`dse sweep` command"
            )
        return table.to_dict("records")

    def config(self, name: str) -> RunConfig | None:
        """What a run does; `None` where that is not written yet.

        Raises:
            ConfigError: the file is damaged.
        """
        for path in (self.run(name).resolved, self.run_file(name)):
            if path.exists():
                return load_config(path)
        return None

    def is_done(self, name: str) -> bool:
        """Whether there is nothing left to do for a run.

        One that is finished, but whose weights, data or library are looked for elsewhere now, is done once more by the
        ordinary command: that compares their hashes and measures nothing.
        """
        run = self.run(name)
        if not (run.is_finished and run.resolved.exists() and self.run_file(name).exists()):
            return run.is_finished
        return run.is_made_from(load_config(self.run_file(name)))

    def read_outcome(self, name: str) -> Outcome | None:
        """How the last attempt at a run ended; `None` where that is unknown."""
        try:
            return Outcome(**json.loads(self._outcome(name).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write_outcome(self, name: str, outcome: Outcome | None) -> None:
        """Keeps how an attempt ended; `None` forgets it, as the next one begins."""
        if outcome is None:
            self._outcome(name).unlink(missing_ok=True)
        else:
            replace_file(self._outcome(name), json.dumps(asdict(outcome)) + "\n")

    def _outcome(self, name: str) -> Path:
        return self.path / "logs" / f"{name}.json"

    def state(self, name: str) -> State:
        """Of a run."""
        state = directory_state(self.run(name))
        outcome = self.read_outcome(name) if state in ("interrupted", "waiting") else None
        return "failed" if outcome is not None and outcome.state == "failed" else state


def _is_run_name(name: str) -> bool:
    """Whether a name of a table is that of a directory beside it, as files can hold anything."""
    return Path(name).name == name and name not in ("", "..", *RESERVED) and "\0" not in name


def directory_state(directory: RunDirectory) -> State:
    """Of a run, as its own directory tells; one that failed looks interrupted."""
    if directory.is_finished:
        return "finished"
    if lock_holder(directory.path) is not None:
        return "running"
    return "interrupted" if directory.is_run else "waiting"


def _replace_if_other(path: Path, text: str) -> None:
    """Leaves a file that says so already, and its time, alone."""
    try:
        if path.read_text(encoding="utf-8") == text:
            return
    except (OSError, UnicodeDecodeError):
        pass
    replace_file(path, text)
