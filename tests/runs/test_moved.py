"""A run directory that was copied to another machine, where weights, data and multipliers lie elsewhere."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import dse
from dse.config import load_config, parse_config
from dse.errors import RunError
from dse.networks.zoo import create_network
from dse.runs.runner import run
from dse.testing.fakes import FakeEvaluator, use_fakes
from dse.testing.tiny import randomize

SIZES = {"population_size": 4, "generations": 2, "plain": True, "threads": 1, "calibration_images": 16}


@pytest.fixture
def files(tmp_path):
    """The folder of weights and data on one machine."""
    place, rng = tmp_path / "here", np.random.default_rng(0)
    (place / "data").mkdir(parents=True)
    torch.save(randomize(create_network("digits_cnn")).state_dict(), place / "weights.pt")
    np.save(place / "data" / "images.npy", rng.integers(0, 256, (80, 8, 8, 1)).astype(np.uint8))
    np.save(place / "data" / "labels.npy", np.arange(80) % 10)
    return place


def options(place):
    return SIZES | {
        "network": "digits_cnn", "weights": place / "weights.pt", "dataset": "numpy", "data": place / "data",
        "preprocessing": "unit",
    }  # fmt: skip


def test_it_continues_with_other_paths(tmp_path, files, monkeypatch):
    whole = dse.explore(**options(files), out=tmp_path / "whole")
    moved, copy = tmp_path / "there", tmp_path / "copy"
    shutil.copytree(tmp_path / "whole", copy)
    (copy / "front.csv").unlink()
    files.rename(moved)
    found = dse.explore(**options(moved), out=copy)
    assert (copy / "front.csv").read_bytes() == (whole.path / "front.csv").read_bytes()
    assert (copy / "evaluations.jsonl").read_bytes() == (whole.path / "evaluations.jsonl").read_bytes()
    assert found.config.network.weights == moved / "weights.pt"  # where other commands look for it
    dse.finetune(copy, points="0", epochs=1, batch_size=8, training_images=16, validation_images=8)


def test_other_content_is_refused_there(tmp_path, files):
    dse.explore(**options(files), out=tmp_path / "one")
    before = (tmp_path / "one" / "resolved.toml").read_bytes()
    shutil.copytree(files, tmp_path / "other")
    torch.save(randomize(create_network("digits_cnn"), seed=1).state_dict(), tmp_path / "other" / "weights.pt")
    with pytest.raises(RunError, match="cannot be continued, what it measured has changed.*network was"):
        dse.explore(**options(files) | {"weights": tmp_path / "other" / "weights.pt"}, out=tmp_path / "one")
    assert (tmp_path / "one" / "resolved.toml").read_bytes() == before


def test_a_finished_run_says_where_things_are_now(tmp_path, monkeypatch):
    use_fakes(monkeypatch, FakeEvaluator())
    text = "[search]\npopulation_size = 8\ngenerations = 2\n[network]\nweights = '{}'"
    run(parse_config(text.format("/a/w.pt")), tmp_path)
    front = (tmp_path / "front.csv").read_bytes()
    run(parse_config(text.format("/b/w.pt")), tmp_path)
    assert load_config(tmp_path / "resolved.toml").network.weights == Path("/b/w.pt")
    assert (tmp_path / "front.csv").read_bytes() == front


def test_the_clock_may_go_back(tmp_path, monkeypatch):
    use_fakes(monkeypatch, FakeEvaluator())
    config = parse_config("[search]\npopulation_size = 8\ngenerations = 3")
    run(config, tmp_path)
    (tmp_path / "front.csv").unlink()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"started": "2199-01-01T00:00:00+00:00"}))
    monkeypatch.setattr("time.time", lambda: 0.0)
    found = run(config, tmp_path)
    assert found.is_finished
    assert (found.generations["time_s"] >= 0).all()
