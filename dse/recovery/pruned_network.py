"""A design with pruned layers as a network of its own, which can run, be exported, and learn."""

import numpy as np
import torch
from numpy.typing import NDArray

from dse.errors import NetworkError, ShapeError
from dse.multipliers.library import Library
from dse.multipliers.multiplier import Multiplier
from dse.networks.convert import IntegerNetwork
from dse.recovery.operators import OperatorParameters
from dse.recovery.pruned import PrunedBank, sparing_zeros
from dse.recovery.switchable import with_problems
from dse.simulation.zero_weights import skipping_zeros
from dse.sparse.pruning import is_zero


class PrunedDesign:
    """One design of a `PrunedBank`; what learning needs of an `OperatorBank`, and `switchable_network(design,
    design.rows)`, which computes what the bank does.

    Where zeros are skipped, its library has multipliers whose column of the zero code is exact: a simulator that looks
    every product up then adds nothing for them.

    Args:
        bank: gives the parameters.
        assignment: int64 `[n_layers]`.

    Attributes:
        network: with the weights that are left, not tuned. Its fingerprint tells which these are.
        library: multipliers of the design, and the exact one.
        rows: the design as indices into `library`, int64 `[1, n_layers]`.
        whole: the operators of the network with all its weights.
        device, backend, recovery, calibration_fingerprint: of `whole`.

    Raises:
        NetworkError: zeros are skipped, and weights have several zero codes.
    """

    def __init__(self, bank: PrunedBank, assignment: NDArray[np.int64]):
        self._bank, self._chosen = bank, [int(choice) for choice in assignment]
        self.whole = whole = bank.whole
        self.device, self.backend = whole.device, whole.backend
        self.recovery, self.calibration_fingerprint = whole.recovery, whole.calibration_fingerprint
        choices, exact = bank.library.choices, whole.library[whole.library.exact_index]
        levels = [int(choices.level[choice]) for choice in self._chosen]
        problems = [bank.pruned(index, level) for index, level in enumerate(levels)]
        multipliers = [_multiplier(bank, choice) for choice in self._chosen]
        self.network = with_problems(bank.network, problems)
        self.library = Library([exact, *dict.fromkeys(m for m in multipliers if m != exact)], name="pruned")
        self.rows = np.array([[self.library.index(m.name) for m in multipliers]], dtype=np.int64)
        self._moved_network: IntegerNetwork | None = None

    @property
    def moved_network(self) -> IntegerNetwork:
        """See `OperatorBank`."""
        if self._moved_network is None:
            self._moved_network = self.network.to(self.device)
        return self._moved_network

    def parameters(self, layer_index: int, multiplier_index: int) -> OperatorParameters:
        """See `OperatorBank`; of the multipliers of the design only.

        Raises:
            ShapeError: another multiplier.
        """
        own = int(self.rows[0, layer_index])
        if multiplier_index != own:
            raise ShapeError(
                f"layer {self.network.layers[layer_index].name!r} of this design has multiplier {own}: expected that, "
                f"not {multiplier_index}"
            )
        return self._bank.parameters(layer_index, self._chosen[layer_index])

    def histogram(self, layer_index: int) -> np.ndarray:
        """See `OperatorBank`."""
        return self.whole.histogram(layer_index)

    def weight_map(self, layer_index: int, multiplier_index: int) -> torch.Tensor | None:
        """See `OperatorBank`; zero stays zero, and a code that would become zero stays as well.

        Raises:
            NetworkError: the layer's weights have several zero codes.
        """
        multiplier = self._bank.library.choices.multiplier[self._chosen[layer_index]]
        found = self.whole.weight_map(layer_index, int(multiplier))
        return None if found is None else sparing_zeros(found, torch.tensor([self._zero_index(layer_index)]))

    def stays_zero(self, layer_index: int) -> torch.Tensor | None:
        """See `OperatorBank`: all weights that are zero.

        Raises:
            NetworkError: the layer's weights have several zero codes.
        """
        self._zero_index(layer_index)
        return is_zero(self.network.integer_layers[layer_index].problem)

    def _zero_index(self, layer_index: int) -> int:
        problem = self.network.integer_layers[layer_index].problem
        zero_codes = problem.w_zero_point.unique().tolist()
        if len(zero_codes) > 1:
            raise NetworkError(
                f"weights of layer {self.network.layers[layer_index].name!r} have {len(zero_codes)} different zero "
                "codes, and those that stay zero need one: use scheme 'unsigned-centered' or 'signed-symmetric'"
            )
        return zero_codes[0] - problem.w_low


def _multiplier(bank: PrunedBank, choice: int) -> Multiplier:
    """What a table must hold so that looking every product up gives what the choice computes."""
    multiplier = bank.whole.library[bank.library.choices[choice].multiplier]
    if not bank.skips_zeros:
        return multiplier
    zero_codes = torch.cat([layer.problem.w_zero_point for layer in bank.network.integer_layers]).unique().tolist()
    if len(zero_codes) > 1:
        raise NetworkError(
            f"weights have {len(zero_codes)} different zero codes, and skipping them is one table only where they have "
            "one: use scheme 'unsigned-centered' or 'signed-symmetric'"
        )
    return skipping_zeros(multiplier, zero_codes[0])
