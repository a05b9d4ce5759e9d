"""Files of the cache are old or new, and no cache is no error."""

import os
from pathlib import Path

import pytest

from dse.disk_cache import cache_directory, keep


def test_cache_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("DSE_CACHE", str(tmp_path))
    assert cache_directory() == tmp_path
    monkeypatch.delenv("DSE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "dse"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_directory() == Path.home() / ".cache" / "dse"

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert os.path.isabs(cache_directory())


def test_keeps_and_replaces(tmp_path):
    path = tmp_path / "new" / "file"
    for data in (b"first", b"second"):
        keep(path, data)
        assert path.read_bytes() == data
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("function", ["os.replace", "pathlib.Path.mkdir"])
def test_failures_leave_the_old_file_and_no_pieces(tmp_path, monkeypatch, function):
    path = tmp_path / "file"
    keep(path, b"old")

    def fail(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(function, fail)
    keep(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]
