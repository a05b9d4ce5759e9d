"""The command `dse operating-points`."""

from pathlib import Path
from typing import Annotated

import typer

from dse.api.options import execution_given
from dse.cli.options import (
    EXECUTION,
    POINTS,
    SEARCH,
    Cluster,
    Format,
    FormatOption,
    Interface,
    Jobs,
    Memory,
    Partition,
    Threads,
    Walltime,
    Workers,
    WorkersBackend,
    WorkerTimeout,
    numbers,
    option,
    terminable,
)
from dse.reporting.terminal.exploring import Watch


def operating_points(
    run: Annotated[
        Path | None,
        typer.Argument(help="A run directory; by default that of `dse explore` without options.", metavar="[RUN]"),
    ] = None,
    multipliers: Annotated[int, option("How many may be built; default 4.", POINTS, metavar="N")] = 4,
    points: Annotated[int, option("How many operating points; default 3.", POINTS, metavar="M")] = 3,
    method: Annotated[
        str | None, option("kmeans (QoS-Nets), enumerate (all subsets) or search.", POINTS, metavar="NAME")
    ] = None,
    scales: Annotated[
        str | None, option("Of the tolerances, one a point; default 0.3,1,2 for 3.", POINTS, metavar="NUMBERS")
    ] = None,
    max_loss: Annotated[
        str | None,
        option("Percentage points a point may lose on the search images, as 0.3,1,2.3.", POINTS, metavar="NUMBERS"),
    ] = None,
    accuracy_floor: Annotated[float | None, option("No point falls below; 0 to 1.", POINTS)] = None,
    coefficient: Annotated[float | None, option("AGN's reward for noise; default as the run.", POINTS)] = None,
    evaluations: Annotated[int, option("Designs that a search may simulate; default 500.", SEARCH)] = 500,
    seed: Annotated[int, option("Same seed, same points; default 0.", SEARCH)] = 0,
    jobs: Jobs = None,
    threads: Threads = None,
    workers_backend: WorkersBackend = None,
    cluster: Cluster = None,
    workers: Workers = None,
    partition: Partition = None,
    walltime: Walltime = None,
    memory: Memory = None,
    interface: Interface = None,
    worker_timeout: WorkerTimeout = None,
    out: Annotated[Path | None, option("Directory; default in the run.", EXECUTION, metavar="DIR")] = None,
    output_format: FormatOption = Format.table,
) -> None:
    """Choose few multipliers for several operating points, each a multiplier of them for every layer.

    The run gives network, data and multipliers; it need not be finished. For example

        dse operating-points runs/resnet20 --multipliers 3 --points 3 --max-loss 0.3,1,2.3

    The same command continues an interrupted choice; a finished one is only printed. Designs are measured on this
    machine, by as many jobs as the run had, unless options say otherwise.
    """
    execution = execution_given(locals())
    from dse.api.operating_points import choose_and_draw, default_run
    from dse.reporting.terminal.operating_points import PointsWatch, print_points
    from dse.runs.point_set import PointSettings

    settings = PointSettings(
        multipliers, points, method, numbers(scales, "--scales", "0.3,1,2"),
        numbers(max_loss, "--max-loss", "0.3,1,2.3"), accuracy_floor, evaluations, seed, coefficient,
    )  # fmt: skip
    with terminable("everything measured is kept"):
        if run is None:
            with Watch() as watch:
                run = default_run(watch)
        with PointsWatch() as watch:
            found = choose_and_draw(run, settings, execution=execution, out=out, watch=watch)
    print_points(found, output_format)
