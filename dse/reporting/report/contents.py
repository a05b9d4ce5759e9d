"""What a report shows, as plain data that JSON can hold: no pictures, no HTML.

Where a run lacks what a section needs, the section is `{"missing": sentence}`. Numbers are rounded to what can be seen,
but those of the table, which are the texts of `front.csv`.
"""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np

from dse import __version__
from dse.reporting.data import prediction_data, run_title
from dse.reporting.report.designs import Designs, designs_of
from dse.reporting.report.numbers import Section, missing, number, numbers, thinned
from dse.reporting.report.origin import facts, origin
from dse.reporting.report.runs import comparison, comparison_notes
from dse.reporting.run_data import LibraryData, ProgressData, library_data, progress_data, run_tolerances
from dse.runs.results import Run
from dse.runs.run_groups import names_of_groups
from dse.runs.run_status import FoundRun

MOST_PREDICTIONS, LEAST_PREDICTIONS = 1500, 100
"""Marks of predictions of all runs together, and of each; more lie on one another, and make the page slow."""

NOT_BEGUN = "The run has not begun to search, so there is nothing to show yet."


def report_data(found: Sequence[FoundRun], *, refresh_s: float = 0.0, notes: Sequence[str] = ()) -> Section:
    """Everything that a report of some runs shows.

    Args:
        found: the runs, at least one; their names differ.
        refresh_s: how often the page looks for a newer one; 0: never, as all runs are finished.
        notes: sentences at the top.
    """
    groups = names_of_groups(found)
    numbered = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    runs = [
        _run_data(each, n_runs=len(found)) | {"group": numbered[group], "group_label": group}
        for each, group in zip(found, groups, strict=True)
    ]
    is_single = len(runs) == 1
    return {
        "title": f"{runs[0]['title']}" if is_single else f"{len(runs)} runs: {runs[0]['title']}",
        "written": datetime.now().isoformat(sep=" ", timespec="seconds"),
        "written_s": round(time.time(), 1),
        "dse": __version__,
        "refresh_s": refresh_s,
        "notes": [*notes, *([] if is_single else comparison_notes(found))],
        "runs": runs,
        "comparison": None if is_single else comparison(found),
    }


def _run_data(found: FoundRun, *, n_runs: int) -> Section:
    """Of one run; what several would draw on one another is left out, or less of it."""
    run = Run(found.directory)
    is_begun = run.directory.manifest.exists()
    designs = designs_of(run, with_others=n_runs == 1) if is_begun else Designs.none(NOT_BEGUN)
    progress = progress_data(run)
    is_known = is_begun and not (run.is_finished and designs.missing)
    library = library_data(run) if is_known else None
    return {
        "name": found.name,
        "path": str(run.path),
        "title": run_title(run.config),
        "state": found.state,
        "notes": [*_state_notes(found), *designs.notes],
        "reference_point": list(run.manifest.reference_point) if is_begun else [],
        "facts": facts(run, designs, progress, library) if is_begun else [],
        "front_missing": designs.missing,
        "designs": designs.series,
        "layers": designs.layers,
        "has_memory": designs.has_memory,
        "table": designs.table,
        "progress": _progress(progress),
        "predictions": _predictions(run, max(LEAST_PREDICTIONS, MOST_PREDICTIONS // n_runs)),
        "tolerances": _tolerances(run),
        "library": missing(designs.missing) if library is None else _library(library),
        "made": origin(run, found.state),
    }


def _state_notes(found: FoundRun) -> list[str]:
    """What is not as it should be in the end."""
    told = {
        "running": "goes on: what is shown is what was measured so far",
        "interrupted": "was interrupted: repeat its command, see below, to continue it",
        "failed": "failed: its log says why",
        "waiting": "has not begun yet",
    }
    return [f"{found.name} {told[found.state]}."] if found.state in told else []


def _progress(data: ProgressData) -> Section:
    if len(data.n_evaluations) == 0:
        return missing("No generation of the search has ended yet, so there is no progress to show.")
    return {
        "evaluations": data.n_evaluations.tolist(),
        "images": data.n_images.tolist(),
        "hypervolume": numbers(data.hypervolume, 6),
        "best_energy_rel": numbers(data.best_energy_rel, 5),
        "time_s": numbers(data.time_s, 1),
    }


def _predictions(run: Run, n_most: int) -> Section:
    if not run.directory.predictions.exists():
        why = "the search is not finished" if not run.is_finished else "there was no surrogate, or no whole generation"
        return missing(f"There are no predictions to compare: {why}.")
    data = prediction_data(run)
    shown = thinned(data.predicted_points, data.measured_points, n_most)
    return {
        "n": len(data.measured_points),
        "predicted": numbers(data.predicted_points[shown], 3),
        "std": numbers(data.std_points[shown], 3),
        "measured": numbers(data.measured_points[shown], 3),
        "is_blind": data.is_blind[shown].tolist(),
        "rank_correlation": number(data.rank_correlation, 4),
        "share_within_2_std": number(data.share_within_2_std, 4),
        "images": f"{data.n_images:,} search images",
    }


def _tolerances(run: Run) -> Section:
    if not run.directory.tolerances.exists():
        return missing(
            "No tolerances were learned in this run: they are with search.initial = 'agn' or 'sensitivity'; "
            "`dse tolerances` learns them by themselves."
        )
    data = run_tolerances(run)
    return {
        "layers": list(data.layers),
        "sigma": [float(f"{value:.4g}") for value in data.sigma[0]],
        "is_saturated": data.is_saturated[0].tolist(),
    }


def _library(data: LibraryData) -> Section:
    if np.isnan(data.mae_pct).all():
        return missing(
            "The errors of the multipliers are not known: the run is older than their record in manifest.json, "
            "and its library does not lie where it was."
        )
    return {
        "names": list(data.names),
        "energy_rel": numbers(data.energy_rel, 5),
        "error": [number(value, 8) for value in data.mae_pct],
        "is_used": data.is_used.tolist(),
        "n_uses": data.n_uses.tolist(),
    }


def as_json(data: Section) -> str:
    """Text for a script element: no sign that ends it, or that HTML reads."""
    import json

    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_unknown)
    text = text.encode("utf-8", "replace").decode()  # paths need not be Unicode
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _unknown(value: Any) -> Any:
    raise TypeError(f"a report holds {type(value).__name__}: expected plain data")
