"""Runs, operating points and fine-tuned points as HTML, for notebooks: what `_repr_html_` of these classes returns."""

import html
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dse.runs.front import SEPARATOR
from dse.sketch import BLUE, GRAY, VERMILION, Axis, Points, scatter_svg, scrollable

if TYPE_CHECKING:
    from dse.runs.finetuned import FinetunedPoints
    from dse.runs.point_set import PointSet
    from dse.runs.results import Run
    from dse.runs.run_collection import Collection

MOST_OTHERS = 400
"""Designs beside the front in a picture, at most: pages stay small."""

MARGIN = 1.25
"""A picture reaches so much deeper than what it is about."""


def run_html(run: "Run") -> str:
    """A run: its front as a picture and as a table; where it is unfinished, what is known so far."""
    config = run.config
    title = f"<p><b>{html.escape(str(run.path))}</b>: {config.network.name}, {config.data.dataset}"
    if not run.is_finished:
        n = len(run.evaluations) if run.directory.manifest.exists() else 0
        return f"{title}</p><p>unfinished, {n} evaluations so far; repeat its <code>explore</code> to continue</p>"
    front = run.front[run.front["state"] == "ok"]
    more = f", {len(run.front)} points, {len(run.evaluations)} evaluations</p>"
    if not front["is_exact"].any():
        return title + more + run.front.to_html(index=False)
    return title + more + _front_svg(run, front) + scrollable(_front_table(front))


def _front_svg(run: "Run", front: pd.DataFrame) -> str:
    is_exact = front["is_exact"].to_numpy(bool)
    saved = front["energy_saved_pct"].to_numpy(np.float64)
    lost = _lost(front["accuracy"], front["accuracy"].to_numpy()[is_exact][0])
    numbers = zip(front["point"][~is_exact], saved[~is_exact], lost[~is_exact], strict=True)
    hints = [f"point {n}: {s:.1f} % saved, {p:.2f} points lost" for n, s, p in numbers]
    groups = [
        _others(run, front.loc[is_exact, "assignment"].iloc[0]),
        Points("front", saved[~is_exact], lost[~is_exact], BLUE, "circle", hints),
        Points("exact network", saved[is_exact], lost[is_exact], VERMILION, "diamond", ["the exact network"]),
    ]
    return _plane([group for group in groups if len(group.x)], saved, lost)


def _others(run: "Run", exact: str) -> Points:
    """The designs beside the front that were measured on all search images, against the exact network there."""
    found = run.evaluations
    found = found[(found["split"] == "search") & (found["state"] == "ok")]
    reference = found.loc[found["assignment"] == exact, "accuracy"]
    others = run.others if len(reference) else found[:0]
    shown = others.iloc[:: max(1, -(-len(others) // MOST_OTHERS))]
    lost = _lost(shown["accuracy"], reference.iloc[0] if len(reference) else 0.0)
    label = f"other designs ({len(others)}), on search images"
    return Points(label, shown["energy_saved_pct"].to_numpy(np.float64), lost, GRAY, "dot")


def _lost(accuracy: pd.Series, exact: float) -> NDArray[np.float64]:
    """Percentage points."""
    return 100 * (exact - accuracy.to_numpy(np.float64))


def _plane(groups: list[Points], saved: NDArray[np.float64], lost: NDArray[np.float64]) -> str:
    """Energy saved to the right, accuracy lost downwards, as in all pictures of fronts."""
    x = Axis("multiplication energy saved (%)", min(0.0, saved.min()), max(10.0, 1.02 * saved.max()))
    y = Axis(
        "accuracy lost (points)", min(-0.2, 1.1 * float(lost.min())), max(0.8, MARGIN * float(lost.max())),
        is_reversed=True,
    )  # fmt: skip
    return scatter_svg(groups, x, y)


def _front_table(front: pd.DataFrame) -> str:
    exact = front.loc[front["is_exact"], "accuracy"].iloc[0]
    ends = zip(front["accuracy_low"], front["accuracy_high"], strict=True)
    table = pd.DataFrame(
        {
            "point": front["point"],
            "energy saved %": front["energy_saved_pct"].map("{:.2f}".format),
            "accuracy %": (100 * front["accuracy"]).map("{:.2f}".format),
            "95 % interval": [f"{100 * low:.2f} to {100 * high:.2f}" for low, high in ends],
            "lost (points)": _lost(front["accuracy"], exact),
            "multipliers (layers)": [_count_names(names) for names in front["assignment"]],
        }
    )
    return table.to_html(index=False, float_format="{:.2f}".format)


def _count_names(assignment: str) -> str:
    """Most used first."""
    return ", ".join(f"{name} ({n})" for name, n in Counter(assignment.split(SEPARATOR)).most_common())


def points_html(points: "PointSet") -> str:
    """Operating points: where they lie, and which multipliers each uses."""
    table = points.table[points.table["accuracy"].notna()]
    names = ", ".join(points.multipliers)
    title = (
        f"<p><b>{html.escape(str(points.path))}</b>: {len(points.table)} operating points of {len(points.multipliers)} "
        f"multipliers ({html.escape(names)}), method {points.method}</p>"
    )
    columns = ["point", "energy_saved_pct", "accuracy", "accuracy_low", "accuracy_high", "n_multipliers", "assignment"]
    shown = points.table[columns].assign(assignment=points.table["assignment"].map(_count_names))
    if table.empty:
        return title + shown.to_html(index=False, float_format="{:.4g}".format)
    saved = table["energy_saved_pct"].to_numpy(np.float64)
    lost = 100 * (table["accuracy_exact"] - table["accuracy"]).to_numpy(np.float64)
    hints = [f"operating point {n}" for n in table["point"]]
    picture = _plane([Points("operating points", saved, lost, BLUE, "circle", hints)], saved, lost)
    return title + picture + shown.to_html(index=False, float_format="{:.4g}".format)


def finetuned_html(points: "FinetunedPoints") -> str:
    """Fine-tuned points: accuracies before and after."""
    table = points.table
    title = f"<p><b>{html.escape(str(points.path))}</b>: {len(table)} fine-tuned points</p>"
    before, after = ((table["accuracy_exact"] - table[name]) * 100 for name in ("accuracy_untuned", "accuracy"))
    saved = table["energy_saved_pct"].to_numpy(np.float64)
    groups = [
        Points("untuned", saved, before.to_numpy(np.float64), VERMILION, "diamond", list(table["name"])),
        Points("fine-tuned", saved, after.to_numpy(np.float64), BLUE, "circle", list(table["name"])),
    ]
    columns = ["name", "energy_saved_pct", "accuracy_untuned", "accuracy", "accuracy_exact", "best_epoch"]
    shown = table[columns].to_html(index=False, float_format="{:.4g}".format)
    return title + _plane(groups, saved, np.concatenate([before, after])) + shown


def collection_html(found: "Collection") -> str:
    """What many runs found: statistics over seeds, and the runs below."""
    left_out = f", {found.n_unfinished} unfinished left out" if found.n_unfinished else ""
    tables = (
        ("statistics over seeds", found.statistics),
        (f"{len(found.runs)} runs{left_out}", found.runs),
    )
    return "".join(
        f"<p><b>{name}</b></p>" + scrollable(table.to_html(index=False, float_format="{:.4g}".format))
        for name, table in tables
    )
