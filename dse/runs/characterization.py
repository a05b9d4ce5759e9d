"""Resilience of a configured network's neurons, as files.

    resilience.toml   the configuration
    resilience.csv    one row a neuron
    positions.csv     one row a layer and position: mean magnitude of the slopes there
    resilience.png    scores of each layer (drawn by `dse.api.neurons`)
    positions.png     maps of each layer, where one has positions

Repeated with other settings, a characterization replaces what is there.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from dse.config import RunConfig, to_toml
from dse.errors import ConfigError
from dse.files import replace_file
from dse.robustness.neuron_scores import Resilience
from dse.runs.preparation import Inputs, load_data, load_network, make_integer_network, training_images
from dse.runs.store import write_table

DEFAULT_IMAGES = 1000
"""Training images that neurons are characterized on."""


@dataclass(frozen=True)
class CharacterizationStart:
    """What is about to happen: counts, and where it is written."""

    path: str
    network: str
    dataset: str
    n_layers: int
    n_neurons: int
    n_images: int


class CharacterizationObserver(Protocol):
    """Told how a characterization goes on; must not change anything."""

    def on_start(self, start: CharacterizationStart) -> None:
        """Everything is loaded."""

    def on_batch(self, n_done: int, n_total: int) -> None:
        """So many images are done."""


class SilentCharacterization(CharacterizationObserver):
    """The observer that does nothing: the methods of the protocol are empty."""


class CharacterizationDirectory:
    """The files of a characterization."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @property
    def config(self) -> Path:
        return self.path / "resilience.toml"

    @property
    def table(self) -> Path:
        return self.path / "resilience.csv"

    @property
    def positions(self) -> Path:
        return self.path / "positions.csv"

    @property
    def picture(self) -> Path:
        return self.path / "resilience.png"

    @property
    def positions_picture(self) -> Path:
        return self.path / "positions.png"


def characterize_config(
    config: RunConfig,
    path: Path,
    *,
    images: int | None = None,
    batch_size: int | None = None,
    device: str = "cpu",
    inputs: Inputs | None = None,
    observer: CharacterizationObserver | None = None,
) -> Resilience:
    """Characterizes the exact integer network of a configuration and writes the tables. Imports torch.

    Args:
        config: what to load.
        path: the directory, made where absent.
        images: training images, 1000 by default, or as many as there are.
        batch_size: images at once; the result does not depend on it.
        device: "auto", "cpu", "cuda" or "cuda:N".
        inputs: objects that replace what the configuration names.
        observer: told how it goes on.

    Raises:
        DseError: the network or the data cannot be used.
    """
    from dse.robustness.resilience import BATCH_SIZE, characterize_network
    from dse.simulation.devices import find_device

    where = find_device(device)
    inputs, observer = inputs or Inputs(), observer or SilentCharacterization()
    n_images = DEFAULT_IMAGES if images is None else images
    if n_images < 1:
        raise ConfigError(f"images is {n_images}: expected 1 or more")
    is_signed = config.library.signed if inputs.library is None else inputs.library.is_signed
    network, splits = load_network(config, inputs), load_data(config, inputs)
    integer_network = make_integer_network(config, network, splits.calibration, is_signed=is_signed)
    training = training_images(config, inputs, splits.calibration, n_images)
    observer.on_start(
        CharacterizationStart(
            path=str(path), network=config.network.name, dataset=config.data.dataset,
            n_layers=integer_network.n_layers, n_images=training.n_images,
            n_neurons=sum(info.weight_shape[0] for info in integer_network.layers),
        )
    )  # fmt: skip
    found = characterize_network(
        integer_network, training, batch_size=BATCH_SIZE if batch_size is None else batch_size, device=where,
        on_batch=observer.on_batch,
    )  # fmt: skip
    directory = CharacterizationDirectory(path)
    replace_file(directory.config, f"# on {training.n_images} training images\n{to_toml(config)}")
    write_table(directory.table, found.to_dataframe())
    write_table(directory.positions, positions_table(found))
    return found


def positions_table(found: Resilience) -> pd.DataFrame:
    """One row a layer and position. Columns: layer, row, column, score."""
    tables = []
    for layer in found.layers:
        rows, columns = np.indices(layer.position_map.shape)
        values = {"row": rows.ravel(), "column": columns.ravel(), "score": layer.position_map.ravel()}
        tables.append(pd.DataFrame({"layer": layer.name, **values}))
    return pd.concat(tables, ignore_index=True)


def layers_table(found: Resilience) -> pd.DataFrame:
    """One row a layer.

    Columns: layer, neurons, score_median, spread (90th over 10th percentile of the scores; NaN where the latter is 0),
    edge_ratio (mean map value on the border over that in the interior; NaN without an interior).
    """
    low, median, high = np.array([np.quantile(scores, (0.1, 0.5, 0.9)) for scores in found.scores]).T
    return pd.DataFrame(
        {
            "layer": [layer.name for layer in found.layers],
            "neurons": [len(scores) for scores in found.scores],
            "score_median": median,
            "spread": np.divide(high, low, out=np.full_like(high, np.nan), where=low > 0),
            "edge_ratio": found.edge_ratios(),
        }
    )
