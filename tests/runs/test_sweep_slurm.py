"""dse.runs.sweep_slurm: the array through submitit, with programs that stand in for SLURM's."""

import json
import os
import subprocess
import sys

import pytest

from dse.errors import ConfigError, MissingDependencyError, RunError
from dse.runs.store import RunDirectory, RunLock
from dse.runs.sweep_folder import SweepFolder
from dse.runs.sweep_plan import parse_plan
from dse.runs.sweep_slurm import (
    SlurmOptions,
    batch_script,
    minutes_of,
    queued_jobs,
    read_jobs,
    submit,
    task_command,
    to_submit,
)

NAMES = ["seed_0", "seed_1", "seed_2"]
SBATCH = '#!/bin/sh\nprintf %s "$1" > "$FAKE_SLURM/script"\necho "Submitted batch job 41"\n'
REFUSE = '#!/bin/sh\necho "sbatch: error: invalid partition specified: none" >&2\nexit 1\n'


@pytest.fixture
def folder(tmp_path):
    folder = SweepFolder(tmp_path / "my sweep")
    with RunLock(RunDirectory(folder.path)):
        folder.claim(parse_plan("[sweep]\nsearch.seed = [0, 1, 2]"))
    return folder


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Makes programs of the given texts, which come first on the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(folder))

    def make(**texts):
        for name, text in texts.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        return folder

    return make


def test_the_script_printed_is_the_one_submitted(folder, programs):
    pytest.importorskip("submitit")
    made = programs(sbatch=SBATCH, srun="#!/bin/sh\n")
    options = SlurmOptions("02:00:00", "3GB", 2, 10, "long")
    assert submit(folder, NAMES, options) == {"seed_0": "41_0", "seed_1": "41_1", "seed_2": "41_2"}
    script = batch_script(folder, 3, options)
    assert (folder.job_files / "41_submission.sh").read_text() == script
    assert str(folder.job_files) in (made / "script").read_text()
    wanted = ("array=0-2%3", "cpus-per-task=2", "mem=3GB", "partition=long", "time=120", "signal=USR2@90")
    for flag in wanted:
        assert f"#SBATCH --{flag}\n" in script
    assert " --cpus-per-task=2 " in script
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_what_is_submitted_is_a_plain_command(folder, programs):
    submitit = pytest.importorskip("submitit")
    programs(sbatch=SBATCH, srun="#!/bin/sh\n")
    submit(folder, NAMES, SlurmOptions())
    delayed = submitit.core.utils.DelayedSubmission.load(folder.job_files / "41_1_submitted.pkl")
    assert isinstance(delayed.function, submitit.helpers.CommandFunction)
    assert delayed.function.checkpoint().function is delayed.function
    assert delayed.function.command == task_command(folder, "seed_1")
    assert task_command(folder, "seed_1")[1:] == ["-m", "dse.runs.sweep_task", str(folder.path), "seed_1"]


SRUN = '#!/bin/sh\nwhile [ "$1" != "$PYTHON" ]; do shift; done\nexec "$@"\n'
FAKE_DSE = """
import os, sys
out = sys.argv[sys.argv.index("--out") + 1]
os.makedirs(out, exist_ok=True)
print("the ordinary command:", *sys.argv[1:], flush=True)
if out.endswith("seed_1"):
    sys.exit("error: no such network")
open(out + "/front.csv", "w").write("point")
"""


@pytest.mark.slow
def test_an_array_from_start_to_end(folder, programs, tmp_path):
    """As SLURM would do it: every task of the script, one of which fails."""
    pytest.importorskip("submitit")
    made = programs(sbatch=SBATCH, srun=SRUN)
    submit(folder, NAMES[:2], SlurmOptions())
    script = (made / "script").read_text()
    # What tasks execute as `python -m dse` is a program of ours; all else is real.
    (tmp_path / "fake_dse.py").write_text(FAKE_DSE)
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "from dse.runs import sweep_execution\n"
        "ordinary = sweep_execution.explore_command\n"
        "def fake(folder, name):\n"
        f"    return [sys.executable, '-S', '-E', {str(tmp_path / 'fake_dse.py')!r}, *ordinary(folder, name)[3:]]\n"
        "sweep_execution.explore_command = fake\n"
    )
    environment = os.environ | {"PYTHON": sys.executable, "SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "41"}
    environment |= {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH")))),
        "SLURM_PROCID": "0",
        "SLURM_NTASKS": "1",
        "SLURM_NODEID": "0",
        "SLURM_LOCALID": "0",
    }
    codes = []
    for task in range(2):
        environment |= {"SLURM_ARRAY_TASK_ID": str(task)}
        ended = subprocess.run(["bash", script], env=environment, capture_output=True, text=True, check=False)
        codes.append(ended.returncode)
    assert [code == 0 for code in codes] == [True, False]
    assert [folder.state(name) for name in NAMES] == ["finished", "failed", "waiting"]
    assert folder.read_outcome("seed_1").message == "no such network"
    assert "the ordinary command: explore" in folder.log("seed_0").read_text()


def test_what_is_there_or_queued_is_not_submitted_again(folder, programs):
    programs(squeue="#!/bin/sh\necho 41_0\necho 41_2\necho 50\n")
    assert queued_jobs() == {"41_0", "41_2", "50"}
    folder.jobs.write_text(json.dumps({"seed_0": "41_0", "seed_1": "41_1"}))
    assert to_submit(folder, NAMES) == ["seed_1", "seed_2"]
    folder.run("seed_1").path.mkdir()
    folder.run("seed_1").front.write_text("point")
    with RunLock(folder.run("seed_2")):
        assert to_submit(folder, NAMES) == []


def test_nothing_is_submitted_twice_where_slurm_does_not_answer(folder, programs):
    programs(squeue="#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact slurm controller' >&2\nexit 1\n")
    assert to_submit(folder, NAMES) == NAMES  # none was submitted before
    folder.jobs.write_text(json.dumps({"seed_0": "41_0"}))
    with pytest.raises(RunError, match=r"its queue \(slurm_load_jobs error: .* `squeue` answers"):
        to_submit(folder, NAMES)


def test_users_without_a_name_have_a_queue(programs, monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 987654)
    programs(squeue='#!/bin/sh\necho "$1"\n')
    assert queued_jobs() == {"--user=987654"}


def test_without_slurm_there_is_no_queue(folder, monkeypatch):
    folder.jobs.write_text(json.dumps({"seed_0": "41_0"}))
    monkeypatch.setenv("PATH", "/nowhere")
    assert to_submit(folder, NAMES) == NAMES


def test_another_submitit_may_not_tell_its_script(folder, monkeypatch):
    pytest.importorskip("submitit")
    from submitit.slurm import slurm

    monkeypatch.delattr(slurm, "_make_sbatch_string")
    with pytest.raises(ConfigError, match="leave --dry-run out"):
        batch_script(folder, 1, SlurmOptions())


@pytest.mark.parametrize("text", ["", "{", "[1]", "3"])
def test_a_damaged_list_of_jobs_is_forgotten(folder, text):
    folder.jobs.write_text(text)
    assert read_jobs(folder) == {}


def test_refusals(folder, programs, monkeypatch):
    pytest.importorskip("submitit")
    programs(sbatch=REFUSE, srun="#!/bin/sh\n")
    with pytest.raises(RunError, match="did not take the array of 3 runs: sbatch: error: invalid partition"):
        submit(folder, NAMES, SlurmOptions(partition="none"))
    assert read_jobs(folder) == {}
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match="no `sbatch` on this machine"):
        submit(folder, NAMES, SlurmOptions())
    assert batch_script(folder, 1, SlurmOptions()).count("--array") == 0
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'dse\[cluster\]'"):
        submit(folder, NAMES, SlurmOptions())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"walltime": "soon"}, "walltime 'soon': expected hours"),
        ({"walltime": "00:00:00"}, "expected hours"),
        ({"memory": "much"}, "expected a size above zero, as 4GB"),
        ({"memory": "4GB; rm"}, "expected a size above zero, as 4GB"),
        ({"memory": "0GB"}, "expected a size above zero"),
        ({"cpus": 0}, "cpus is 0"),
        ({"parallelism": -1}, "parallelism is -1"),
        ({"partition": "a b"}, "expected a name"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ConfigError, match=message):
        SlurmOptions(**options)


def test_minutes_are_rounded_up():
    assert [minutes_of(text) for text in ("00:00:01", "00:01:00", "00:01:01", "2-00:00:00")] == [1, 1, 2, 2880]
