"""The accelerator whose layers may split their neurons between two multipliers.

    E = SUM_l N_l * ((1 - k_l/C_l) * e_high(l) + k_l/C_l * e_low(l))

with `N_l` multiplications and `C_l` neurons of layer `l`, `k_l` of which go through the cheaper multiplier: all neurons
of a layer multiply equally often. Switching between the two costs nothing here, see `dse.cost.quality_engine`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dse.cost.accelerators import Free, make_accelerator
from dse.cost.free_choices import FreeChoices
from dse.cost.neuron_choices import NeuronChoices
from dse.errors import ConfigError

if TYPE_CHECKING:
    from dse.networks.layers import LayerInfo


def make_neuron_accelerator(
    text: str, layers: Sequence["LayerInfo"], choices: NeuronChoices, *, clock_mhz: float | None = None
) -> FreeChoices:
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
    return FreeChoices(
        workload,
        layer_energy_rel=counts * choices.mixed(workload.energy_rel, low_weights),
        layer_energy_pj=counts * choices.mixed(workload.energy_pj, low_weights),
        layer_multiplications=np.broadcast_to(counts, (len(layers), len(choices))),
    )
