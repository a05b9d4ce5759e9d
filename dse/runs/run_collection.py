"""Many finished runs as one table, and what they say together: statistics over seeds.

Runs that differ in nothing but seeds are repetitions of one experiment: a group. Of each figure a group has the median
and the quartiles, whose distance is the interquartile range. Its attainment surfaces bound what a quarter, half and
three quarters of its runs reach (see `dse.pareto.attainment_surface`).

All accuracies are those of the report images, and losses are relative to the exact network on the same images. Where
the memory of the weights is an objective of all runs, the hypervolume is of three objectives, and of memory is told too
how much a point saves that loses no more. Where it is one of some runs only, all are compared in energy and accuracy.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dse.errors import RunError
from dse.objectives import ACCURACY, ENERGY_REL, MEMORY_REL, reference_point
from dse.pareto import attainment_surface, hypervolume
from dse.runs.results import Run
from dse.runs.run_groups import axes_of, is_seed
from dse.runs.run_status import FoundRun, find_runs, searched, simulated, spent
from dse.runs.sparsity import has_memory, sparsity_levels

LOSSES = (0.5, 1.0, 2.0)
"""Percentage points at which savings are compared."""

SHARES = (0.25, 0.5, 0.75)
"""Of the runs of a group, whose attainment surfaces are computed."""


@dataclass(frozen=True, eq=False)
class Collection:
    """What many runs found.

    Attributes:
        axes: columns in which the runs differ, seeds included.
        groups: those of them that tell experiments apart.
        fronts: one row a point of a run: run, the axes, then the columns of `front.csv`, accuracy_lost_points and,
            where layers may be pruned, memory_saved_pct.
        runs: one row a run: run, the axes, hypervolume, saved_at_<loss>_pct (of energy), with memory also
            memory_saved_at_<loss>_pct, evaluations (on all images, as budgets count), n_images (simulated by the
            search), time_s (of the process that ended the search).
        statistics: one row a group: the groups' columns, n_runs, and of every figure of `runs` its median, q25 and q75.
        attainment: one row a corner: the groups' columns, share, n_attained (of n_runs), energy_saved_pct,
            accuracy_lost_points.
        n_unfinished: runs that are left out, as they have no front yet.
        n_with_memory: runs of which memory is an objective.
    """

    axes: tuple[str, ...]
    groups: tuple[str, ...]
    fronts: pd.DataFrame
    runs: pd.DataFrame
    statistics: pd.DataFrame
    attainment: pd.DataFrame
    n_unfinished: int
    n_with_memory: int = 0

    @property
    def has_memory(self) -> bool:
        """Whether memory is an objective of all runs, so that hypervolume and savings know it."""
        return self.n_with_memory == len(self.runs)

    def __repr__(self) -> str:
        return f"Collection({len(self.runs)} runs, {len(self.fronts)} points)"

    def _repr_html_(self) -> str:
        from dse.runs.notebook import collection_html

        return collection_html(self)


def collect_runs(path: Path) -> Collection:
    """Collects every finished run of a sweep, or below any folder.

    Raises:
        RunError: there is none, or one cannot be read.
    """
    found = find_runs(path)
    finished = [run for run in found if run.directory.is_finished]
    if not finished:
        raise RunError(f"none of the {len(found)} runs in {path} is finished: see `dse status {path}`")
    return collect(finished, n_unfinished=len(found) - len(finished))


def collect(finished: Sequence[FoundRun], *, n_unfinished: int = 0, losses: Sequence[float] = LOSSES) -> Collection:
    """Collects finished runs, wherever they lie; there is at least one, and their names differ.

    Args:
        finished: see `dse.runs.run_groups.finished_runs_at`.
        n_unfinished: others, for the record.
        losses: percentage points at which savings are compared.

    Raises:
        RunError: one cannot be read.
    """
    labels = axes_of(finished)
    axes = tuple(dict.fromkeys(axis for each in labels for axis in each))
    groups = tuple(axis for axis in axes if not is_seed(axis))
    opened = [Run(each.directory) for each in finished]
    n_with_memory = sum(has_memory(run.config) for run in opened)
    with_memory = n_with_memory == len(opened)
    fronts, rows = [], []
    for each, run, label in zip(finished, opened, labels, strict=True):
        known = {"run": each.name} | {axis: label.get(axis, "") for axis in axes}
        front = front_with_losses(run)
        fronts.append(front.assign(**known)[[*known, *front.columns]])
        rows.append(known | _figures(run, front, losses, with_memory=with_memory))
    table, runs = pd.concat(fronts, ignore_index=True), pd.DataFrame(rows)
    return Collection(
        axes=axes, groups=groups, fronts=table, runs=runs, statistics=statistics(runs, axes, groups),
        attainment=attainment(table, groups), n_unfinished=n_unfinished,
        n_with_memory=n_with_memory,
    )  # fmt: skip


def front_with_losses(run: Run) -> pd.DataFrame:
    """The points of a front that could be measured, with accuracy_lost_points, relative to the exact network.

    Where layers may be pruned also with memory_saved_pct, relative to int8 without pruning.

    Raises:
        RunError: the exact network was not measured on the report images, or memory is missing.
    """
    front = run.front[run.front["state"] == "ok"]
    if sparsity_levels(run.config) and "memory_rel" not in front:
        raise RunError(f"{run.directory.front} is damaged (without a column 'memory_rel'): restore it from a copy")
    if not front["is_exact"].any():
        raise RunError(f"{run.path}: the exact network failed on the report images, there is nothing to compare with")
    exact = front.loc[front["is_exact"], "accuracy"].iloc[0]
    saved = {"memory_saved_pct": 100 * (1 - front["memory_rel"])} if "memory_rel" in front else {}
    return front.assign(accuracy_lost_points=100 * (exact - front["accuracy"]), **saved).reset_index(drop=True)


def figure_names(losses: Sequence[float], *, with_memory: bool) -> tuple[str, ...]:
    """Columns of a collection's `runs` in which larger is better.

    >>> figure_names((1, 2.5), with_memory=True)
    ('hypervolume', 'saved_at_1_pct', 'saved_at_2.5_pct', 'memory_saved_at_1_pct', 'memory_saved_at_2.5_pct')
    """
    savings = [f"saved_at_{loss:g}_pct" for loss in losses]
    return ("hypervolume", *savings, *(f"memory_{name}" for name in savings if with_memory))


def saved_at(front: pd.DataFrame, loss_points: float, *, column: str = "energy_saved_pct") -> float:
    """Most saved, in percent, by a point that loses no more; the exact network is one.

    Args:
        front: see `front_with_losses`.
        loss_points: percentage points.
        column: what is saved, `energy_saved_pct` or `memory_saved_pct`.
    """
    within = front["accuracy_lost_points"] <= loss_points + 1e-9
    return float(front.loc[within, column].max())


def _figures(run: Run, front: pd.DataFrame, losses: Sequence[float], *, with_memory: bool) -> dict[str, float]:
    objectives = (ENERGY_REL, ACCURACY, MEMORY_REL) if with_memory else (ENERGY_REL, ACCURACY)
    F = np.column_stack([objective.to_minimize(front[objective.name]) for objective in objectives])
    savings = [saved_at(front, loss) for loss in losses]
    savings += [saved_at(front, loss, column="memory_saved_pct") for loss in losses if with_memory]
    figures = [hypervolume(F, reference_point(len(objectives))), *savings]
    generations, evaluations = run.directory.generations, searched(run.directory)
    return dict(zip(figure_names(losses, with_memory=with_memory), figures, strict=True)) | {
        "evaluations": spent(evaluations),
        "n_images": simulated(evaluations, run.manifest.n_images["search"]),
        "time_s": float(run.generations["time_s"].iloc[-1]) if generations.exists() else math.nan,
    }


def _by_group(table: pd.DataFrame, groups: tuple[str, ...]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    if not groups:
        yield {}, table
        return
    for values, rows in table.groupby(list(groups), sort=False):
        yield dict(zip(groups, values, strict=True)), rows


def statistics(runs: pd.DataFrame, axes: tuple[str, ...], groups: tuple[str, ...]) -> pd.DataFrame:
    """Median and quartiles of every figure of each group; NaN counts as absent."""
    figures = [name for name in runs.columns if name not in ("run", *axes)]
    rows = []
    for known, members in _by_group(runs, groups):
        row = known | {"n_runs": len(members)}
        for figure in figures:
            row[f"{figure}_median"] = members[figure].median()
            row[f"{figure}_q25"], row[f"{figure}_q75"] = members[figure].quantile(0.25), members[figure].quantile(0.75)
        rows.append(row)
    return pd.DataFrame(rows)


def attainment(fronts: pd.DataFrame, groups: tuple[str, ...]) -> pd.DataFrame:
    """Corners of what a quarter, half and three quarters of the runs of each group attain."""
    columns = [*groups, "share", "n_attained", "n_runs", "energy_saved_pct", "accuracy_lost_points"]
    rows = []
    for known, members in _by_group(fronts, groups):
        points = [minimized(front) for _, front in members.groupby("run", sort=False)]
        for share in SHARES:
            k = math.ceil(share * len(points))
            for energy_rel, lost in attainment_surface(points, k):
                rows.append([*known.values(), share, k, len(points), 100 * (1 - energy_rel), lost])
    return pd.DataFrame(rows, columns=columns)


def minimized(front: pd.DataFrame) -> NDArray[np.float64]:
    """Relative energy and points lost, float64 [n, 2]."""
    return front[["energy_rel", "accuracy_lost_points"]].to_numpy(np.float64)
