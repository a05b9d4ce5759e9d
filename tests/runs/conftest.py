"""Runs on fakes: no network, no torch, milliseconds."""

import pytest

from dse.config import parse_config
from dse.runs import preparation
from dse.testing.fakes import FakeEvaluator, fake_library


@pytest.fixture
def evaluator(monkeypatch):
    """The evaluator that every run of the test gets."""
    fake = FakeEvaluator()

    def evaluators(config, inputs, library):
        return fake, fake.with_split("report"), {"network": "n" * 64}

    monkeypatch.setattr(preparation, "_evaluators", evaluators)
    monkeypatch.setattr(preparation, "_library", lambda config: fake_library())
    return fake


@pytest.fixture
def config():
    return parse_config("[search]\npopulation_size = 8\ngenerations = 4")
