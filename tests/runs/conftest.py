"""Runs on fakes: no network, no torch, milliseconds."""

import pandas as pd
import pytest

from dse.config import parse_config
from dse.runs.runner import run
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


def written_front(path, columns):
    """A run whose front is written by hand; with `memory_rel` among the columns memory is an objective of it."""
    run(parse_config("[search]\npopulation_size = 4\ngenerations = 1"), path)
    rows = pd.read_csv(path / "front.csv", dtype={"assignment": str}).tail(1)
    front = pd.concat([rows] * len(columns["accuracy"]), ignore_index=True)
    saved = [100 * (1 - energy) for energy in columns["energy_rel"]]
    is_exact = [False] * (len(front) - 1) + [True]
    front.assign(energy_saved_pct=saved, is_exact=is_exact, **columns).to_csv(path / "front.csv", index=False)
    if "memory_rel" in columns:
        resolved = path / "resolved.toml"
        pair = 'objectives = ["energy", "accuracy"]'
        assert pair in resolved.read_text()
        resolved.write_text(resolved.read_text().replace(pair, 'objectives = ["energy", "accuracy", "memory"]'))
