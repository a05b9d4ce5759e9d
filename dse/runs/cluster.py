"""Finds the machines that measure: this one, a running dask cluster, or one that is started on SLURM, PBS or LSF.

A dask cluster executes what its clients send it, as pickled code: whoever reaches its ports acts as the user who
started it. What is started here listens on loopback, unless its workers are on other machines; then connections are
encrypted and need a key that only this user can read, where the package `cryptography` is there. Certificates that
dask's own configuration names (`distributed.comm.tls`) are used where there are some.
"""

import logging
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse import __version__, stopping
from dse.config import ExecutionConfig, load_config
from dse.errors import ConfigError, MissingDependencyError, RunError
from dse.runs.execution import Executor, LocalExecutor

if TYPE_CHECKING:
    from distributed import Client

_log = logging.getLogger("dse")

CONNECT_S = 10.0
"""How long a scheduler may take to answer."""

WORKERS_S = 60.0
"""How long the first workers of a running cluster may take to appear."""

POLL_S, TELL_S = 0.5, 60.0
"""How often somebody looks for workers of a queue, and tells that there are none."""

LOOPBACK = "127.0.0.1"
QUEUES = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster"}
"""Batch systems and their classes in dask-jobqueue."""

PROGRAMS = {"slurm": "sbatch", "pbs": "qsub", "lsf": "bsub"}
"""What submits a job there."""

ON_CLUSTERS = ("cluster", "workers", "partition", "walltime", "memory", "interface")
"""Keys of `[execution]` that say on which cluster."""

ROLES = ("client", "scheduler", "worker")
DEFAULT_MEMORY = "4GB"
DASK = "dask:"


def execution_after(run: ExecutionConfig, changes: Mapping[str, Any]) -> ExecutionConfig:
    """Where to measure for what comes after a run: as the run did, but on this machine unless `changes` name a cluster.

    Args:
        run: `[execution]` of the run.
        changes: other values, by key of `[execution]`.

    Raises:
        ConfigError: a value outside its range.
    """
    as_run = run.model_dump(exclude=set(ON_CLUSTERS))
    values = {f"execution.{key}": value for key, value in (as_run | dict(changes)).items()}
    return load_config(None, values).execution


def make_executor(options: ExecutionConfig, threads: int | None) -> Executor:
    """What measures, as `[execution]` says.

    Args:
        options: where, and how many workers.
        threads: of each evaluation; `None`: cores are shared evenly on this machine, one on clusters.

    Raises:
        ConfigError: options that do not fit together.
        MissingDependencyError: dask is needed, and not installed.
        RunError: the cluster does not answer, has no workers, or other versions.
    """
    _check(options)
    if options.cluster is None and options.workers_backend != "dask":
        return LocalExecutor(options.jobs, threads, backend=options.workers_backend)
    require("distributed")
    if options.cluster is None:
        return _start_here(options, threads)
    if options.cluster.startswith(DASK):
        return _join(options, threads)
    require("dask_jobqueue")
    _require_program(options.cluster)
    return _start_in_queue(options, threads)


def require(package: str) -> None:
    """Raises where an optional package is absent, saying how to install it; what Ctrl-C does stays as it is.

    dask-jobqueue would let it end the process silently, with exit code 0, from its import on.
    """
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        __import__(package)
        if signal.getsignal(signal.SIGINT) is not on_interrupt:
            signal.signal(signal.SIGINT, on_interrupt)
    except ImportError:
        raise MissingDependencyError(
            f"clusters need the package {package.replace('_', '-')}, which is not installed: "
            "pip install 'dse[cluster]', here and on all machines of the cluster"
        ) from None


def _require_program(name: str) -> None:
    """Raises where jobs cannot be submitted from this machine."""
    if shutil.which(PROGRAMS[name]) is None:
        raise ConfigError(
            f"there is no `{PROGRAMS[name]}` on this machine: start the search on a node of the {name} cluster that "
            "may submit jobs, or leave --cluster out to run here"
        )


def _check(options: ExecutionConfig) -> None:
    in_queue = options.cluster in QUEUES
    wrong = [n for n in ("partition", "walltime", "memory", "interface") if getattr(options, n) is not None]
    if wrong and not in_queue:
        raise ConfigError(
            f"[execution] {wrong[0]} is for workers that are started on a batch system: set cluster to "
            f"{', '.join(QUEUES)}, or leave it out"
        )
    if options.cluster is None and options.workers is not None:
        raise ConfigError("[execution] workers is for clusters: set cluster, or use jobs for processes on this machine")


def _join(options: ExecutionConfig, threads: int | None) -> Executor:
    """A cluster that is there."""
    address = options.cluster.removeprefix(DASK)
    client = _connect(address)
    with ExitStack() as stack:
        stack.callback(client.close)
        _wait_for_workers(client, options.workers or 1, address)
        check_versions(client, address)
        return _executor(options, threads, client, f"dask at {address}", stack.pop_all().close)


def _start_here(options: ExecutionConfig, threads: int | None) -> Executor:
    """Worker processes of this machine, that only this machine can reach."""
    from distributed import LocalCluster

    with ExitStack() as stack:
        cluster = LocalCluster(
            n_workers=options.jobs, threads_per_worker=1, processes=True, host=LOOPBACK, memory_limit=0,
            dashboard_address=f"{LOOPBACK}:0", worker_dashboard_address=f"{LOOPBACK}:0", silence_logs=logging.CRITICAL,
        )  # fmt: skip
        stack.callback(cluster.close)
        client = _connect(cluster)
        stack.callback(client.close)
        cluster.adapt(minimum=options.jobs, maximum=options.jobs)  # replaces workers that cannot be restarted
        return _executor(options, threads, client, "dask on this machine", stack.pop_all().close, is_own=True)


def _start_in_queue(options: ExecutionConfig, threads: int | None) -> Executor:
    """Jobs on a batch system, each with a worker of one evaluation at a time; jobs that end are replaced."""
    import dask_jobqueue

    n_workers, name = options.workers or 1, options.cluster
    with ExitStack() as stack:
        folder = stack.enter_context(_shared_folder())
        arguments = queue_arguments(options, threads or 1, folder=Path(folder))
        try:
            cluster = getattr(dask_jobqueue, QUEUES[name])(**arguments)
        except (OSError, RuntimeError, ValueError) as error:
            raise RunError(f"cannot start dask on {name}: {error}. Check the options, and --interface") from error
        stack.callback(_close, cluster)
        client = _connect(cluster)
        stack.callback(client.close)
        _submit(cluster, n_workers, name)
        _wait_in_queue(client, n_workers, name, logs=arguments["log_directory"])
        check_versions(client, name)
        cluster.adapt(minimum_jobs=n_workers, maximum_jobs=n_workers)
        return _executor(options, threads, client, f"dask on {name}", stack.pop_all().close, is_own=True, is_queue=True)


def _submit(cluster: Any, n_workers: int, name: str) -> None:
    """Sends the first jobs; a batch system that refuses them says why."""
    for _ in range(n_workers):
        cluster.worker_spec.update(cluster.new_worker_spec())
    try:
        # `scale` would send them too, and leave a refusal to a log.
        cluster.sync(cluster._correct_state)
    except (OSError, RuntimeError, ValueError) as error:
        raise RunError(
            f"{name} refuses the jobs of the workers: {_last_line(error)}. Check --partition, --walltime and --memory, "
            "and that this machine may submit jobs"
        ) from error


def _last_line(error: Exception) -> str:
    """What the command said, without what dask-jobqueue says of it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if "error" in line.lower() or "fatal" in line.lower()]
    return (said or lines or [type(error).__name__])[-1]


def _wait_in_queue(client: "Client", n_workers: int, name: str, *, logs: str) -> None:
    """Jobs may wait for days: somebody should hear of it now and then."""
    begin = told = time.monotonic()
    _log.info("waiting for the first of %d workers in the queue of %s", n_workers, name)
    while not client.nthreads():
        stopping.check()
        time.sleep(POLL_S)
        if time.monotonic() - told > TELL_S:
            told = time.monotonic()
            _log.warning("no worker from %s after %.0f s: see its queue, and the logs in %s", name, told - begin, logs)


def queue_arguments(options: ExecutionConfig, threads: int, *, folder: Path) -> Mapping[str, Any]:
    """What dask-jobqueue is told.

    Args:
        options: cluster, partition, walltime, memory, interface; what is not set is as dask's configuration has it.
        threads: cores of a worker.
        folder: for keys and logs, which all machines must see.
    """
    import dask

    name = options.cluster
    configured = dask.config.get(f"jobqueue.{name}", {})
    memory = options.memory or configured.get("memory") or DEFAULT_MEMORY
    arguments = {
        # One evaluation at a time for each worker: dask counts a core, the batch system all of its threads.
        "cores": 1, "processes": 1, "memory": memory, "python": sys.executable, "queue": options.partition,
        "walltime": options.walltime, "interface": options.interface,
        "log_directory": configured.get("log-directory") or str(folder),
        "worker_extra_args": [*configured.get("worker-extra-args", []), "--dashboard-address", f"{LOOPBACK}:0"],
        "scheduler_options": {"dashboard_address": f"{LOOPBACK}:0", **configured.get("scheduler-options", {})},
    }  # fmt: skip
    cores = {"slurm": {"job_cpu": threads}, "lsf": {"ncpus": threads}, "pbs": {}}[name]
    if name == "pbs" and not configured.get("resource-spec"):
        cores = {"resource_spec": f"select=1:ncpus={threads}:mem={memory}"}
    return arguments | cores | _security(folder)


def _security(folder: Path) -> dict[str, Any]:
    """Certificates of dask's configuration, else some for this run, which workers read in the folder."""
    import dask
    from distributed.security import Security

    if dask.config.get("distributed.comm.tls.ca-file", None):
        return {"security": Security(require_encryption=True), "protocol": "tls://"}
    try:
        found = Security.temporary()
    except ImportError:
        _log.warning(
            "without the package cryptography, workers connect without encryption, and whoever reaches the port may "
            "run code as you: pip install 'dse[cluster]'"
        )
        return {}
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    for path, text in ((certificate, found.tls_ca_file), (key, found.tls_client_key)):
        path.touch(mode=0o600)
        path.write_text(text)
    files = {f"tls_{role}_{kind}": str(path) for role in ROLES for kind, path in (("cert", certificate), ("key", key))}
    security = Security(require_encryption=True, tls_ca_file=str(certificate), **files)
    return {"security": security, "protocol": "tls://"}


def _shared_folder() -> tempfile.TemporaryDirectory:
    """In the home directory, which clusters share; only this user can read it."""
    parent = Path.home()
    return tempfile.TemporaryDirectory(prefix=".dse-cluster-", dir=parent if parent.is_dir() else None)


def _close(cluster: Any) -> None:
    """Ends a cluster of a queue; one whose jobs were refused complains of them."""
    try:
        cluster.close(timeout=CONNECT_S)
    except Exception:
        _log.debug("closing the cluster", exc_info=True)


def _connect(cluster: Any) -> "Client":
    from distributed import Client

    try:
        return Client(cluster, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        if not isinstance(cluster, str):
            raise
        raise RunError(
            f"no dask scheduler answers at {cluster} within {CONNECT_S:.0f} s ({type(error).__name__}). Start one with "
            "`dask scheduler`, check host and port, or leave --cluster out"
        ) from None


def _wait_for_workers(client: "Client", n_workers: int, address: str) -> None:
    try:
        client.wait_for_workers(n_workers, timeout=WORKERS_S)
    except TimeoutError:
        n_there = len(client.nthreads())
        raise RunError(
            f"the dask cluster at {address} has {n_there} workers after {WORKERS_S:.0f} s, expected at least "
            f"{n_workers}. Start some with `dask worker {address}`, or lower --workers"
        ) from None


def check_versions(client: "Client", place: str) -> None:
    """Refuses workers whose dse or Python is another: pickled objects and results might differ.

    Raises:
        RunError: naming the first worker.
    """
    workers = client.get_versions(packages=["dse"])["workers"]
    here = {"dse": __version__, "python": _minor(sys.version)}
    for worker, found in workers.items():
        has = {"dse": found["packages"].get("dse"), "python": _minor(str(found["host"]["python"]))}
        for name, version in here.items():
            if has[name] != version:
                raise RunError(
                    f"the worker {worker} of {place} has {name} {has[name] or '(missing)'}, this process {version}. "
                    "Install the same versions on all machines, restart the workers and repeat the command"
                )


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _executor(
    options: ExecutionConfig,
    threads: int | None,
    client: "Client",
    place: str,
    close: Callable[[], None],
    *,
    is_own: bool = False,
    is_queue: bool = False,
) -> Executor:
    from dse.runs.dask_executor import NO_WORKERS_S, DaskExecutor

    return DaskExecutor(
        client, place=place, threads=threads, timeout_s=options.worker_timeout_s, is_own=is_own,
        no_workers_s=None if is_queue else NO_WORKERS_S, on_close=close,
    )  # fmt: skip
