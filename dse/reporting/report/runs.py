"""Several runs beside each other: a table of what they came to, and what half of those that differ in seeds reach."""

import math
from collections.abc import Sequence

import pandas as pd

from dse.reporting.attainment import attainment_data
from dse.reporting.report.numbers import Section, numbers
from dse.reporting.wording import duration, saving_title
from dse.runs.comparability import comparability
from dse.runs.comparison_notes import memory_is_left_out
from dse.runs.results import Run
from dse.runs.run_collection import LOSSES, Collection, collect, figure_names
from dse.runs.run_groups import group_names
from dse.runs.run_status import FoundRun


def comparison_notes(found: Sequence[FoundRun]) -> list[str]:
    """What makes the runs hard to compare, a sentence each."""
    several = len({Run(each.directory).objectives for each in found}) > 1
    hypervolumes = [_TWO_AND_THREE] if several else []
    runs = {each.name: Run(each.directory) for each in found if each.directory.is_finished}
    if len(runs) < 2:
        return hypervolumes
    what = comparability(runs)
    obstacles = [
        f"These fronts are not comparable, each is relative to its own exact network: {text}."
        for text in what.obstacles
    ]
    return obstacles + [f"To bear in mind: {text}." for text in what.notes] + hypervolumes


_TWO_AND_THREE = (
    "Memory is an objective of some runs: the course of their hypervolumes, of three objectives, cannot be compared "
    "with that of the others, of two."
)


def comparison(found: Sequence[FoundRun]) -> Section:
    """A table with a row a run, and attainment surfaces where several runs differ in nothing but seeds."""
    finished = [each for each in found if each.directory.is_finished and _has_exact(each)]
    collected = collect(finished) if finished else None
    figures = {} if collected is None else {row["run"]: row for row in collected.runs.to_dict("records")}
    with_memory = collected is not None and collected.has_memory
    names = figure_names(LOSSES, with_memory=with_memory)
    titles = ["hypervolume", *(saving_title(name, with_memory=with_memory) for name in names[1:])]
    columns = ["run", "state", *titles, "evaluations", "time"]
    left_out = [] if collected is None else [f"Mind: {note}." for note in memory_is_left_out(collected)]
    return {
        "caption": " ".join([_caption(with_memory=with_memory), *left_out]),
        "columns": [{"title": title, "is_text": title in ("run", "state")} for title in columns],
        "rows": [_row(each, figures.get(each.name), names) for each in found],
        "attainment": [] if collected is None else _attainment(collected),
    }


def _caption(*, with_memory: bool) -> str:
    what, bound = ("volume", "110 % energy, 110 % memory") if with_memory else ("area", "110 % energy")
    whose = "energy, or memory," if with_memory else "energy"
    return (
        f"Hypervolume: {what} between a front, on the report images, and the point of {bound} and no right answer; one "
        f"reference point for all runs, higher is better. Saved: most {whose} saved by a point that loses at most so "
        "many percentage points. Evaluations: in designs measured on all search images."
    )


def _has_exact(found: FoundRun) -> bool:
    front = Run(found.directory).front
    return bool((front["is_exact"] & (front["state"] == "ok")).any())


def _row(found: FoundRun, figures: dict | None, names: Sequence[str]) -> list[str]:
    """Texts; a dash where a run has no front yet."""
    row = [found.name, found.state]
    if figures is None:
        return row + ["–"] * (len(names) + 2)
    savings = [f"{figures[name]:.1f}" for name in names[1:]]
    time_s = figures["time_s"]
    spent = "–" if math.isnan(figures["evaluations"]) else f"{figures['evaluations']:,.0f}"
    return [*row, f"{figures['hypervolume']:.4f}", *savings, spent, "–" if pd.isna(time_s) else duration(time_s)]


def _attainment(collected: Collection) -> list[Section]:
    data = attainment_data(collected, title="")
    if all(group.n_runs < 2 for group in data.groups):
        return []
    names = dict.fromkeys(group_names(collected.runs, collected.groups))  # in the order of the groups
    return [
        {
            "label": name,
            "n_runs": group.n_runs,
            "corners": [[numbers(corner, 4) for corner in corners] for corners in group.corners],
        }
        for name, group in zip(names, data.groups, strict=True)
    ]
