"""dse.runs.store: who may use a directory, and that files are replaced whole."""

import errno
import os
import socket
import subprocess
import sys

import pytest

from dse.config import RunConfig, load_config, parse_config
from dse.errors import RunError
from dse.files import replace_file
from dse.runs.store import LOCK_FILE, RunDirectory, RunLock, lock_holder


@pytest.fixture
def directory(tmp_path):
    return RunDirectory(tmp_path / "runs" / "one")


def test_claim_writes_config_and_resolved(directory):
    with RunLock(directory):
        directory.claim(RunConfig(), "# mine\n")
    assert directory.config.read_text() == "# mine\n"
    assert load_config(directory.resolved) == RunConfig()
    assert not directory.is_finished


def test_same_configuration_continues_other_is_refused(directory):
    with RunLock(directory):
        directory.claim(RunConfig())
        directory.claim(parse_config("[execution]\njobs = 2"))
        with pytest.raises(RunError, match="unfinished run.*search.seed was 0, is now 1.*--out"):
            directory.claim(parse_config("[search]\nseed = 1"))
        directory.front.write_text("")
        with pytest.raises(RunError, match="a finished run"):
            directory.claim(parse_config("[search]\nseed = 1"))


def test_a_damaged_configuration_is_named_with_its_directory(directory):
    with RunLock(directory):
        directory.claim(RunConfig())
        for text in ("bad[", "[serach]\na = 1\n"):
            directory.resolved.write_text(text)
            with pytest.raises(RunError, match=rf"{directory.resolved} cannot be read \(.*\)\. Restore it from a copy"):
                directory.claim(RunConfig())


def test_killed_before_anything_was_written_is_still_a_run(directory):
    with RunLock(directory):
        pass
    with RunLock(directory):
        directory.claim(RunConfig())


def test_foreign_directory_is_refused_and_untouched(directory):
    directory.path.mkdir(parents=True)
    (directory.path / "thesis.tex").write_text("x")
    with pytest.raises(RunError, match="not empty and holds no run"), RunLock(directory):
        pass
    assert [p.name for p in directory.path.iterdir()] == ["thesis.tex"]


def test_path_that_is_a_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("x")
    with pytest.raises(RunError, match="is a file: expected a directory"), RunLock(RunDirectory(path)):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_unwritable_directory(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="Permission denied.*--out"), RunLock(RunDirectory(tmp_path / "run")):
        pass


def test_unwritable_file_system():
    with pytest.raises(RunError, match="cannot write to run directory"), RunLock(RunDirectory("/proc/dse-run")):
        pass


def test_second_process_is_refused_by_name(directory):
    code = (
        "import sys; from dse.runs.store import *\n"
        "from dse.errors import RunError\n"
        "try:\n    RunLock(RunDirectory(sys.argv[1])).__enter__()\n"
        "except RunError as error: sys.exit(str(error))"
    )
    with RunLock(directory):
        result = subprocess.run(
            [sys.executable, "-c", code, str(directory.path)], capture_output=True, text=True, check=False
        )
    assert result.returncode == 1
    assert f"in use by process {os.getpid()} on " in result.stderr
    with RunLock(directory):
        pass


def test_replace_file_keeps_the_old_content_when_the_disk_is_full(tmp_path, monkeypatch):
    path = tmp_path / "front.csv"
    replace_file(path, "old")

    def full(fd):
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunError, match="disk is full.*repeat the same command"):
            replace_file(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["front.csv"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_file_system_without_locks(directory, monkeypatch, number):
    def flock(fd, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(RunError, match="cannot lock .*Choose a directory on another disk"), RunLock(directory):
        pass


@pytest.mark.parametrize("name", ["open", "ftruncate", "pwrite"])
def test_read_only_file_system(directory, monkeypatch, name):
    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    directory.path.mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, name, refuse)
        with pytest.raises(RunError, match="Read-only file system.*--out"), RunLock(directory):
            pass
    with RunLock(directory):
        pass


def test_where_locks_end_at_the_machine_another_one_is_told(directory, caplog):
    with RunLock(directory):
        pass
    assert (directory.path / LOCK_FILE).read_bytes() == b""
    (directory.path / LOCK_FILE).write_text("process 7 on elsewhere\n")  # as one that was killed leaves it
    with RunLock(directory):
        assert "in use by process 7 on elsewhere" in caplog.text
    caplog.clear()
    with RunLock(directory):
        assert not caplog.text


def test_the_clock_may_jump_while_a_lock_is_waited_for(directory, monkeypatch):
    monkeypatch.setattr("time.time", lambda: -1e9)
    with RunLock(directory):
        assert lock_holder(directory.path) == f"process {os.getpid()} on {socket.gethostname()}"
    assert lock_holder(directory.path) is None
