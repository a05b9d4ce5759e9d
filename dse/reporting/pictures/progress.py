"""Hypervolume over what a search has spent: one line a run, or the median and the quartiles of repetitions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dse.reporting.pictures.canvas import LONG_LABEL, add_grid, new_axes, written_name
from dse.reporting.pictures.style import looks
from dse.reporting.run_data import ProgressData

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Spent = Literal["evaluations", "images", "time"]
"""What a search spends: different designs, images simulated for them, or seconds."""

_FIELDS = {"evaluations": "n_evaluations", "images": "n_images", "time": "time_s"}
_LABELS = {
    "evaluations": "evaluations (different designs)",
    "images": "simulated images",
    "time": "time of the search (s)",
}


FEW_MARKS = 8
"""Steps that are all marked; of more only some are."""


@dataclass(frozen=True, eq=False)
class ProgressGroup:
    """Runs that repeat one experiment, on a common scale.

    Attributes:
        label: of the group.
        n_runs: in it.
        spent: float64 [n], rising; from where all runs have ended a generation.
        median: of the hypervolumes, float64 [n]; a run keeps its last one when it has ended.
        low, high: their quartiles, float64 [n].
    """

    label: str
    n_runs: int
    spent: NDArray[np.float64]
    median: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ProgressPicture:
    """What a picture of progress shows."""

    title: str
    spent_on: Spent
    groups: tuple[ProgressGroup, ...]


def progress_group(label: str, runs: Sequence[ProgressData], spent_on: Spent = "evaluations") -> ProgressGroup:
    """Of the runs that have ended a generation; without points where none has."""
    runs = [run for run in runs if len(run.hypervolume)]
    if not runs:
        nothing = np.empty(0)
        return ProgressGroup(label, 0, nothing, nothing, nothing, nothing)
    scales = [np.asarray(getattr(run, _FIELDS[spent_on]), dtype=np.float64) for run in runs]
    spent = np.unique(np.concatenate(scales))
    spent = spent[spent >= max(scale[0] for scale in scales)]
    rows = [
        run.hypervolume[np.searchsorted(scale, spent, side="right") - 1]
        for run, scale in zip(runs, scales, strict=True)
    ]
    low, median, high = np.quantile(rows, (0.25, 0.5, 0.75), axis=0)
    return ProgressGroup(label, len(runs), spent, median, low, high)


def progress(data: ProgressPicture, ax: "Axes | None" = None) -> "Axes":
    """Draws a step line a group, of which a generation is a step; repetitions shade the area between their quartiles.

    Args:
        data: what to draw.
        ax: where; a new figure where absent.

    Returns:
        The axes, whose figure can be saved.
    """
    ax = ax or new_axes()
    for group, look in zip(data.groups, looks(len(data.groups)), strict=True):
        ax.plot(
            group.spent, group.median, color=look.color, linestyle=look.dash, marker=look.marker, markersize=3.5,
            markevery=None if len(group.spent) <= FEW_MARKS else 0.12, linewidth=1.2, drawstyle="steps-post",
            label=_label(group),
        )  # fmt: skip
        if group.n_runs > 1:
            ax.fill_between(group.spent, group.low, group.high, step="post", color=look.color, alpha=0.18, linewidth=0)
    ax.set_xlabel(_LABELS[data.spent_on])
    ax.set_ylabel("hypervolume (search images)")
    several = any(group.n_runs > 1 for group in data.groups)
    ax.set_title(f"{data.title}{_MEDIAN if several else ''}", fontsize="medium")
    add_grid(ax)
    if len(data.groups) > 1 or several:
        ax.legend(loc="best", fontsize="small", framealpha=0.9)
    return ax


_MEDIAN = "\nmedian over runs; shaded: quartiles"


def _label(group: ProgressGroup) -> str:
    label = written_name(group.label, LONG_LABEL)
    return label if group.n_runs == 1 else f"{label} ({group.n_runs} runs)"


def progress_table(data: ProgressPicture) -> pd.DataFrame:
    """One row a group and step: group, n_runs, the spent quantity, hypervolume and its quartiles."""
    parts = [
        pd.DataFrame(
            {
                "group": group.label,
                "n_runs": group.n_runs,
                _FIELDS[data.spent_on]: group.spent,
                "hypervolume": group.median,
                "hypervolume_q25": group.low,
                "hypervolume_q75": group.high,
            }
        )
        for group in data.groups
    ]
    return pd.concat(parts, ignore_index=True)
