"""The command `dse`, called in this process."""

import logging
import sys

import pytest

from dse import cli


@pytest.fixture(autouse=True)
def quiet_logger():
    logger = logging.getLogger("dse")
    before = logger.handlers[:], logger.level
    yield
    logger.handlers[:], logger.level = before
    logger.setLevel(before[1])


@pytest.fixture
def dse(monkeypatch, capsys):
    """Runs the command; returns exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["dse", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return call
