"""`dse.compare`: several runs side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dse.runs.comparison import Comparison
    from dse.runs.results import Run


def compare(
    runs: "str | Path | Run | Sequence[str | Path | Run]",
    *,
    losses: Sequence[float] = (0.5, 1.0, 2.0),
    baseline: str | None = None,
) -> "Comparison":
    """Compares what runs found: hypervolume, energy saved at fixed losses, what that took, and who is ahead where.

    Runs that differ in seeds only are a group: of each figure it has the median and quartiles, and groups of several
    runs are tested against each other (Mann-Whitney U, effect size A12, Holm's correction). Where memory is an
    objective of all runs, it is one of the hypervolume, and memory saved is told too; elsewhere it is left out.

    Args:
        runs: directories of runs, of sweeps, or folders that hold runs; or opened runs.
        losses: percentage points of accuracy at which savings are compared.
        baseline: name of the group that all others are compared with; by default each is compared with each.

    Returns:
        The tables, see `dse.runs.comparison.Comparison`: runs, groups, tests, ahead, standings, and notes.

    Raises:
        ConfigError: losses that are no different numbers of at least 0, or an unknown baseline.
        RunError: none is finished, or their fronts cannot be compared: other networks, report images or technologies.

    >>> import dse
    >>> for seed in (0, 1):
    ...     run = dse.explore(population_size=6, generations=1, seed=seed, out=f"runs/two/{seed}")
    >>> found = dse.compare("runs/two", losses=[1, 5])
    >>> found.groups["n_runs"].tolist(), found.figures
    ([2], ('hypervolume', 'saved_at_1_pct', 'saved_at_5_pct'))
    """
    from dse.runs.comparison import compare_runs

    return compare_runs(paths_of(runs), losses=losses, baseline=baseline)


def paths_of(runs: "str | Path | Run | Sequence[str | Path | Run]") -> list[str | Path]:
    """Paths of what may be given as runs: one or several, paths or opened."""
    several = [runs] if isinstance(runs, str | Path) or hasattr(runs, "path") else list(runs)
    return [getattr(run, "path", run) for run in several]  # paths themselves have no path
