"""Designs of a run as a report shows them: its front, or its front so far, and what was made from it."""

import csv
import io
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dse.errors import RunError
from dse.reporting.report.numbers import Section, missing, number, thinned
from dse.reporting.report.series import Choices, other_series, series_of
from dse.runs.front import SEPARATOR, wilson_interval
from dse.runs.results import Run

MOST_OTHERS = 2500
"""Marks of designs that are not on the front; more lie on one another, and make the page slow."""

NO_SERIES: Section = {
    "kind": "front", "noun": "point", "label": "front", "images": "", "names": [], "saved": [], "lost": [], "low": [],
    "high": [], "accuracy": [], "exact": [], "codes": [], "rows": [], "more": {}, "memory": None,
}  # fmt: skip


@dataclass(frozen=True)
class Designs:
    """What a report knows of the designs of a run; see the module.

    Attributes:
        series: the front, then operating points and fine-tuned ones, then the other designs.
        layers: names, n_multiplications, the choices that codes stand for, and whether these are multipliers alone,
            without sparsity levels or shares of neurons.
        table: columns and rows of the front as text, `assignment` as codes.
        missing: why there is no front; empty where there is one.
        notes: what could not be read.
        exact_accuracy: of the exact network, on the images of the front; NaN where unknown.
        has_memory: memory is an objective.
    """

    series: list[Section]
    layers: Section
    table: Section
    missing: str = ""
    notes: tuple[str, ...] = ()
    exact_accuracy: float = float("nan")
    has_memory: bool = False

    @staticmethod
    def none(why: str) -> "Designs":
        """Where nothing is known yet."""
        return Designs([NO_SERIES], missing(why), missing(why), why)


def designs_of(run: Run, *, with_others: bool) -> Designs:
    """Of a run that has begun, finished or not.

    Args:
        run: which one.
        with_others: also what was measured on all search images and is not on the front.

    Raises:
        RunError: one of its files is damaged.
    """
    choices = Choices(run)
    front, table, text = _report_front(run) if run.is_finished else _search_front(run)
    codes = choices.encode(table["assignment"].tolist())
    others, notes = other_series(run, choices)
    exact = front[front["is_exact"]] if len(front) else front
    why = "" if len(exact) else _why_no_front(run)
    series = [NO_SERIES] if why else [_front_series(run, front, codes)]
    if with_others and not why:
        others += _other_designs(run, choices, table, table.loc[exact.index[0], "assignment"])
    layers = run.layers
    return Designs(
        series=series + others,
        layers={
            "names": layers["name"].tolist(), "n_multiplications": layers["n_multiplications"].tolist(),
            "choices": [list(pair) for pair in choices.codes],
            "are_multipliers": run.sparsity is None and not run.config.search.neuron_shares,
        },
        table=missing(why) if why else {"columns": text[0], "rows": _with_codes(text, codes)},
        missing=why,
        notes=tuple(notes),
        exact_accuracy=float("nan") if why else float(exact["accuracy"].iloc[0]),
        has_memory=not why and "memory" in run.objectives and "memory_rel" in front,
    )  # fmt: skip


def _why_no_front(run: Run) -> str:
    if run.is_finished:
        return "The exact network failed on the report images, so there is nothing to compare the front with."
    return "The exact network is not measured on all search images yet, so there is nothing to compare designs with."


def _report_front(run: Run) -> tuple[pd.DataFrame, pd.DataFrame, list[list[str]]]:
    """Points that were measured, with their rows in the file; all of the file; the file as text."""
    table = run.front.reset_index(drop=True)
    try:
        text = list(csv.reader(io.StringIO(run.directory.front.read_text(encoding="utf-8"), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"{run.directory.front} is damaged ({error}): restore it from a copy") from None
    return table[table["state"] == "ok"], table, text


def _search_front(run: Run) -> tuple[pd.DataFrame, pd.DataFrame, list[list[str]]]:
    """The same of an unfinished run, as far as it is: accuracies are those of the search images."""
    evaluations = run.evaluations
    searched = evaluations[(evaluations["split"] == "search") & ~evaluations["is_dominated"]]
    figures = [name for name in ("energy_rel", "accuracy", "memory_rel") if name in searched]
    found = searched.sort_values("energy_rel", kind="stable").drop_duplicates(figures)
    exact = run.manifest.multipliers[run.manifest.exact_index]["name"]
    all_exact = SEPARATOR.join([exact] * len(run.manifest.layers))
    if all_exact not in set(found["assignment"]):  # it is dominated where a design is better by chance
        found = pd.concat([found, _measured(evaluations, all_exact)])
    found = found.reset_index(drop=True)
    low, high = wilson_interval(found["accuracy"], max(1, run.manifest.n_images.get("search", 1)))
    columns = {
        "point": np.arange(len(found)), "energy_rel": found["energy_rel"],
        "energy_saved_pct": found["energy_saved_pct"],
        "accuracy_search": found["accuracy"], "accuracy_low": low, "accuracy_high": high,
        "n_images_search": run.manifest.n_images.get("search", 0), "is_exact": found["assignment"] == all_exact,
        "assignment": found["assignment"],
    }  # fmt: skip
    table = pd.DataFrame(columns | ({"memory_rel": found["memory_rel"]} if "memory_rel" in found else {}))
    text = list(csv.reader(io.StringIO(table.to_csv(index=False, lineterminator="\n"), newline="")))
    return table.rename(columns={"accuracy_search": "accuracy"}), table, text


def _measured(evaluations: pd.DataFrame, assignment: str) -> pd.DataFrame:
    return evaluations[_is_searched(evaluations) & (evaluations["assignment"] == assignment)]


def _is_searched(evaluations: pd.DataFrame) -> pd.Series:
    """Measured on all search images."""
    return (evaluations["split"] == "search") & (evaluations["state"] == "ok")


def _with_codes(text: list[list[str]], codes: list[list[int]]) -> list[list[str | list[int]]]:
    """Rows of a file whose assignments, which are long, are codes."""
    at = text[0].index("assignment")
    return [[*row[:at], codes[k], *row[at + 1 :]] for k, row in enumerate(text[1:])]


def _front_series(run: Run, front: pd.DataFrame, codes: list[list[int]]) -> Section:
    exact_accuracy = front.loc[front["is_exact"], "accuracy"].iloc[0]
    split = "report" if run.is_finished else "search"
    images = f"{run.manifest.n_images.get(split, 0):,} {split} images"
    label = f"front, {images}, 95 % interval" if run.is_finished else f"front so far, {images}, 95 % interval"
    return series_of(front, exact_accuracy, codes=[codes[row] for row in front.index]) | {
        "kind": "front", "noun": "point", "label": label, "images": images,
        "names": front["point"].astype(str).tolist(), "rows": front.index.tolist(), "more": _more_columns(front),
        "exact": np.flatnonzero(front["is_exact"]).tolist(),
    }  # fmt: skip


_MORE = {
    "accuracy_search": ("accuracy, search images (%)", 100.0, 2),
    "energy_pj": ("energy (µJ)", 1e-6, 3),
    "memory_bytes": ("weights (KiB)", 1 / 1024, 1),
    "n_tiles": ("tiles", 1.0, 0),
    "throughput_per_s": ("throughput (images/s)", 1.0, 1),
}
"""Columns that the table shows where they are there: title, factor, digits."""


def _more_columns(front: pd.DataFrame) -> Section:
    return {
        name: {"title": title, "digits": digits, "values": [number(v, digits + 3) for v in factor * front[name]]}
        for name, (title, factor, digits) in _MORE.items()
        if name in front and front[name].notna().any()
    }


def _other_designs(run: Run, choices: Choices, front: pd.DataFrame, exact: str) -> list[Section]:
    """Those of the search that are not on the front, in the order in which they were measured.

    Losses are relative to the exact network on the same images.
    """
    evaluations = run.evaluations[run.evaluations["split"] == "search"].reset_index(drop=True)
    measured = _measured(evaluations, exact)
    others = evaluations[(evaluations["state"] == "ok") & ~evaluations["assignment"].isin(front["assignment"])]
    if measured.empty or others.empty:
        return []
    exact_accuracy = float(measured["accuracy"].iloc[0])
    lost = 100 * (exact_accuracy - others["accuracy"].to_numpy(np.float64))
    shown = others.iloc[thinned(others["energy_saved_pct"].to_numpy(np.float64), lost, MOST_OTHERS)]
    images = f"{run.manifest.n_images.get('search', 0):,} search images"
    return [
        series_of(shown, exact_accuracy, codes=choices.encode(shown["assignment"].tolist())) | {
            "kind": "other", "noun": "evaluation", "label": f"other designs ({len(others):,}), {images}",
            "images": images, "names": [str(1 + row) for row in shown.index],
        }
    ]  # fmt: skip
