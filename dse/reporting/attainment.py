"""Attainment surfaces in a picture: what half of the runs of each experiment reach, and between which quartiles."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dse.reporting.pictures.canvas import (
    LONG_LABEL,
    add_grid,
    name_loss_axes,
    new_axes,
    png_bytes,
    staircase,
    written_name,
)
from dse.reporting.pictures.style import MOST_LOST_POINTS, looks
from dse.runs.run_collection import SHARES, Collection
from dse.runs.run_groups import group_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class SurfaceData:
    """One group of runs.

    Attributes:
        label: of the group.
        n_runs: in it.
        n_attained: of them, by which each surface is attained; rising.
        corners: of each surface, float64 [n, 2]: energy saved in percent (falling), points of accuracy lost (falling).
    """

    label: str
    n_runs: int
    n_attained: tuple[int, ...]
    corners: tuple[NDArray[np.float64], ...]


@dataclass(frozen=True, eq=False)
class AttainmentData:
    """What a picture of attainment surfaces shows."""

    title: str
    groups: tuple[SurfaceData, ...]


def attainment_data(found: Collection, *, title: str) -> AttainmentData:
    """Of a collection."""
    table, groups = found.attainment, []
    keys = list(found.groups)
    parts = [table] if not keys else [rows for _, rows in table.groupby(keys, sort=False)]
    for name, rows in zip(dict.fromkeys(group_names(found.runs, keys)), parts, strict=True):
        of_share = [rows[rows["share"] == share] for share in SHARES]
        groups.append(
            SurfaceData(
                label=name,
                n_runs=int(rows["n_runs"].iloc[0]),
                n_attained=tuple(int(each["n_attained"].iloc[0]) for each in of_share),
                corners=tuple(each[["energy_saved_pct", "accuracy_lost_points"]].to_numpy() for each in of_share),
            )
        )
    return AttainmentData(title, tuple(groups))


def attainment(data: AttainmentData, ax: "Axes | None" = None) -> "Axes":
    """Draws the median surface of each group, and the area between its quartiles.

    Axes are those of `dse.reporting.pictures.front`.

    Args:
        data: what to draw.
        ax: where; a new figure of 7 x 4.5 inches where absent.

    Returns:
        The axes, whose figure can be saved.
    """
    ax = ax or new_axes()
    losses = np.concatenate([corners[:, 1] for group in data.groups for corners in group.corners])
    bottom = 1.05 * max(1.0, float(losses.max(initial=0.0)))
    end = min(bottom, MOST_LOST_POINTS)
    for group, look in zip(data.groups, looks(len(data.groups)), strict=True):
        best, median, worst = (staircase(corners, bottom) for corners in group.corners)
        area = np.vstack([best, worst[::-1]])
        ax.fill(area[:, 0], area[:, 1], color=look.color, alpha=0.15, linewidth=0)
        ax.plot(median[:, 0], median[:, 1], color=look.color, linestyle=look.dash, linewidth=1.5, label=_legend(group))
    ax.axhline(0, color="0.4", linewidth=0.8, linestyle=":")
    ax.set_ylim(float(losses.min(initial=0.0)) - 0.05 * end, end)
    ax.set_xlim(left=0)
    name_loss_axes(ax)
    ax.set_title(f"{data.title}\nwhat half of the runs reach; shaded: quartiles", fontsize="medium")
    add_grid(ax)
    ax.legend(loc="best", fontsize="small", framealpha=0.9)
    return ax


def attainment_png(data: AttainmentData) -> bytes:
    """The picture of attainment surfaces as the bytes of a PNG file."""
    return png_bytes(attainment(data).figure)


def _legend(group: SurfaceData) -> str:
    return f"{written_name(group.label, LONG_LABEL)} ({group.n_runs} {'run' if group.n_runs == 1 else 'runs'})"
