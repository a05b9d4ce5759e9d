"""dse.runs.characterization: files of a characterization."""

import numpy as np
import pandas as pd
import pytest

from dse.config import load_config
from dse.errors import ConfigError
from dse.robustness.neuron_scores import LayerResilience, Resilience
from dse.runs.characterization import (
    CharacterizationDirectory,
    characterize_config,
    layers_table,
    positions_table,
)

CONFIG = load_config(None, {"data.calibration_images": 32})


class Watch:
    def __init__(self):
        self.starts, self.batches = [], []

    def on_start(self, start):
        self.starts.append(start)

    def on_batch(self, n_done, n_total):
        self.batches.append((n_done, n_total))


def test_files_hold_what_is_returned(tmp_path):
    watch = Watch()
    found = characterize_config(CONFIG, tmp_path, images=20, batch_size=16, observer=watch)
    directory = CharacterizationDirectory(tmp_path)
    pd.testing.assert_frame_equal(pd.read_csv(directory.table), found.to_dataframe())
    pd.testing.assert_frame_equal(pd.read_csv(directory.positions), positions_table(found))
    assert load_config(directory.config) == CONFIG
    assert watch.batches == [(16, 20), (20, 20)]
    assert (watch.starts[0].n_layers, watch.starts[0].n_neurons, watch.starts[0].n_images) == (5, 90, 20)


def test_no_more_images_than_there_are(tmp_path):
    assert characterize_config(CONFIG, tmp_path).n_images == 899  # the training part of digits


def test_refusals(tmp_path):
    with pytest.raises(ConfigError, match="images is 0: expected 1 or more"):
        characterize_config(CONFIG, tmp_path, images=0)
    with pytest.raises(ConfigError, match="device 'tpu'"):
        characterize_config(CONFIG, tmp_path, device="tpu")
    assert not list(tmp_path.iterdir())


def test_layers_in_a_few_columns():
    layers = (
        LayerResilience("a", np.arange(1.0, 12.0), np.ones(11), np.pad(np.ones((2, 2)), 1), 16),
        LayerResilience("b", np.array([0.0, 0.0]), np.ones(2), np.ones((1, 1)), 1),
    )
    table = layers_table(Resilience(layers, 5, 1.0, 1.0))
    assert table["layer"].tolist() == ["a", "b"]
    assert table["neurons"].tolist() == [11, 2]
    assert table["score_median"].tolist() == [6.0, 0.0]
    assert table["spread"][0] == pytest.approx(5.0)
    assert table["edge_ratio"][0] == 0.0
    assert table[["spread", "edge_ratio"]].iloc[1].isna().all()
