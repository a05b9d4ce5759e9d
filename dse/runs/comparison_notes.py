"""What to bear in mind when runs are compared, a sentence each; none where there is nothing to say."""

from collections.abc import Sequence

import pandas as pd

from dse.runs.run_collection import Collection
from dse.runs.run_status import FoundRun
from dse.runs.seed_tests import SIGNIFICANT


def same_seeds(collected: Collection, names: pd.Series) -> list[str]:
    """Runs that are the same experiment with the same seed are no repetitions."""
    runs, axes = collected.runs, list(collected.axes)
    key = pd.concat([names.rename("group"), runs[axes]], axis=1)
    is_again = key.duplicated(keep=False)
    if not is_again.any():
        return []
    again = [", ".join(runs.loc[rows.index, "run"]) for _, rows in key[is_again].groupby(["group", *axes], sort=False)]
    return [f"the same experiment with the same seed counts as several runs: {'; '.join(again)}. Give only one of them"]


def few_seeds(runs: pd.DataFrame, tests: pd.DataFrame) -> list[str]:
    """What the number of seeds keeps from being shown."""
    sizes = runs["group"].value_counts(sort=False)
    alone = [name for name, size in sizes.items() if size == 1]
    notes = []
    if len(sizes) > 1 and alone:
        which = (
            "every group has"
            if len(alone) == len(sizes)
            else f"{', '.join(alone)} {'has' if len(alone) == 1 else 'have'}"
        )
        notes.append(
            f"{which} one seed: chance cannot be told from a difference. Repeat with other seeds, five or more "
            "(`dse sweep` with search.seed = [0, 1, 2, 3, 4])"
        )
    pairs = tests.drop_duplicates(["group_a", "group_b"])
    weak = pairs[pairs["smallest_p"] >= SIGNIFICANT]
    if len(weak):
        which = ", ".join(f"{row.group_a} and {row.group_b}" for row in weak.head(3).itertuples())
        more = f" and {len(weak) - 3} more pairs" if len(weak) > 3 else ""
        among = f" after correction for {len(pairs)} pairs" if len(pairs) > 1 else ""
        notes.append(
            f"too few seeds for any difference to be significant: {which}{more}; the smallest possible p is "
            f"{weak['smallest_p'].min():.2g}{among}"
        )
    return notes


def memory_is_left_out(collected: Collection) -> list[str]:
    """Where it is an objective of some runs, but not of all."""
    if collected.n_with_memory in (0, len(collected.runs)):
        return []
    return [
        f"memory is an objective of {collected.n_with_memory} of {len(collected.runs)} runs: hypervolumes and savings "
        "are of energy and accuracy for all of them. Give only those with memory to have it counted"
    ]


def left_out(unfinished: Sequence[FoundRun]) -> list[str]:
    """Runs without a front."""
    if not unfinished:
        return []
    states = ", ".join(f"{run.name} ({run.state})" for run in unfinished[:5])
    more = f" and {len(unfinished) - 5} more" if len(unfinished) > 5 else ""
    return [f"left out, as they have no front yet: {states}{more}"]


def unlike_budgets(runs: pd.DataFrame) -> list[str]:
    """Searches that simulated far more images than others should find more."""
    spent = runs.groupby("group", sort=False)["n_images"].median()
    if len(spent) < 2 or spent.max() <= 1.5 * max(1.0, spent.min()):
        return []
    return [
        f"budgets differ: {spent.idxmax()} simulated {spent.max():,.0f} images, {spent.idxmin()} {spent.min():,.0f}"
    ]
