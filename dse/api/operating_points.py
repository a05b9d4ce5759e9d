"""The public call `operating_points`: few multipliers for several operating points of a network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dse.api.options import execution_given
from dse.runs.operating_points import PointsObserver
from dse.runs.point_set import PointSet, PointSettings


def operating_points(
    run: Any = None,
    *,
    multipliers: int = 4,
    points: int = 3,
    method: str | None = None,
    scales: Sequence[float] | None = None,
    max_loss: Sequence[float] | None = None,
    accuracy_floor: float | None = None,
    evaluations: int = 500,
    seed: int = 0,
    coefficient: float | None = None,
    network: Any = None,
    dataset: Any = None,
    library: Any = None,
    jobs: int | None = None,
    threads: int | None = None,
    workers_backend: str | None = None,
    cluster: str | None = None,
    workers: int | None = None,
    partition: str | None = None,
    walltime: str | None = None,
    memory: str | None = None,
    interface: str | None = None,
    worker_timeout: float | None = None,
    out: str | Path | None = None,
    watch: PointsObserver | None = None,
) -> PointSet:
    """Chooses few multipliers, and which of them each layer uses at each of several operating points.

    Network, data, library and images are those of a run of `explore`, finished or not. The same call continues an
    interrupted choice, and returns a finished one at once. Arguments are those of the command `dse operating-points`.

    Args:
        run: a run directory, or a `Run`; None: the run of `explore()` without arguments, explored first where absent.
        multipliers: how many may be built; the exact one counts where it is used.
        points: how many operating points, from the most accurate to the cheapest.
        method: `kmeans` (QoS-Nets), `enumerate` (all subsets) or `search` (NSGA-II from both); None: `enumerate` where
            there are at most 200,000 subsets, else `search`.
        scales: of the learned tolerances, rising, one a point; 0.3, 1 and 2 for three points.
        max_loss: percentage points that each point may lose on the search images, rising; simulated.
        accuracy_floor: on the search images, in [0, 1]; no point falls below it.
        evaluations: designs that `search` may simulate besides those it begins with.
        seed: of clustering and search.
        coefficient: of AGN's reward for noise; that of the run by default.
        network: the `torch.nn.Module` of a run that was made with one.
        dataset: likewise the `dse.datasets.Splits`.
        library: likewise the `Library`.
        jobs: worker processes; those of the run by default.
        threads: of each worker, likewise.
        workers_backend: of the jobs, likewise: `loky`, `threading` or `dask`.
        cluster: as of `explore`, and so are `workers`, `partition`, `walltime`, `memory` and `interface`; None: this
            machine, wherever the run was made.
        workers: on the cluster.
        partition: of the batch system, its queue.
        walltime: of a worker, as `02:00:00`.
        memory: of a worker, as `4GB`.
        interface: the network by which machines of the cluster reach each other, as `ib0`.
        worker_timeout: seconds for an assignment, after which another worker gets it.
        out: the directory; by default `operating_points/METHOD_nN_mM` in the run.
        watch: told how it goes on.

    Returns:
        The points; see `dse.runs.point_set.PointSet`.

    Raises:
        DseError: settings that make no sense, a floor that the exact network misses, or points that tie.

    >>> import dse
    >>> run = dse.explore(population_size=8, generations=2, out="runs/digits")
    >>> chosen = dse.operating_points(run, multipliers=2, points=2)
    >>> len(chosen.multipliers), chosen.table["energy_saved_pct"].is_monotonic_increasing
    (2, True)
    """
    settings = PointSettings(
        n_multipliers=multipliers,
        n_points=points,
        method=method,
        scales=None if scales is None else tuple(float(scale) for scale in scales),
        max_loss=None if max_loss is None else tuple(float(loss) for loss in max_loss),
        accuracy_floor=accuracy_floor,
        evaluations=evaluations,
        seed=seed,
        coefficient=coefficient,
    )
    execution = execution_given(locals())
    return choose_and_draw(
        run, settings, objects=(network, dataset, library), execution=execution, out=out, watch=watch
    )


def choose_and_draw(
    run: Any,
    settings: PointSettings,
    *,
    objects: tuple[Any, Any, Any] = (None, None, None),
    execution: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    watch: PointsObserver | None = None,
) -> PointSet:
    """Chooses operating points (see `operating_points`) and draws them."""
    from dse.files import replace_file
    from dse.reporting.data import points_data
    from dse.reporting.pictures.points import points_png
    from dse.runs.operating_points import choose_operating_points
    from dse.runs.point_set import PointsDirectory
    from dse.runs.preparation import Inputs

    path = default_run() if run is None else Path(getattr(run, "path", run))
    found = choose_operating_points(
        path, settings, path=out, inputs=Inputs(*objects), execution=execution, observer=watch
    )
    picture = PointsDirectory(found.path).picture
    if not picture.exists():
        replace_file(picture, points_png(points_data(found)))
    return found


def default_run(watch: Any = None) -> Path:
    """The run of `explore()` without arguments; explored, or continued, where it is not finished."""
    from dse.api.explore import explore_config
    from dse.config import load_config

    return explore_config(load_config(None), watch=watch).path
