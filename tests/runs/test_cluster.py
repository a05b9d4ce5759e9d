"""dse.runs.cluster: which executor a configuration means, what it refuses, and whole searches on a dask cluster."""

import importlib.util
import socket
import subprocess
import sys
from contextlib import contextmanager

import psutil
import pytest

from dse.config import parse_config
from dse.errors import ConfigError, MissingDependencyError, RunError
from dse.runs import cluster
from dse.runs.cluster import make_executor, queue_arguments
from dse.runs.execution import LocalExecutor
from dse.runs.operating_points import SilentPoints, choose_operating_points
from dse.runs.point_set import PointSettings

distributed = pytest.importorskip("distributed")

SMALL = ["--plain", "--images", "40", "--report-images", "40", "--population-size", "8", "--generations", "2"]
POINTS = PointSettings(n_multipliers=3, n_points=2, method="kmeans")


def execution(text):
    return parse_config(f"[execution]\n{text}").execution


@contextmanager
def dask_cluster(n_workers):
    """The address of a scheduler with worker processes."""
    with distributed.LocalCluster(
        n_workers=n_workers, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as found:
        yield found.scheduler_address


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_this_machine(backend):
    with make_executor(execution(f'jobs = 2\nworkers_backend = "{backend}"'), 1) as executor:
        assert isinstance(executor, LocalExecutor)
        assert (executor.jobs, executor.threads, executor.place) == (2, 1, "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('cluster = "slrum"', r"\[execution\] cluster = 'slrum': expected dask:tcp://HOST:PORT .* slurm, pbs or lsf"),
        ('cluster = "dask:host"', "expected dask:tcp://HOST:PORT"),
        ('cluster = "slurm"\nmemory = "much"', "expected a size as 4GB"),
        ('cluster = "slurm"\npartition = "a\\nrm -r /"', "expected letters, digits"),
        ('cluster = "slurm"\nwalltime = "1;ls"', "expected letters, digits"),
        ('workers_backend = "ray"', "expected 'loky', 'threading' or 'dask'"),
        ("worker_timeout_s = 0.0", "greater than 0"),
    ],
)
def test_bad_values(text, expected):
    with pytest.raises(ConfigError, match=expected):
        execution(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('partition = "short"', "partition is for workers that are started on a batch system"),
        ('cluster = "dask:tcp://127.0.0.1:1"\nmemory = "2GB"', "memory is for workers that are started"),
        ("workers = 3", "workers is for clusters"),
    ],
)
def test_options_that_do_not_fit_together(text, expected):
    with pytest.raises(ConfigError, match=expected):
        make_executor(execution(text), 1)


@pytest.mark.parametrize(
    ("text", "package"),
    [
        ('cluster = "dask:tcp://127.0.0.1:1"', "distributed"),
        ('workers_backend = "dask"', "distributed"),
        ('cluster = "slurm"', "dask_jobqueue"),
    ],
)
def test_missing_packages_are_told(text, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=r"not installed: pip install 'dse\[cluster\]'"):
        make_executor(execution(text), 1)


@pytest.mark.parametrize(("name", "program"), [("slurm", "sbatch"), ("pbs", "qsub"), ("lsf", "bsub")])
def test_jobs_are_submitted_where_that_is_possible(name, program, monkeypatch):
    if importlib.util.find_spec("dask_jobqueue") is None:  # importing it would take Ctrl-C from other tests
        pytest.skip("dask-jobqueue is not installed")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match=f"there is no `{program}` on this machine: start the search on a node"):
        make_executor(execution(f'cluster = "{name}"'), 1)


@pytest.mark.skipif(importlib.util.find_spec("dask_jobqueue") is None, reason="dask-jobqueue is not installed")
def test_packages_do_not_take_interrupts():
    told = (
        "import signal; from dse.runs.cluster import require; before = signal.getsignal(signal.SIGINT); "
        "require('dask_jobqueue'); print(signal.getsignal(signal.SIGINT) is before)"
    )
    assert subprocess.run([sys.executable, "-c", told], capture_output=True, text=True).stdout == "True\n"


def test_nobody_listens(monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(RunError, match=f"no dask scheduler answers at tcp://127.0.0.1:{port} within .*dask scheduler"):
        make_executor(execution(f'cluster = "dask:tcp://127.0.0.1:{port}"'), 1)


def test_no_workers(monkeypatch):
    monkeypatch.setattr(cluster, "WORKERS_S", 0.2)
    with dask_cluster(0) as address, pytest.raises(RunError, match="has 0 workers after .* at least 3.*dask worker"):
        make_executor(execution(f'cluster = "dask:{address}"\nworkers = 3'), 1)


@pytest.mark.parametrize("version", ["0.0.7", None])
def test_other_versions_are_refused(version):
    class Client:
        def get_versions(self, packages):
            host = {"python": sys.version.split()[0] + ".final.0"}
            return {"workers": {"tcp://a:1": {"host": host, "packages": {"dse": version}}}}

    with pytest.raises(RunError, match=rf"worker tcp://a:1 of here has dse {version or '.missing.'}, this process"):
        cluster.check_versions(Client(), "here")


def test_arguments_of_slurm(tmp_path):
    options = execution('cluster = "slurm"\npartition = "short"\nwalltime = "01:00:00"\nmemory = "3GB"')
    found = queue_arguments(options, 4, folder=tmp_path)
    assert (found["queue"], found["walltime"], found["memory"]) == ("short", "01:00:00", "3GB")
    assert (found["cores"], found["processes"], found["job_cpu"]) == (1, 1, 4)
    assert found["scheduler_options"]["dashboard_address"] == "127.0.0.1:0"
    assert found["protocol"] == "tls://"
    assert found["security"].require_encryption


def test_arguments_of_others(tmp_path):
    assert queue_arguments(execution('cluster = "lsf"'), 2, folder=tmp_path)["ncpus"] == 2
    found = queue_arguments(execution('cluster = "pbs"\nmemory = "3GB"'), 2, folder=tmp_path)
    assert found["resource_spec"] == "select=1:ncpus=2:mem=3GB"


def listening(process):
    """Addresses that a process and its children listen at."""
    return {
        c.laddr.ip
        for p in [process, *process.children(recursive=True)]
        for c in p.net_connections("tcp")
        if c.status == psutil.CONN_LISTEN
    }


def test_dask_on_this_machine_listens_on_loopback_only():
    before = listening(psutil.Process())
    with make_executor(execution('jobs = 2\nworkers_backend = "dask"'), None) as executor:
        assert (executor.jobs, executor.threads) == (2, 1)
        assert listening(psutil.Process()) - before == {"127.0.0.1"}


def explore(tmp_path, name, *options):
    """The files of a search that another process runs, and what it said."""
    command = [sys.executable, "-m", "dse", "explore", *SMALL, "--out", str(tmp_path / name), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return (tmp_path / name / "front.csv").read_bytes(), done.stderr


class Place(SilentPoints):
    """Where points were measured."""

    def on_start(self, start):
        self.jobs, self.name = start.jobs, start.place


@pytest.mark.slow
def test_a_search_on_a_dask_cluster_has_the_same_front(tmp_path):
    here, _ = explore(tmp_path, "here")
    place = Place()
    with dask_cluster(2) as address:
        there, said = explore(tmp_path, "there", "--cluster", f"dask:{address}", "--workers", 2)
        cluster = {"cluster": f"dask:{address}", "workers": 2}
        points = choose_operating_points(
            tmp_path / "here", POINTS, path=tmp_path / "points", execution=cluster, observer=place
        )
    assert there == here
    assert "2 workers of dask at tcp://127.0.0.1:" in said
    assert (place.jobs, place.name) == (2, f"dask at {address}")
    assert points.table.equals(choose_operating_points(tmp_path / "here", POINTS).table)
    threads, _ = explore(tmp_path, "threads", "--jobs", 2, "--workers-backend", "threading")
    assert threads == here
