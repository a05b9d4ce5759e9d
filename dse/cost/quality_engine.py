"""The quality-configurable engine of AxNN: neurons at several precisions on one array, and what they cost.

S. Venkataramani, A. Ranjan, K. Roy, A. Raghunathan, "AxNN: energy-efficient neuromorphic systems using approximate
computing", ISLPED 2014: a 2-D array of neural compute units, a 1-D array of activation units, and a register that sets
the precision of the operands. The paper does not publish its energy equations; this one is ours. For every layer `l`
with `P_l` output positions a channel and every neuron `i` (output channel) at level `v(i)`:

    E = SUM_l SUM_i P_l ( K_l ( e_mul m[v(i)] + e_add a[v(i)] ) + e_act )  +  e_switch * SUM_l (levels used in l)

`m` and `a` are a level's energies relative to 8 bits. Precision scaling to `b` bits of `B = 8`: `m = (b/B)^2`, since a
multiplier's cells grow with both operands, and `a = b/B`. Neurons of a layer run in order of their level, so that the
register is written once for each level a layer uses.

Not counted: memory, which these levels do not change here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.errors import ConfigError, ShapeError

if TYPE_CHECKING:
    from dse.networks.layers import LayerInfo

FULL_BITS = 8
"""`B`, the precision of the exact integer network."""

MULTIPLICATION_PJ = 0.2
"""`e_mul`, 8 bits in 45 nm: M. Horowitz, "Computing's energy problem", ISSCC 2014, figure 1.1.9."""

ADDITION_PJ = 0.1
"""`e_add`, 32 bits (the accumulator) in 45 nm: likewise."""

ACTIVATION_PJ = 0.3
"""`e_act`, an output: rescaling and activation, taken as a multiplication and an addition of the above [ours]."""

SWITCH_PJ = 5.0
"""`e_switch`: writing the precision register and clocking it into a 16 x 16 array, 256 flip-flops of about 20 fJ; an
assumption of ours, to be replaced by that of the array at hand."""


@dataclass(frozen=True)
class Level:
    """What neurons may be lowered to.

    Attributes:
        name: of the multiplier that computes it.
        multiplication_rel: `m`, relative to the exact one.
        addition_rel: `a`, likewise.
    """

    name: str
    multiplication_rel: float
    addition_rel: float


def precision_level(name: str, bits: int) -> Level:
    """Operands of `bits` bits.

    >>> precision_level("p4", 4)
    Level(name='p4', multiplication_rel=0.25, addition_rel=0.5)
    """
    if not 2 <= bits <= FULL_BITS:
        raise ConfigError(f"a level of {bits} bits: expected 2 to {FULL_BITS}")
    return Level(name, (bits / FULL_BITS) ** 2, bits / FULL_BITS)


class QualityConfigurableEngine:
    """Energy of neuron-level designs of one network.

    Args:
        layers: in order of execution.
        levels: from exact to cheapest; the energies of a neuron must fall from each to the next.

    Attributes:
        levels: as given.
        n_neurons: of every layer, int64 `[n_layers]`.
    """

    def __init__(self, layers: Sequence["LayerInfo"], levels: Sequence[Level]) -> None:
        if len(levels) < 2:
            raise ConfigError(f"{len(levels)} levels: expected the exact one and at least one below it")
        self.levels = tuple(levels)
        self.n_neurons = np.array([layer.weight_shape[0] for layer in layers], dtype=np.int64)
        products = np.array([layer.n_multiplications for layer in layers], dtype=np.float64) / self.n_neurons
        positions = products / np.array([layer.fan_in for layer in layers], dtype=np.float64)
        product_pj = np.array([MULTIPLICATION_PJ * v.multiplication_rel + ADDITION_PJ * v.addition_rel for v in levels])
        rising = np.flatnonzero(np.diff(product_pj) >= 0)
        if rising.size:
            a, b = self.levels[rising[0]].name, self.levels[rising[0] + 1].name
            raise ConfigError(f"level {b} costs no less than {a} before it: give levels from exact to cheapest")
        self._layer_of = np.repeat(np.arange(len(layers)), self.n_neurons)
        self._arithmetic_pj = products[self._layer_of, None] * product_pj
        self._activation_pj = float((positions * self.n_neurons).sum()) * ACTIVATION_PJ

    @property
    def neuron_pj(self) -> NDArray[np.float64]:
        """Energy of every neuron's sums for one input sample in pJ at each level, `[n_neurons, n_levels]`."""
        return self._arithmetic_pj

    def energy_pj(self, designs: ArrayLike) -> NDArray[np.float64]:
        """Energy for one input sample in pJ, float64 `[n]`.

        Args:
            designs: level of every neuron, layer after layer, int `[n, n_neurons]`.
        """
        designs = self._checked(designs)
        arithmetic = np.take_along_axis(self._arithmetic_pj[None], designs[:, :, None], axis=2).sum((1, 2))
        return arithmetic + self._activation_pj + SWITCH_PJ * self._n_switches(designs)

    def energy_rel(self, designs: ArrayLike) -> NDArray[np.float64]:
        """Energy relative to the exact network on the same engine, float64 `[n]`."""
        exact = np.zeros((1, len(self._layer_of)), dtype=np.int64)
        return self.energy_pj(designs) / self.energy_pj(exact)

    def _n_switches(self, designs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Levels used, summed over layers, int64 `[n]`."""
        used = np.zeros((len(designs), len(self.n_neurons), len(self.levels)), dtype=bool)
        used[np.arange(len(designs))[:, None], self._layer_of, designs] = True
        return used.sum((1, 2))

    def _checked(self, designs: ArrayLike) -> NDArray[np.int64]:
        designs = np.asarray(designs)
        if designs.ndim != 2 or designs.shape[1] != len(self._layer_of) or designs.dtype.kind not in "iu":
            raise ShapeError(
                f"expected integer levels [n, {len(self._layer_of)}], got {designs.dtype} {list(designs.shape)}"
            )
        if designs.size and not 0 <= designs.min() <= designs.max() < len(self.levels):
            raise ShapeError(f"levels must be in 0..{len(self.levels) - 1}")
        return designs.astype(np.int64)
