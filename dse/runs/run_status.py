"""Where many runs stand, as a table, from their files alone: quick, and without loading what they measure."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dse.config import RunConfig, load_config
from dse.errors import DseError, RunError
from dse.objectives import ACCURACY, MEMORY_REL, reference_point
from dse.pareto import hypervolume
from dse.runs.journal import Evaluation, longest, read_journal
from dse.runs.manifest import read_manifest
from dse.runs.recorded_sparsity import RecordedSparsity, recorded_sparsity
from dse.runs.sparsity import has_memory
from dse.runs.store import PLAN_FILE, RunDirectory
from dse.runs.sweep_folder import State, SweepFolder, directory_state


@dataclass(frozen=True)
class FoundRun:
    """A run below some folder.

    Attributes:
        name: its path from there.
        labels: of its sweep's axes, by their names; empty where it belongs to none.
        directory: which need not exist yet.
        sweep: it belongs to.
    """

    name: str
    labels: dict[str, str]
    directory: RunDirectory
    sweep: SweepFolder | None = None

    @property
    def state(self) -> State:
        """What it is doing."""
        return directory_state(self.directory) if self.sweep is None else self.sweep.state(self.directory.path.name)

    @property
    def config(self) -> RunConfig | None:
        """What it does, where that is written already."""
        if self.sweep is not None:
            return self.sweep.config(self.directory.path.name)
        return load_config(self.directory.resolved)


def find_runs(path: Path) -> list[FoundRun]:
    """Every run in a sweep, or below any folder, sorted by name but in a sweep's own order there.

    Raises:
        RunError: there is none.
    """
    path = Path(path)
    if not path.is_dir():
        raise RunError(f"{path} is not a directory: expected one of `dse sweep`, or one that holds runs")
    if RunDirectory(path).resolved.exists():
        return [FoundRun(path.resolve().name, {}, RunDirectory(path))]
    found = list(_below(path))
    if not found:
        raise RunError(f"{path} holds no runs. Make some with `dse sweep SWEEP.toml --out {path}`, or `dse explore`")
    return found


def _below(root: Path) -> Iterator[FoundRun]:
    for folder, names, files in os.walk(root):
        here = Path(folder)
        if PLAN_FILE in files:
            sweep = SweepFolder(here)
            for row in sweep.rows():
                directory = sweep.run(row["name"])
                labels = {key: value for key, value in row.items() if key != "name"}
                yield FoundRun(str(directory.path.relative_to(root)), labels, directory, sweep)
            names.clear()
        elif RunDirectory(here).resolved.exists():
            yield FoundRun(str(here.relative_to(root)), {}, RunDirectory(here))
            names.clear()
        names[:] = sorted(name for name in names if not name.startswith("."))


def status_table(path: Path) -> pd.DataFrame:
    """Where every run stands.

    Args:
        path: of a sweep, of a folder that holds runs, or of a run.

    Returns:
        One row a run: name, the sweep's axes, state (`waiting`, `running`, `interrupted`, `finished` or `failed`),
        evaluations (different designs of the search, on some images at least), evaluations_spent (the same in
        evaluations on all images, as budgets count), evaluations_max (what that may come to; NaN where unknown),
        hypervolume (of what is measured on all search images, in the two or three objectives of the run; NaN before,
        and where the memory of designs is not known), last_activity (ISO 8601, local time) and message (why it failed,
        or cannot be read).

    Raises:
        RunError: there are no runs.
    """
    found = find_runs(path)
    axes = list(dict.fromkeys(axis for run in found for axis in run.labels))
    rows = [
        {"name": run.name} | {axis: run.labels.get(axis, "") for axis in axes} | _standing(run) for run in found
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _standing(run: FoundRun) -> dict[str, Any]:
    state, message = run.state, ""
    config, evaluations = None, []
    try:
        config = run.config
        evaluations = searched(run.directory)
    except DseError as error:
        message = str(error).splitlines()[0]
    if state == "failed" and run.sweep is not None:
        outcome = run.sweep.read_outcome(run.directory.path.name)
        message = outcome.message if outcome is not None else ""
    return {
        "state": state,
        "evaluations": len(evaluations),
        "evaluations_spent": spent(evaluations),
        "evaluations_max": float("nan") if config is None else most_evaluations(config),
        "hypervolume": _hypervolume(run, config, evaluations),
        "last_activity": _last_activity(run.directory),
        "message": message,
    }


def searched(directory: RunDirectory) -> list[Evaluation]:
    """What is known of every design that the search asked for."""
    known = longest(read_journal(directory.journal)).values()
    return [evaluation for evaluation in known if evaluation.split == "search"]


def spent(evaluations: list[Evaluation]) -> float:
    """Images measured, in evaluations on all images; a race measures many designs on a part of them."""
    n_all = max((e.n_images for e in evaluations), default=0)
    return sum(e.n_images for e in evaluations) / n_all if n_all else float(len(evaluations))


def simulated(evaluations: list[Evaluation], n_images: int) -> int:
    """Images simulated for evaluations; those of the first journal format do not tell, and measured all `n_images`."""
    return sum(e.n_images or n_images * (e.state == "ok") for e in evaluations)


def hypervolume_of(evaluations: list[Evaluation], memory: RecordedSparsity | None = None) -> float:
    """Of designs measured on all search images, as progress shows it; NaN without any.

    Args:
        evaluations: of the search.
        memory: says how large weights are, where that is an objective.
    """
    done = [e for e in evaluations if e.state == "ok"]
    if not done:
        return float("nan")
    columns = [[e.energy_rel for e in done], ACCURACY.to_minimize([e.accuracy for e in done])]
    if memory is not None:
        assignments = np.array([e.assignment for e in done], dtype=np.int64)
        columns.append(MEMORY_REL.to_minimize(memory.memory_rel(assignments)))
    return hypervolume(np.column_stack(columns), reference_point(len(columns)))


def _hypervolume(run: FoundRun, config: RunConfig | None, evaluations: list[Evaluation]) -> float:
    """In the objectives of the run; NaN where its manifest does not tell the memory that is one of them."""
    if config is None or not has_memory(config):
        return hypervolume_of(evaluations)
    try:
        memory = recorded_sparsity(read_manifest(run.directory.manifest))
    except DseError:
        memory = None
    return float("nan") if memory is None else hypervolume_of(evaluations, memory)


def most_evaluations(config: RunConfig) -> float:
    """How many evaluations a search may come to; NaN where that depends on the network."""
    search = config.search
    bounds = [search.evaluations] if search.evaluations else []
    if search.method == "nsga2":
        bounds.append(search.population_size * search.generations)
    return float(min(bounds)) if bounds else float("nan")


def _last_activity(directory: RunDirectory) -> str:
    times = [path.stat().st_mtime for path in (directory.journal, directory.front, directory.resolved) if path.exists()]
    return datetime.fromtimestamp(max(times)).isoformat(timespec="seconds") if times else ""
