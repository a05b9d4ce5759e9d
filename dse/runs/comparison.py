"""Several runs side by side: figures, tests over seeds, and which one is ahead at which loss.

Everything is measured on the report images, relative to the exact network on the same images. The hypervolume has one
reference point, `dse.objectives.REFERENCE_POINT`: relative energy 1.1 and no image right. Objectives are shares
already, so nothing is normalized by what the runs found.

Where memory is an objective of all runs it is one of the hypervolume, with the reference 1.1, and savings of memory are
figures too. Beside a run without it all are compared in energy and accuracy. Who is ahead is always told of energy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from dse.errors import ConfigError, RunError, unknown_name
from dse.runs import comparison_notes as notes
from dse.runs.comparability import comparability
from dse.runs.results import Run
from dse.runs.run_collection import LOSSES, Collection, collect, figure_names
from dse.runs.run_groups import finished_runs_at, group_names
from dse.runs.seed_tests import effect_name, holm, mann_whitney
from dse.runs.standings import Standing, standing


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a comparison of runs found.

    Attributes:
        runs: one row a run: run, group, the axes in which runs differ, hypervolume, saved_at_<loss>_pct (most energy
            saved by a point that loses no more, percent), memory_saved_at_<loss>_pct (likewise, where memory is an
            objective of all runs), evaluations (on all search images), n_images (simulated by the search), time_s,
            accuracy_exact (on the report images), n_points.
        groups: one row a group of runs that differ in seeds only: group, axes, n_runs, and of every figure of `runs`
            its median, q25 and q75.
        tests: one row a figure and pair of groups of several runs: figure, group_a, group_b, n_a, n_b, median_a,
            median_b, difference (of the medians), p (Mann-Whitney, two-sided), p_holm (corrected for the number of
            pairs), smallest_p (that so few seeds can give, corrected likewise), a12 (probability that a run of a has
            the larger figure), effect (in words).
        ahead: one row a pair and interval of losses: group_a, group_b, loss_from, loss_to, ahead (name; empty where
            both save the same), mean_saved_more_pct (by group_a).
        standings: one row a pair: group_a, group_b, share_a, share_b (parts of the losses up to 10 points at which each
            is ahead), mean_saved_more_pct (by group_a over these losses).
        notes: what to bear in mind, a sentence each.
        losses: percentage points.
        collection: fronts and attainment surfaces of all runs.
    """

    runs: pd.DataFrame
    groups: pd.DataFrame
    tests: pd.DataFrame
    ahead: pd.DataFrame
    standings: pd.DataFrame
    notes: tuple[str, ...]
    losses: tuple[float, ...]
    collection: Collection

    @property
    def figures(self) -> tuple[str, ...]:
        """Columns of `runs` in which larger is better."""
        return figure_names(self.losses, with_memory=self.collection.has_memory)

    def __repr__(self) -> str:
        return f"Comparison({len(self.runs)} runs in {len(self.groups)} groups)"

    def _repr_html_(self) -> str:
        parts = ["<p><b>groups</b></p>", _html(self.groups)]
        if len(self.tests):
            parts += ["<p><b>tests over seeds</b></p>", _html(self.tests)]
        if len(self.standings):
            parts += ["<p><b>which is ahead</b>, at losses up to 10 points</p>", _html(self.standings)]
        return "".join([*parts, *(f"<p>{note}</p>" for note in self.notes)])


def _html(table: pd.DataFrame) -> str:
    return table.to_html(index=False, float_format="{:.4g}".format)


def compare_runs(
    paths: Sequence[str | Path], *, losses: Sequence[float] = LOSSES, baseline: str | None = None
) -> Comparison:
    """Compares the finished runs at some paths, of runs, sweeps, or folders that hold runs.

    Args:
        paths: at least one.
        losses: percentage points at which savings are compared, all different, at least 0.
        baseline: name of the group that all others are compared with; None: each is compared with each. Fewer pairs
            need less correction.

    Raises:
        ConfigError: losses that are not as described, or a baseline that is no group.
        RunError: no run is finished, or their fronts cannot be compared; it says why.
    """
    losses = _checked_losses(losses)
    finished, unfinished = finished_runs_at(paths)
    runs = {each.name: Run(each.directory) for each in finished}
    found = comparability(runs)
    if found.obstacles:
        raise RunError(
            f"these runs cannot be compared: they have {'; and '.join(found.obstacles)}. Give only runs of one network "
            "and the same report images; `dse collect` lists all of them"
        )
    collected = collect(finished, n_unfinished=len(unfinished), losses=losses)
    names = group_names(collected.runs, collected.groups)
    table = _runs_table(collected, names, runs)
    figures = figure_names(losses, with_memory=collected.has_memory)
    surfaces = _median_surfaces(collected, names)
    pairs = _pairs(list(surfaces), baseline)
    standings = {(a, b): standing(surfaces[a], surfaces[b]) for a, b in pairs}
    tests = _tests(table, figures, pairs)
    return Comparison(
        runs=table,
        groups=_groups_table(collected, names),
        tests=tests,
        ahead=_ahead(standings),
        standings=_standings(standings),
        notes=(
            *notes.same_seeds(collected, names),
            *notes.few_seeds(table, tests),
            *found.notes,
            *notes.memory_is_left_out(collected),
            *notes.left_out(unfinished),
            *notes.unlike_budgets(table),
        ),
        losses=losses,
        collection=collected,
    )


def _checked_losses(losses: Sequence[float]) -> tuple[float, ...]:
    values = tuple(float(loss) for loss in losses)
    if not values or len(set(values)) < len(values) or not all(np.isfinite(v) and v >= 0 for v in values):
        raise ConfigError(
            f"losses {list(losses)}: expected different percentage points, 0 or more, as --losses 0.5,1,2"
        )
    return values


def _runs_table(collected: Collection, names: pd.Series, runs: dict[str, Run]) -> pd.DataFrame:
    fronts = collected.fronts.groupby("run", sort=False)
    exact = collected.fronts[collected.fronts["is_exact"]].groupby("run")["accuracy"].first()
    table = collected.runs.assign(
        accuracy_exact=collected.runs["run"].map(exact), n_points=collected.runs["run"].map(fronts.size())
    )
    table.insert(1, "group", names)
    return table


def _groups_table(collected: Collection, names: pd.Series) -> pd.DataFrame:
    """The collection's statistics, whose rows are in the order of the groups' first runs."""
    table = collected.statistics.copy()
    table.insert(0, "group", list(dict.fromkeys(names)))
    return table


def _median_surfaces(collected: Collection, names: pd.Series) -> dict[str, np.ndarray]:
    """Percent saved and points lost of what half of the runs of each group attain, by the group's name."""
    table, keys = collected.attainment, list(collected.groups)
    table = table[table["share"] == 0.5]
    parts = [table] if not keys else [rows for _, rows in table.groupby(keys, sort=False)]
    columns = ["energy_saved_pct", "accuracy_lost_points"]
    return {name: rows[columns].to_numpy() for name, rows in zip(dict.fromkeys(names), parts, strict=True)}


def _pairs(groups: Sequence[str], baseline: str | None) -> list[tuple[str, str]]:
    """Groups to compare, the baseline second."""
    if baseline is None:
        return list(combinations(groups, 2))
    if baseline not in groups:
        raise ConfigError(unknown_name("group", baseline, groups))
    return [(group, baseline) for group in groups if group != baseline]


def _tests(runs: pd.DataFrame, figures: Sequence[str], pairs: Sequence[tuple[str, str]]) -> pd.DataFrame:
    members = {name: rows for name, rows in runs.groupby("group", sort=False) if len(rows) > 1}
    pairs = [(a, b) for a, b in pairs if a in members and b in members]
    rows = []
    for figure in figures:
        found = [mann_whitney(members[a][figure], members[b][figure]) for a, b in pairs]
        for (a, b), test, p_holm in zip(pairs, found, holm([test.p for test in found]), strict=True):
            median_a, median_b = members[a][figure].median(), members[b][figure].median()
            rows.append(
                {
                    "figure": figure, "group_a": a, "group_b": b, "n_a": test.n_a, "n_b": test.n_b,
                    "median_a": median_a, "median_b": median_b, "difference": median_a - median_b, "p": test.p,
                    "p_holm": p_holm, "smallest_p": min(1.0, len(pairs) * test.smallest_p), "a12": test.a12,
                    "effect": effect_name(test.a12),
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=_TESTS)


_TESTS = [
    "figure", "group_a", "group_b", "n_a", "n_b", "median_a", "median_b", "difference", "p", "p_holm", "smallest_p",
    "a12", "effect",
]  # fmt: skip


def _ahead(standings: dict[tuple[str, str], Standing]) -> pd.DataFrame:
    rows = [
        {
            "group_a": a, "group_b": b, "loss_from": each.loss_from, "loss_to": each.loss_to,
            "ahead": {1: a, -1: b, 0: ""}[each.ahead], "mean_saved_more_pct": each.mean_pct,
        }
        for (a, b), found in standings.items() for each in found.intervals
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["group_a", "group_b", "loss_from", "loss_to", "ahead", "mean_saved_more_pct"])


def _standings(standings: dict[tuple[str, str], Standing]) -> pd.DataFrame:
    rows = [
        {"group_a": a, "group_b": b, "share_a": found.first_share, "share_b": found.second_share,
         "mean_saved_more_pct": found.mean_pct}
        for (a, b), found in standings.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["group_a", "group_b", "share_a", "share_b", "mean_saved_more_pct"])
