"""A design with pruned layers as a network of its own."""

import numpy as np
import torch
from numpy.typing import NDArray

from dse.errors import NetworkError
from dse.multipliers.library import Library
from dse.multipliers.multiplier import Multiplier
from dse.recovery.pruned import PrunedBank
from dse.recovery.switchable import PointParameters, SwitchableNetwork, with_problems
from dse.simulation.zero_weights import skipping_zeros


def pruned_network(
    bank: PrunedBank, assignment: NDArray[np.int64], *, device: torch.device | None = None
) -> SwitchableNetwork:
    """One operating point that computes what `bank` does, with the weights that are left.

    Where zeros are skipped, its library has multipliers whose column of the zero code is exact: a simulator that looks
    every product up then adds nothing for them.

    Args:
        bank: gives the parameters.
        assignment: int64 `[n_layers]`.
        device: where it runs; by default as the operators of `bank`.

    Raises:
        NetworkError: zeros are skipped, and weights have several zero codes.
    """
    chosen = [int(choice) for choice in assignment]
    parameters = [bank.parameters(layer, choice) for layer, choice in enumerate(chosen)]
    multipliers = [_multiplier(bank, choice) for choice in chosen]
    exact = bank.bank.library[bank.bank.library.exact_index]
    library = Library([exact, *dict.fromkeys(m for m in multipliers if m != exact)], name="pruned")
    point = PointParameters(
        np.array([library.index(m.name) for m in multipliers], dtype=np.int64),
        *(tuple(getattr(p, name) for p in parameters) for name in ("scale", "bias", "slope")),
    )
    return SwitchableNetwork(
        with_problems(bank.network, [p.problem for p in parameters]), library, [point],
        origin=bank.network.fingerprint(), backend=bank.bank.backend, device=bank.device if device is None else device,
    )  # fmt: skip


def _multiplier(bank: PrunedBank, choice: int) -> Multiplier:
    """What a table must hold so that looking every product up gives what the choice computes."""
    multiplier = bank.bank.library[bank.library.choices[choice].multiplier]
    if not bank.skips_zeros:
        return multiplier
    zero_codes = torch.cat([layer.problem.w_zero_point for layer in bank.network.integer_layers]).unique().tolist()
    if len(zero_codes) > 1:
        raise NetworkError(
            f"weights have {len(zero_codes)} different zero codes, and skipping them is one table only where they have "
            "one: use scheme 'unsigned-centered' or 'signed-symmetric'"
        )
    return skipping_zeros(multiplier, zero_codes[0])
