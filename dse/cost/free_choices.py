"""The accelerator whose layers each take one of several choices, more than a multiplier alone says.

    E = SUM_l N_l w_lc e_c(l)

The figure `N_l w_lc e_c` of every layer and choice is known beforehand; see `dse.cost.neurons`, where neurons share two
multipliers, and `dse.cost.sparsity`, where zeros may be skipped.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dse.cost.accelerators import Designs, Workload
from dse.cost.energy import check_assignments


@dataclass(frozen=True, eq=False)
class FreeChoices:
    """Any choice in any layer, one layer at a time; see `dse.cost.accelerators.Accelerator`.

    Attributes:
        workload: of the network and the library that the choices are made of.
        layer_energy_rel: what a choice costs in a layer for one input sample, in multiplications of the exact
            multiplier, float64 [n_layers, n_choices].
        layer_energy_pj: the same in pJ; NaN where the library's costs are not powers.
        layer_multiplications: that a choice leaves to do in a layer, float64 [n_layers, n_choices].
    """

    workload: Workload
    layer_energy_rel: NDArray[np.float64]
    layer_energy_pj: NDArray[np.float64]
    layer_multiplications: NDArray[np.float64]
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
        return self.workload.rate_per_s / self._total(designs, self.layer_multiplications)

    def _total(self, designs: Designs, by_layer: NDArray[np.float64]) -> NDArray[np.float64]:
        n_layers, n_choices = by_layer.shape
        assignments = check_assignments(designs.assignments, n_layers=n_layers, n_multipliers=n_choices)
        return by_layer[np.arange(n_layers), assignments].sum(axis=1)
