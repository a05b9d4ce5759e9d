"""Runs that lie anywhere, under names that tell them apart, and groups of those that differ in seeds only."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath

import pandas as pd

from dse.config import LOCATIONS, RunConfig
from dse.errors import DseError, RunError
from dse.runs.results import Run
from dse.runs.run_status import FoundRun, find_runs
from dse.runs.sweep_plan import label_of

_IDENTITIES: Mapping[str, tuple[str, ...]] = {
    "network.weights": ("network",),
    "data.dir": ("calibration images", "search images", "report images"),
    "library.path": ("library",),
}
"""Hashes that say what lies at a location."""


def runs_at(paths: Sequence[str | Path]) -> list[FoundRun]:
    """Every run at some paths, each of a run, of a sweep, or of a folder that holds runs.

    Args:
        paths: at least one; what lies at several of them is taken once.

    Returns:
        Runs, begun or not, in the order of the paths. Their names differ: paths from where all of them lie.

    Raises:
        RunError: a path holds no run.
    """
    if not paths:
        raise RunError("no runs are given: name at least one run directory, or a folder that holds runs")
    found = [run for path in paths for run in find_runs(Path(path))]
    if len(paths) == 1:
        return found
    unique = {run.directory.path.resolve(): run for run in found}
    root = os.path.commonpath([path.parent for path in unique])
    return [FoundRun(str(path.relative_to(root)), run.labels, run.directory, run.sweep) for path, run in unique.items()]


def finished_runs_at(paths: Sequence[str | Path]) -> tuple[list[FoundRun], list[FoundRun]]:
    """The finished ones, and the others; see `runs_at`.

    Raises:
        RunError: none is finished.
    """
    found = runs_at(paths)
    finished = [run for run in found if run.directory.is_finished]
    if not finished:
        states = ", ".join(f"{run.name} is {run.state}" for run in found[:5])
        more = f", and {len(found) - 5} more" if len(found) > 5 else ""
        raise RunError(
            f"no run is finished: {states}{more}. Repeat the command that made it to continue it; "
            "`dse status` shows how far it is"
        )
    return finished, [run for run in found if run not in finished]


def axes_of(found: Sequence[FoundRun]) -> list[Mapping[str, str]]:
    """In what runs differ, a mapping a run: by the axes of their sweep, or by the keys of their configurations.

    Weights, data and library that lie elsewhere, but are the same by their hashes, are no difference.
    """
    sweeps = {run.sweep.path if run.sweep is not None else None for run in found}
    if len(sweeps) == 1 and None not in sweeps:
        return [run.labels for run in found]
    return _differing([Run(run.directory) for run in found])


def _differing(runs: Sequence[Run]) -> list[Mapping[str, str]]:
    flat = [_flat(run.config) for run in runs]
    keys = [key for key in flat[0] if len({repr(values[key]) for values in flat}) > 1] if flat else []
    keys = [key for key in keys if key not in LOCATIONS or not _are_same(runs, _IDENTITIES[key])]
    return [{key: label_of(values[key]) for key in keys} for values in flat]


def _flat(config: RunConfig) -> dict[str, object]:
    tables = config.model_dump(mode="json", exclude={"execution"})
    return {f"{table}.{key}": value for table, values in tables.items() for key, value in values.items()}


def _are_same(runs: Iterable[Run], identities: Sequence[str]) -> bool:
    try:
        found = [run.manifest.hashes for run in runs]
    except DseError:
        return False  # not begun, or damaged: nobody knows
    return all(len({hashes.get(name) for hashes in found}) == 1 for name in identities)


def is_seed(axis: str) -> bool:
    """Whether runs that differ in this axis repeat each other.

    >>> is_seed("search.seed"), is_seed("seed"), is_seed("search.method")
    (True, True, False)
    """
    return axis.rpartition(".")[2] == "seed"


def names_of_groups(found: Sequence[FoundRun]) -> list[str]:
    """What people may call the group of each run, see `group_names`; they need not be finished, but begun."""
    labels = axes_of(found)
    axes = [axis for axis in dict.fromkeys(axis for each in labels for axis in each) if not is_seed(axis)]
    rows = [
        {"run": run.name} | {axis: each.get(axis, "") for axis in axes} for run, each in zip(found, labels, strict=True)
    ]
    return group_names(pd.DataFrame(rows), axes).tolist()


def group_names(runs: pd.DataFrame, groups: Sequence[str]) -> pd.Series:
    """What people may call each run's group.

    The folder that holds the runs of the group and no others; a run that is alone, by its name. Where that does not
    tell the groups apart: by the values in which they differ.

    Args:
        runs: one row a run, with `run` (its name) and `groups`.
        groups: columns that tell groups apart.

    Returns:
        One name a row.
    """
    keys = runs[list(groups)].astype(str).agg("\n".join, axis=1) if groups else pd.Series("", index=runs.index)
    members = {key: list(runs.loc[keys == key, "run"]) for key in dict.fromkeys(keys)}
    names = {key: _common_folder(found) for key, found in members.items()}
    if not all(names.values()) or len(set(names.values())) < len(names):
        names = {key: _values(runs[keys == key].iloc[0], groups) for key in members}
    return keys.map(names)


def _common_folder(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    return os.path.commonpath([PurePath(name).parent for name in names]).strip(".")


def _values(row: pd.Series, groups: Sequence[str]) -> str:
    """Words stand for themselves; numbers, truths and nothing need the key's last name.

    >>> _values(pd.Series({"search.method": "nsga2", "search.racing": "true"}), ("search.method", "search.racing"))
    'nsga2, racing=true'
    """
    texts = []
    for axis in groups:
        value = str(row[axis])
        is_word = value[:1].isalpha() and value not in ("true", "false", "none")
        texts.append(value if is_word else f"{axis.rpartition('.')[2]}={value}")
    return ", ".join(texts) or "all runs"
