"""A comparison of runs for people: figures, tests over seeds, who is ahead where, and what the figures mean."""

import json
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from dse.objectives import reference_point
from dse.reporting.terminal.output import Format, print_note, print_table, print_text
from dse.reporting.wording import median_and_quartiles, saving_title
from dse.runs.comparison import Comparison
from dse.runs.run_collection import Collection
from dse.runs.seed_tests import SIGNIFICANT
from dse.runs.standings import MAX_LOSS_POINTS


def print_comparison(found: Comparison, output_format: Format, *, table: str) -> None:
    """Prints a comparison.

    Args:
        found: what to print.
        output_format: `table` is for people, `csv` prints one table, `json` everything.
        table: which one for `csv`: `groups`, `runs`, `tests`, `ahead` or `standings`.
    """
    tables = comparison_tables(found)
    if output_format == "json":
        records = {name: json.loads(each.to_json(orient="records")) for name, each in tables.items()}
        print_text(json.dumps(records | {"notes": list(found.notes)}, indent=2))
        return
    if output_format == "csv":
        print_table(tables[table], "csv")
        return
    _print_groups(found)
    if len(found.tests):
        _print_tests(found)
    if len(found.groups) > 1:
        print_text("\n".join(["", _WHERE, *standings_lines(found)]))
    for note in (*found.notes, *_differences(found), *_meaning(found.collection)):
        print_note(f"- {note}")


def comparison_tables(found: Comparison) -> Mapping[str, pd.DataFrame]:
    """By their names."""
    return {
        "groups": found.groups,
        "runs": found.runs,
        "tests": found.tests,
        "ahead": found.ahead,
        "standings": found.standings,
    }


_WHERE = f"which saves more energy at which loss (0 to {MAX_LOSS_POINTS:g} points)"


def _meaning(found: Collection) -> list[str]:
    """What the figures are."""
    n_images = int(found.fronts["n_images_report"].iloc[0])
    energy, lost, memory = reference_point(3)
    bounds = [f"energy {energy:g} (exact = 1)", f"a share of {lost:g} of the images lost"]
    bounds += [f"memory {memory:g} (int8 without pruning = 1)"] if found.has_memory else []
    lines = [
        f"accuracies are on the {n_images} report images, of which one is {100 / n_images:.2g} points; losses are "
        "relative to the exact network on them",
        f"hypervolume: {'volume' if found.has_memory else 'area'} that a front dominates up to {', '.join(bounds)}, "
        "the same for all runs; evaluations: in designs measured on all search images; time: of the process that "
        "ended the search",
    ]
    different = "savings of energy and of memory at a loss may be those of different points"
    return [*lines, different] if found.has_memory else lines


def _print_groups(found: Comparison) -> None:
    groups = found.groups
    n_runs = len(found.runs)
    has_seeds = (groups["n_runs"] > 1).any()
    columns = {"run" if not has_seeds else "group": groups["group"]}
    if has_seeds:
        columns["runs"] = groups["n_runs"]
    columns["hypervolume"] = median_and_quartiles(groups, "hypervolume", ".4f", has_quartiles=has_seeds)
    for figure in found.figures[1:]:
        title = saving_title(figure, with_memory=found.collection.has_memory)
        columns[title] = median_and_quartiles(groups, figure, ".1f", has_quartiles=has_seeds)
    for title, figure in (("evaluations", "evaluations"), ("images", "n_images"), ("time (s)", "time_s")):
        columns[title] = median_and_quartiles(groups, figure, ".0f", has_quartiles=False)
    what = "median (quartiles)" if has_seeds else "figures"
    print_table(pd.DataFrame(columns), "table", title=f"{what} of {n_runs} {'run' if n_runs == 1 else 'runs'}")


def _print_tests(found: Comparison) -> None:
    tests = found.tests
    digits = [4 if figure == "hypervolume" else 1 for figure in tests["figure"]]
    table = pd.DataFrame(
        {
            "figure": [_figure_name(name) for name in tests["figure"]],
            "A": tests["group_a"],
            "B": tests["group_b"],
            "A - B": [f"{value:+.{n}f}" for value, n in zip(tests["difference"], digits, strict=True)],
            "A better": [f"{100 * value:.0f} %" for value in tests["a12"]],
            "effect": tests["effect"],
            "p": [f"{value:.3f}" for value in tests["p_holm"]],
            "verdict": [verdict(row._asdict()) for row in tests.itertuples(index=False)],
        }
    )
    title = "medians, how often a run of A is better than one of B (A12), Mann-Whitney p after Holm"
    print_table(table, "table", title=title)


def _figure_name(name: str) -> str:
    return name.removesuffix("_pct").replace("_", " ")


def verdict(test: Mapping[str, Any]) -> str:
    """What a test says, in words.

    >>> verdict({"group_a": "new", "group_b": "old", "p_holm": 0.01, "a12": 0.9, "smallest_p": 0.01})
    'new better'
    >>> verdict({"group_a": "new", "group_b": "old", "p_holm": 0.4, "a12": 0.6, "smallest_p": 0.1})
    'too few seeds'
    """
    if math.isnan(test["p_holm"]) or test["smallest_p"] >= SIGNIFICANT:
        return "too few seeds"
    if test["p_holm"] >= SIGNIFICANT:
        return "may be chance"
    return f"{test['group_a'] if test['a12'] > 0.5 else test['group_b']} better"


def standings_lines(found: Comparison) -> list[str]:
    """A line a pair, and one an interval of losses where they take turns."""
    lines = []
    for pair in found.standings.itertuples():
        intervals = found.ahead[(found.ahead["group_a"] == pair.group_a) & (found.ahead["group_b"] == pair.group_b)]
        if len(intervals) == 1:
            lines.append(_everywhere(pair.group_a, pair.group_b, intervals.iloc[0]))
            continue
        shares = f"{100 * pair.share_a:.0f} % and {100 * pair.share_b:.0f} %"
        lines.append(f"{pair.group_a} and {pair.group_b} are ahead at {shares} of the losses:")
        lines += [f"  {_interval(row)}" for _, row in intervals.iterrows()]
    return lines


def _everywhere(first: str, second: str, interval: pd.Series) -> str:
    if not interval["ahead"]:
        return f"{first} and {second} save the same everywhere"
    other = second if interval["ahead"] == first else first
    more = abs(interval["mean_saved_more_pct"])
    return f"{interval['ahead']} is ahead of {other} everywhere, by {more:.1f} % on average"


def _interval(row: pd.Series) -> str:
    losses = f"{row['loss_from']:5.2f} to {row['loss_to']:5.2f} points"
    if not row["ahead"]:
        return f"{losses}: the same"
    return f"{losses}: {row['ahead']}, by {abs(row['mean_saved_more_pct']):.1f} % on average"


def _differences(found: Comparison) -> list[str]:
    """What tells the groups apart, where their names do not."""
    axes = [axis for axis in found.collection.groups if len(found.groups) > 1]
    if not axes:
        return []
    told = "; ".join(
        f"{row['group']}: {', '.join(f'{axis.rpartition(chr(46))[2]} {row[axis]}' for axis in axes)}"
        for _, row in found.groups.iterrows()
    )
    return [f"settings that differ: {told}"]
