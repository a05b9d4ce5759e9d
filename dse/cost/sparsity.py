"""The accelerator whose layers may be pruned.

    E = SUM_l N_l d_l e_m(l),   d_l = share of non-zero weights where zeros are skipped, 1 where they are multiplied

Every weight of a layer is multiplied equally often. Reading and decoding weights costs nothing here: only
multiplications are counted. [ours] Zeros that dCSR inserts (see `dse.sparse.filling`) are skipped as others are, in
cost and in sums: by an engine that looks at the values it reads. One that multiplies all that is stored would need
more, 0.04 % of the exact energy at most on the fronts of ResNet-20 up to 80 % of zeros, but two fifths more products in
random matrices of 1280 columns and 95 % of zeros.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dse.cost.accelerators import Free, make_accelerator
from dse.cost.free_choices import FreeChoices
from dse.cost.sparse_choices import SparseChoices
from dse.errors import ConfigError, ShapeError

if TYPE_CHECKING:
    from dse.networks.layers import LayerInfo


def make_sparse_accelerator(
    text: str,
    layers: Sequence["LayerInfo"],
    choices: SparseChoices,
    densities: NDArray[np.float64],
    *,
    clock_mhz: float | None = None,
) -> FreeChoices:
    """Accelerator for choices of sparsity.

    Args:
        text: "free".
        layers: with `n_multiplications`.
        choices: what assignments index.
        densities: share of weights that are not zero, in [0, 1], float64 [n_layers, n_levels].
        clock_mhz: see `make_accelerator`.

    Raises:
        ConfigError: a tiled accelerator, or what `make_accelerator` refuses.
    """
    plain = make_accelerator(text, layers, choices.library, clock_mhz=clock_mhz)
    if not isinstance(plain, Free):
        raise ConfigError(
            f"accelerator {text!r} with sparsity levels: they are known for accelerator 'free' only; expected 'free', "
            "or no sparsity levels"
        )
    if densities.shape != (len(layers), len(choices.levels_pct)):
        raise ShapeError(
            f"densities have shape {densities.shape}: expected ({len(layers)}, {len(choices.levels_pct)}), layers by "
            "levels"
        )
    workload = plain.workload
    is_skipped = choices.zero_weights == "skipped"
    shares = densities[:, choices.level] if is_skipped else np.ones((len(layers), len(choices)))
    counts = workload.n_multiplications[:, None] * shares
    return FreeChoices(
        workload,
        layer_energy_rel=counts * workload.energy_rel[choices.multiplier],
        layer_energy_pj=counts * workload.energy_pj[choices.multiplier],
        layer_multiplications=counts,
    )
