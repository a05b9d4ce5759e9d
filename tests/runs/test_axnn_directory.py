"""dse.runs.axnn_directory: options, tables and files of AxNN's loop."""

from types import SimpleNamespace

import pytest

from dse.errors import ConfigError
from dse.runs.axnn_directory import (
    AxnnDirectory,
    AxnnOptions,
    Progress,
    attempts_table,
    bounds_table,
    neurons_table,
    percent_text,
)
from dse.search.neurons import Attempt, AxnnSettings, LoopState

LOOP = LoopState(
    (1, 0, 2), (False,) * 3, 0.25, 2,
    (Attempt(0.005, 2, 0.97, True, 0.8), Attempt(0.005, 1, 0.9, False, 0.6), Attempt(0.1, 1, 0.9, True, 0.6)),
    ((1, 0, 0), (1, 0, 2)),
)  # fmt: skip
PROGRESS = Progress(LOOP, (0.3, 0.2, 0.1), 0.98, ({"bound_pct": 0.5}, {"bound_pct": 10.0}), (1.0, 2.0, 3.0))
LAYERS = [SimpleNamespace(name="a", weight_shape=(2, 1, 1, 1)), SimpleNamespace(name="b", weight_shape=(1, 2, 1, 1))]


def test_tables():
    attempts = attempts_table(PROGRESS)
    assert attempts["bound_pct"].tolist() == [0.5, 0.5, 10.0]
    assert attempts["time_s"].tolist() == [1.0, 2.0, 3.0]
    assert attempts["is_accepted"].tolist() == [True, False, True]
    neurons = neurons_table(PROGRESS, LAYERS, ("8", "5", "3"))
    assert neurons["layer"].tolist() == ["a", "a", "b"]
    assert neurons["neuron"].tolist() == [0, 1, 0]
    assert neurons["level_0.5"].tolist() == ["5", "8", "8"]
    assert neurons["level_10"].tolist() == ["5", "8", "3"]
    assert bounds_table(PROGRESS)["bound_pct"].tolist() == [0.5, 10.0]


def test_nothing_yet():
    empty = Progress(LoopState((0, 0, 0), (False,) * 3, 0.25), (0.0,) * 3, 0.98)
    assert attempts_table(empty).empty
    assert "accuracy" in attempts_table(empty).columns
    assert neurons_table(empty, LAYERS, ("8", "5")).columns.tolist() == ["layer", "neuron", "score"]


def test_progress_survives_plain_values():
    assert Progress.from_dict(PROGRESS.to_dict()) != PROGRESS  # eq=False
    assert Progress.from_dict(PROGRESS.to_dict()).to_dict() == PROGRESS.to_dict()


def test_names_of_files(tmp_path):
    directory = AxnnDirectory(tmp_path)
    assert [directory.network(bound).name for bound in (0.005, 0.1)] == ["bound_0.5.npz", "bound_10.npz"]
    assert percent_text(0.025) == "2.5"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bits": (4, 1)}, "a level of bits 1: expected 2 to 7"),
        ({"bits": (8, 4)}, "a level of bits 8: expected 2 to 7"),
        ({"bits": (4, 5)}, r"levels \(4, 5\): expected numbers of bits that fall"),
        ({"bits": ()}, r"levels \(\): expected numbers of bits that fall"),
        ({"training_images": 0}, "--training-images is 0"),
        ({"validation_images": 0}, "--validation-images is 0"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(ConfigError, match=message):
        AxnnOptions(**changes)


def test_options_as_plain_values():
    found = AxnnOptions(AxnnSettings((0.005, 0.1)), bits=(7, 4)).to_dict()
    assert found["bounds"] == [0.5, 10.0]
    assert found["levels"] == [7, 4]
    assert found["multipliers"] == []
    assert found["epochs"] == 2
    assert AxnnOptions(bits=(1,), multipliers=("u8_trunc8",)).to_dict()["levels"] == []
