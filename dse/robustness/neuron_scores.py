"""What a resilience characterization finds. No torch: searches and reports read these.

A neuron is an output channel of an integer layer. Two figures order neurons: the score, which is the paper's, and the
sensitivity, which is ours; see `dse.robustness.resilience`.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dse.errors import ConfigError, unknown_name

FIGURES = ("score", "sensitivity")
"""By which neurons are ordered."""


@dataclass(frozen=True, eq=False)
class LayerResilience:
    """The neurons of a layer.

    Attributes:
        name: of the layer.
        scores: mean over images and positions of the magnitude of the slope of an image's loss by the neuron's output,
            float64 `[C_out]`; 0 for a layer that does not run.
        output_std: standard deviation of the outputs over images and positions, float64 `[C_out]`.
        position_map: the same mean over images and channels, float64 `[H_out, W_out]`; `[1, 1]` of a Linear layer.
        n_positions: outputs of a neuron for one image.
    """

    name: str
    scores: NDArray[np.float64]
    output_std: NDArray[np.float64]
    position_map: NDArray[np.float64]
    n_positions: int

    @property
    def sensitivity(self) -> NDArray[np.float64]:
        """[ours] What errors relative to a neuron's spread do to the loss, float64 `[C_out]`.

        `score * output_std * sqrt(n_positions)`: independent errors of `e` standard deviations at every position move
        the loss, to first order, by a standard deviation of `e` times about this.
        """
        return self.scores * self.output_std * sqrt(self.n_positions)

    @property
    def edge_ratio(self) -> float:
        """See `edge_ratio`."""
        return edge_ratio(self.position_map)


@dataclass(frozen=True, eq=False)
class Resilience:
    """All neurons of a network.

    Attributes:
        layers: in order of execution.
        n_images: that this was measured on.
        loss: mean cross entropy of these images.
        accuracy: share of them classified correctly.
    """

    layers: tuple[LayerResilience, ...]
    n_images: int
    loss: float
    accuracy: float

    @property
    def scores(self) -> tuple[NDArray[np.float64], ...]:
        """Of every layer, float64 `[C_out]`."""
        return tuple(layer.scores for layer in self.layers)

    @property
    def n_neurons(self) -> int:
        """Of all layers."""
        return sum(len(layer.scores) for layer in self.layers)

    def sensitivity(self, layer: int) -> NDArray[np.float64]:
        """Of the neurons of a layer, float64 `[C_out]`; see `LayerResilience.sensitivity`."""
        return self.layers[layer].sensitivity

    def order(self, layer: int, by: str = "score") -> NDArray[np.int64]:
        """Neurons of a layer, the most resilient first, int64 `[C_out]`; of equal ones the first comes first."""
        return np.argsort(self._figures(by)[layer], kind="stable")

    def ranks(self, by: str = "score") -> tuple[NDArray[np.int64], ...]:
        """Rank of every neuron among all of the network, by layer int64 `[C_out]`; 0 is the most resilient.

        Args:
            by: "score" or "sensitivity". Of equal neurons the earlier one is taken for more resilient.
        """
        figures = self._figures(by)
        ranks = np.empty(self.n_neurons, dtype=np.int64)
        ranks[np.argsort(np.concatenate(figures), kind="stable")] = np.arange(self.n_neurons)
        ends = np.cumsum([len(figure) for figure in figures])
        return tuple(np.split(ranks, ends[:-1]))

    def to_dataframe(self) -> pd.DataFrame:
        """One row a neuron.

        Columns: layer, neuron, score, output_std, sensitivity, rank (by score, among all neurons).
        """
        tables = [
            pd.DataFrame(
                {
                    "layer": layer.name,
                    "neuron": np.arange(len(layer.scores)),
                    "score": layer.scores,
                    "output_std": layer.output_std,
                    "sensitivity": layer.sensitivity,
                    "rank": ranks,
                }
            )
            for layer, ranks in zip(self.layers, self.ranks(), strict=True)
        ]
        return pd.concat(tables, ignore_index=True)

    def edge_ratios(self) -> NDArray[np.float64]:
        """`edge_ratio` of every layer, float64 `[n_layers]`."""
        return np.array([layer.edge_ratio for layer in self.layers])

    def _figures(self, by: str) -> list[NDArray[np.float64]]:
        if by not in FIGURES:
            raise ConfigError(unknown_name("order of neurons", by, FIGURES))
        return [layer.scores if by == "score" else layer.sensitivity for layer in self.layers]


def edge_ratio(position_map: NDArray[np.float64], width: int = 1) -> float:
    """Mean of a map on its border over the mean in its interior; below 1 where neurons at the edge are more resilient.

    Args:
        position_map: float64 `[H, W]`.
        width: of the border, 1 or more.

    Returns:
        NaN where there is no interior, or nothing in it.

    >>> edge_ratio(np.pad(np.full((2, 2), 4.0), 1, constant_values=1.0))
    0.25
    """
    if width < 1:
        raise ConfigError(f"a border of width {width}: expected 1 or more positions")
    interior = position_map[width:-width, width:-width]
    if interior.size == 0 or interior.mean() == 0:
        return float("nan")
    border_mean = (position_map.sum() - interior.sum()) / (position_map.size - interior.size)
    return float(border_mean / interior.mean())
