"""Many runs: `sweep` does them, `status` says where they stand, `collect` sums them up."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from dse.runs.run_collection import Collection
    from dse.runs.sweep_execution import RunsObserver


def sweep(
    sweep_file: str | Path, *, jobs: int = 1, out: str | Path | None = None, watch: "RunsObserver | None" = None
) -> "pd.DataFrame":
    """Does every run that a sweep file asks for, or continues those that are not finished.

    Each run is a process of the ordinary command `dse explore`, in a directory of its own below `out`; one that fails
    does not stop the others. Finished runs are left alone, so that values may be added to an axis later.

    Args:
        sweep_file: TOML, see `dse.runs.sweep_plan`.
        jobs: runs at a time, which share the cores.
        out: the sweep's directory; by default below `runs/`, named after the file.
        watch: told how it goes on.

    Returns:
        Where every run stands, as `status` says it.

    Raises:
        ConfigError: what is wrong with the file.
        RunError: the directory is in use, foreign, or holds runs of the same names with another configuration.
    """
    from dse.runs.run_status import status_table
    from dse.runs.store import RunDirectory, RunLock
    from dse.runs.sweep_execution import run_locally
    from dse.runs.sweep_folder import SweepFolder
    from dse.runs.sweep_plan import load_plan

    plan = load_plan(Path(sweep_file))
    folder = SweepFolder(default_path(sweep_file) if out is None else Path(out))
    folder.check(plan)
    with RunLock(RunDirectory(folder.path)):
        folder.claim(plan)
        run_locally(folder, [run.name for run in plan.runs], jobs=jobs, observer=watch)
    return status_table(folder.path)


def default_path(sweep_file: str | Path) -> Path:
    """Directory of a sweep where none is given."""
    return Path("runs") / Path(sweep_file).stem


def status(path: str | Path) -> "pd.DataFrame":
    """Where every run of a sweep, or below any folder, stands; see `dse.runs.run_status.status_table`."""
    from dse.runs.run_status import status_table

    return status_table(Path(path))


def collect(path: str | Path, *, out: str | Path | None = None) -> "Collection":
    """Puts the fronts of all finished runs into one table, sums them up over seeds, and draws attainment surfaces.

    Args:
        path: of a sweep, or of any folder that holds runs; where they belong to no sweep, the keys of their run files
            in which they differ are the axes.
        out: where collected.csv, statistics.csv, attainment.csv and attainment.png go; `path` by default.

    Returns:
        The tables, as `dse.runs.run_collection.Collection`: fronts, runs, statistics, attainment.

    Raises:
        RunError: no run is finished, or one is damaged.
    """
    from dse.files import replace_file
    from dse.reporting.attainment import attainment_data, attainment_png
    from dse.runs.run_collection import collect_runs
    from dse.runs.store import write_table

    found, folder = collect_runs(Path(path)), Path(path if out is None else out)
    write_table(folder / "collected.csv", found.fronts)
    write_table(folder / "statistics.csv", found.statistics)
    write_table(folder / "attainment.csv", found.attainment)
    picture = attainment_png(attainment_data(found, title=Path(path).resolve().name))
    replace_file(folder / "attainment.png", picture)
    return found
