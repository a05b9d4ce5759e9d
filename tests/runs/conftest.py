"""Runs on fakes: no network, no torch, milliseconds."""

import pytest

from dse.config import parse_config
from dse.testing.fakes import FakeEvaluator, use_fakes


@pytest.fixture
def evaluator(monkeypatch):
    """The evaluator that every run of the test gets."""
    fake = FakeEvaluator()
    use_fakes(monkeypatch, fake)
    return fake


@pytest.fixture
def config():
    return parse_config("[search]\npopulation_size = 8\ngenerations = 4")
