"""The accelerator whose layers may split their neurons between two multipliers.

    E = SUM_l N_l * ((1 - k_l/C_l) * e_high(l) + k_l/C_l * e_low(l))

with `N_l` multiplications and `C_l` neurons of layer `l`, `k_l` of which go through the cheaper multiplier: all neurons
of a layer multiply equally often. Switching between the two costs nothing here, see `dse.cost.quality_engine`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dse.cost.accelerators import Designs, Free, Workload, make_accelerator
from dse.cost.energy import check_assignments
from dse.cost.neuron_choices import NeuronChoices
from dse.errors import ConfigError

if TYPE_CHECKING:
    from dse.networks.layers import LayerInfo


@dataclass(frozen=True, eq=False)
class FreeNeurons:
    """Any choice in any layer, one layer at a time; see `dse.cost.accelerators.Accelerator`.

    Attributes:
        workload: of the network and the library that the choices are made of.
        layer_energy_rel: what a choice costs in a layer for one input sample, in multiplications of the exact
            multiplier, float64 [n_layers, n_choices].
        layer_energy_pj: the same in pJ; NaN where the library's costs are not powers.
    """

    workload: Workload
    layer_energy_rel: NDArray[np.float64]
    layer_energy_pj: NDArray[np.float64]
    name: str = "free"
    n_tiles: None = None
    is_concurrent: bool = False

    def energy_rel(self, designs: Designs) -> NDArray[np.float64]:
        """See `Accelerator`."""
        return self._total(designs, self.layer_energy_rel) / self.workload.total

    def energy_pj(self, designs: Designs) -> NDArray[np.float64]:
        """See `Accelerator`."""
        return self._total(designs, self.layer_energy_pj)

    def throughput(self, designs: Designs) -> NDArray[np.float64]:
        """See `Accelerator`."""
        return self.workload.sequential_throughput(designs)

    def _total(self, designs: Designs, layer_energy: NDArray[np.float64]) -> NDArray[np.float64]:
        n_layers, n_choices = layer_energy.shape
        assignments = check_assignments(designs.assignments, n_layers=n_layers, n_multipliers=n_choices)
        return layer_energy[np.arange(n_layers), assignments].sum(axis=1)


def make_neuron_accelerator(
    text: str, layers: Sequence["LayerInfo"], choices: NeuronChoices, *, clock_mhz: float | None = None
) -> FreeNeurons:
    """Accelerator for choices of neurons.

    Args:
        text: "free".
        layers: with `n_multiplications` and `weight_shape`, whose first entry counts neurons.
        choices: what assignments index.
        clock_mhz: see `make_accelerator`.

    Raises:
        ConfigError: a tiled accelerator, or what `make_accelerator` refuses.
    """
    plain = make_accelerator(text, layers, choices.library, clock_mhz=clock_mhz)
    if not isinstance(plain, Free):
        raise ConfigError(
            f"accelerator {text!r} with neuron shares: a tile holds one multiplier, and a layer that divides its "
            "neurons would need two; expected accelerator 'free', or no neuron shares"
        )
    workload = plain.workload
    low_weights = choices.low_weights([np.ones(layer.weight_shape[0]) for layer in layers])
    counts = workload.n_multiplications[:, None]
    return FreeNeurons(
        workload,
        layer_energy_rel=counts * choices.mixed(workload.energy_rel, low_weights),
        layer_energy_pj=counts * choices.mixed(workload.energy_pj, low_weights),
    )
