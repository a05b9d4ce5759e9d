"""Files are old or new, never a part, and failures say what to do."""

import errno
import os

import pytest

from dse.errors import RunError
from dse.files import replace_file


def test_text_and_bytes_replace_what_was_there(tmp_path):
    path = tmp_path / "new" / "file"
    for data in ("Zürich\n", b"\x00\xff"):
        replace_file(path, data)
        assert path.read_bytes() == (data.encode() if isinstance(data, str) else data)
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize(
    ("number", "message"), [(errno.ENOSPC, "disk is full.*repeat the same command"), (errno.EACCES, "permissions")]
)
def test_failures_leave_the_old_file_and_no_pieces(tmp_path, monkeypatch, number, message):
    path = tmp_path / "file"
    replace_file(path, b"old")

    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(RunError, match=message):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_an_interrupt_leaves_no_pieces(tmp_path, monkeypatch):
    def interrupt(fd):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        replace_file(tmp_path / "file", b"new")
    assert os.listdir(tmp_path) == []
