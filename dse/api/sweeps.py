"""Many runs: `sweep` does them, `status` says where they stand, `collect` sums them up."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dse.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from dse.runs.run_collection import Collection
    from dse.runs.sweep_execution import RunsObserver
    from dse.runs.sweep_folder import SweepFolder
    from dse.runs.sweep_plan import SweepPlan
    from dse.runs.sweep_slurm import SlurmOptions


def sweep(
    sweep_file: str | Path,
    *,
    jobs: int = 1,
    cluster: str | None = None,
    partition: str | None = None,
    walltime: str | None = None,
    memory: str | None = None,
    cpus: int | None = None,
    parallelism: int | None = None,
    out: str | Path | None = None,
    watch: "RunsObserver | None" = None,
) -> "pd.DataFrame":
    """Does every run that a sweep file asks for, or continues those that are not finished.

    Each run is a process of the ordinary command `dse explore`, in a directory of its own below `out`; one that fails
    does not stop the others. Finished runs are left alone, so that values may be added to an axis later.

    Args:
        sweep_file: TOML, see `dse.runs.sweep_plan`.
        jobs: runs at a time on this machine, which share the cores.
        cluster: `slurm`: submit the runs as a job array instead, and return at once; those in its queue are left there.
        partition: of the cluster; its default otherwise.
        walltime: of each run there, as `24:00:00`, the default.
        memory: of each run there, as `4GB`, the default.
        cpus: cores of each run there; 1 by default.
        parallelism: runs at a time there; 50 by default.
        out: the sweep's directory; by default below `runs/`, named after the file.
        watch: told how it goes on.

    Returns:
        Where every run stands, as `status` says it.

    Raises:
        ConfigError: what is wrong with the file.
        RunError: the directory is in use, foreign, or holds runs of the same names with another configuration.

    >>> import dse
    >>> from pathlib import Path
    >>> axes = "sweep = {search.seed = [0], search.generations = [1], search.population_size = [6]}"
    >>> n_characters = Path("seeds.toml").write_text(axes)
    >>> dse.sweep("seeds.toml")["state"].tolist()  # runs/seeds holds the run
    ['finished']
    """
    from dse.runs.run_status import status_table
    from dse.runs.store import RunDirectory, RunLock
    from dse.runs.sweep_execution import SilentRuns, run_locally

    slurm = slurm_options(
        cluster, jobs=jobs, partition=partition, walltime=walltime, memory=memory, cpus=cpus, parallelism=parallelism
    )
    plan, folder = _planned(sweep_file, out)
    names, watch = [run.name for run in plan.runs], watch or SilentRuns()
    with RunLock(RunDirectory(folder.path)):
        folder.claim(plan)
        if slurm is None:
            run_locally(folder, names, jobs=jobs, observer=watch)
        else:
            _submit(folder, names, slurm, watch)
    return status_table(folder.path)


def slurm_options(
    cluster: str | None,
    *,
    jobs: int = 1,
    partition: str | None = None,
    walltime: str | None = None,
    memory: str | None = None,
    cpus: int | None = None,
    parallelism: int | None = None,
) -> "SlurmOptions | None":
    """What the arguments of `sweep` ask a cluster for; None: they ask for none.

    Raises:
        ConfigError: an unknown cluster, a value that makes no sense, or one of a cluster without it or the reverse.
    """
    from dse.runs.sweep_execution import check_jobs
    from dse.runs.sweep_slurm import SlurmOptions

    options = {
        "partition": partition, "walltime": walltime, "memory": memory, "cpus": cpus, "parallelism": parallelism,
    }  # fmt: skip
    given = {name: value for name, value in options.items() if value is not None}
    if cluster is None and given:
        raise ConfigError(f"--{next(iter(given))} is for clusters: add --cluster slurm, or leave it out")
    if cluster not in (None, "slurm"):
        raise ConfigError(
            f"--cluster {cluster}: expected slurm. Other batch systems: dse explore --cluster, run by run"
        )
    check_jobs(jobs)
    if cluster is not None and jobs > 1:
        raise ConfigError(
            f"--jobs {jobs} is for runs on this machine: leave it out, and say with --parallelism how many may go on "
            f"at a time on {cluster}"
        )
    return None if cluster is None else SlurmOptions(**given)


def _submit(folder: "SweepFolder", names: list[str], slurm: "SlurmOptions", watch: "RunsObserver") -> None:
    """One array of the runs that are neither finished nor under way."""
    from dse.runs.sweep_slurm import submit, to_submit

    unfinished = [name for name in names if not folder.is_done(name)]
    chosen = to_submit(folder, unfinished)
    watch.on_start(len(names), len(names) - len(unfinished))
    submitting = set(chosen)
    for name in unfinished:
        if name not in submitting:
            watch.on_queued(name)
    submitted = submit(folder, chosen, slurm) if chosen else {}
    for name, job in submitted.items():
        watch.on_submitted(name, job)


@dataclass(frozen=True, eq=False)
class Preview:
    """What a sweep would do: the script for SLURM (empty without), and a table of its runs.

    Columns of `runs`: task (of the array; empty where the run would not be submitted), name, state, command.
    """

    script: str
    runs: "pd.DataFrame"


def preview(sweep_file: str | Path, *, slurm: "SlurmOptions | None" = None, out: str | Path | None = None) -> Preview:
    """What `sweep` with the same arguments would do. Nothing is written or submitted.

    Raises:
        ConfigError, RunError: as `sweep`.
    """
    import shlex

    import pandas as pd

    from dse.runs.sweep_execution import explore_command
    from dse.runs.sweep_slurm import batch_script, task_command, to_submit

    plan, folder = _planned(sweep_file, out)
    names = [run.name for run in plan.runs]
    states = [folder.state(name) for name in names]
    if slurm is None:
        chosen = [name for name, state in zip(names, states, strict=True) if state != "finished"]
    else:
        chosen = to_submit(folder, names)
    command = explore_command if slurm is None else task_command
    tasks = {name: str(number) for number, name in enumerate(chosen)}
    table = {
        "task": [tasks.get(name, "") for name in names],
        "name": names,
        "state": states,
        "command": [shlex.join(command(folder, name)) for name in names],
    }
    script = "" if slurm is None or not chosen else batch_script(folder, len(chosen), slurm)
    return Preview(script, pd.DataFrame(table))


def _planned(sweep_file: str | Path, out: str | Path | None) -> "tuple[SweepPlan, SweepFolder]":
    """The runs of a sweep file, and their directory, in which they fit."""
    from dse.runs.sweep_folder import SweepFolder
    from dse.runs.sweep_plan import load_plan

    plan = load_plan(Path(sweep_file))
    folder = SweepFolder(default_path(sweep_file) if out is None else Path(out))
    if folder.path.resolve() == Path(sweep_file).resolve():
        raise ConfigError(f"{sweep_file} is the sweep file itself: choose another directory with --out")
    folder.check(plan)
    return plan, folder


def default_path(sweep_file: str | Path) -> Path:
    """Directory of a sweep where none is given."""
    return Path("runs") / Path(sweep_file).stem


def status(path: str | Path) -> "pd.DataFrame":
    """Where every run of a sweep, or below any folder, stands.

    Args:
        path: of a sweep, or of any folder that holds runs; they may be running.

    Returns:
        One row a run; see `dse.runs.run_status.status_table`.

    >>> import dse
    >>> for seed in (0, 1):
    ...     run = dse.explore(population_size=6, generations=1, seed=seed, out=f"runs/two/{seed}")
    >>> dse.status("runs/two")["state"].tolist()
    ['finished', 'finished']
    """
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

    >>> import dse
    >>> for seed in (0, 1):
    ...     run = dse.explore(population_size=6, generations=1, seed=seed, out=f"runs/two/{seed}")
    >>> found = dse.collect("runs/two")
    >>> len(found.runs), len(found.statistics)
    (2, 1)
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
