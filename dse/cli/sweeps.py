"""Commands about many runs; see `cli`."""

from pathlib import Path
from typing import Annotated

import typer

from dse.cli.options import EXECUTION, Format, FormatOption, option, terminable

CLUSTER = "Cluster"
"""A panel of the help text."""

EXIT_UNFINISHED = 1
"""Some runs of a sweep failed, or were interrupted."""


def sweep(
    sweep_file: Annotated[Path, typer.Argument(help="A TOML file with a table [sweep].", metavar="SWEEP.toml")],
    jobs: Annotated[int, option("Runs at a time on this machine; default 1.", EXECUTION)] = 1,
    dry_run: Annotated[bool, option("Print what would be done, and do nothing.", EXECUTION, "--dry-run")] = False,
    cluster: Annotated[str | None, option("slurm: submit the runs as a job array.", CLUSTER, metavar="NAME")] = None,
    partition: Annotated[str | None, option("Of SLURM; its default otherwise.", CLUSTER, metavar="NAME")] = None,
    walltime: Annotated[str | None, option("Of each run; default 24:00:00.", CLUSTER, metavar="TIME")] = None,
    memory: Annotated[str | None, option("Of each run; default 4GB.", CLUSTER, metavar="SIZE")] = None,
    cpus: Annotated[int | None, option("Cores of each run; default 1.", CLUSTER)] = None,
    parallelism: Annotated[int | None, option("Runs at a time there; default 50.", CLUSTER)] = None,
    out: Annotated[Path | None, option("Directory; default runs/SWEEP.", EXECUTION, metavar="DIR")] = None,
    output_format: FormatOption = Format.table,
) -> None:
    """Do many runs: every combination of the values of a few axes, as seeds, networks, libraries and methods.

    A sweep file is a run file, or names one with `base = "run.toml"`, and has a table of lists. For example

        [sweep]
        search.seed = [0, 1, 2]
        search.method = ["nsga2", "random"]

    The same command continues what is not finished, and does what was added to the lists. With --cluster it returns
    when the runs are submitted; `dse status` follows them.
    """
    from dse.api import sweeps as api_sweeps
    from dse.reporting.terminal.sweeps import RunsWatch, print_preview, print_status

    asked = {"partition": partition, "walltime": walltime, "memory": memory, "cpus": cpus, "parallelism": parallelism}
    if dry_run:
        slurm = api_sweeps.slurm_options(cluster, jobs=jobs, **asked)
        print_preview(api_sweeps.preview(sweep_file, slurm=slurm, out=out), output_format)
        return
    with terminable("everything measured is kept", at_once=True):
        table = api_sweeps.sweep(sweep_file, jobs=jobs, cluster=cluster, **asked, out=out, watch=RunsWatch())
    print_status(table, output_format)
    if cluster is None and (table["state"] != "finished").any():
        raise typer.Exit(EXIT_UNFINISHED)


def status(
    directory: Annotated[Path, typer.Argument(help="Of a sweep, or a folder that holds runs.", metavar="DIR")],
    output_format: FormatOption = Format.table,
) -> None:
    """Print where every run stands: state, evaluations, hypervolume so far.

    For example `dse status runs/seeds`. Works while they run.
    """
    from dse.reporting.terminal.sweeps import print_status
    from dse.runs.run_status import status_table

    print_status(status_table(directory), output_format)


def collect(
    directory: Annotated[Path, typer.Argument(help="Of a sweep, or a folder that holds runs.", metavar="DIR")],
    out: Annotated[Path | None, option("Where the files go; default DIR.", EXECUTION, metavar="DIR")] = None,
    output_format: FormatOption = Format.table,
) -> None:
    """Put the fronts of all finished runs into one table, with statistics over seeds and attainment surfaces.

    Writes collected.csv (all fronts), statistics.csv (median and quartiles of each group of runs that differ in seeds
    only), attainment.csv and attainment.png. For example `dse collect runs/seeds`.
    """
    from dse.api import sweeps as api_sweeps
    from dse.reporting.terminal.sweeps import print_collection

    print_collection(api_sweeps.collect(directory, out=out), output_format, runs=directory, out=out or directory)
