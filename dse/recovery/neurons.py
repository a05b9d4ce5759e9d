"""Operators of layers whose neurons (output channels) go through different multipliers.

All that an `OperatorBank` corrects belongs to one output channel: weights after tuning, scale, bias, slope. So a mixed
layer takes every channel from the operator of that channel's multiplier, and computes in that channel what that
operator computes, bit for bit.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dse.cost.neuron_choices import NeuronChoices
from dse.errors import ShapeError
from dse.networks.convert import IntegerNetwork
from dse.networks.layers import LayerOperator
from dse.recovery.operators import OperatorBank, OperatorParameters
from dse.recovery.packed_operators import MEMORY_BYTES, PackedOperators
from dse.simulation.channels import prepare_channels


@dataclass(frozen=True, eq=False)
class RankedChoices:
    """What the assignments of a network index; has of a `Library` what measuring and recording need.

    Attributes:
        choices: multipliers and composites.
        rankings: of every layer's neurons, the most resilient first, int64 `[C_out]` each.
    """

    choices: NeuronChoices
    rankings: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.choices)

    @property
    def rankings_fingerprint(self) -> str:
        """sha256, hexadecimal."""
        digest = hashlib.sha256()
        for ranking in self.rankings:
            digest.update(len(ranking).to_bytes(8, "little") + ranking.astype("<i8").tobytes())
        return digest.hexdigest()

    @property
    def fingerprint(self) -> str:
        """sha256, hexadecimal, of choices and rankings."""
        return hashlib.sha256(f"{self.choices.fingerprint}\n{self.rankings_fingerprint}".encode()).hexdigest()

    def multipliers(self, layer_index: int, choice_index: int) -> np.ndarray:
        """Library position of the multiplier of every neuron, int64 `[C_out]`."""
        choice, ranking = self.choices[choice_index], self.rankings[layer_index]
        found = np.full(len(ranking), choice.high, dtype=np.int64)
        found[ranking[: int(self.choices.n_low(len(ranking))[choice_index])]] = choice.low
        return found


class NeuronBank:
    """Operators of every layer for every choice; what `dse.evaluation.Evaluator` needs of an `OperatorBank`.

    Args:
        bank: of the library that the choices are made of.
        choices: what assignments index.
        rankings: neurons of every layer, the most resilient first, integers `[C_out]` each, every neuron once.
        memory_bytes: packed weights of mixed layers kept at once, beside those of `bank`.

    Attributes:
        bank: as given.
        library: the choices with their rankings.
        network, device, recovery, calibration_fingerprint: of `bank`.

    Raises:
        ShapeError: rankings that do not fit the network's layers.
    """

    def __init__(
        self,
        bank: OperatorBank,
        choices: NeuronChoices,
        rankings: Sequence[np.ndarray],
        *,
        memory_bytes: int = MEMORY_BYTES,
    ):
        self.bank, self.network, self.device = bank, bank.network, bank.device
        self.recovery, self.calibration_fingerprint = bank.recovery, bank.calibration_fingerprint
        self.library = RankedChoices(choices, _checked(rankings, bank.network))
        self._operators = PackedOperators(memory_bytes, bank.network.n_layers)

    @property
    def moved_network(self) -> IntegerNetwork:
        """See `OperatorBank`."""
        return self.bank.moved_network

    def operator(self, layer_index: int, choice_index: int) -> LayerOperator:
        """The operator that runs layer `layer_index` as choice `choice_index` says."""
        multipliers = self.library.multipliers(layer_index, choice_index)
        if (multipliers == multipliers[0]).all():
            return self.bank.operator(layer_index, int(multipliers[0]))
        key = (layer_index, choice_index)
        return self._operators.find_or_make(key, lambda: mixed_operator(self.bank, layer_index, multipliers))

    def parameters(self, layer_index: int, choice_index: int) -> OperatorParameters:
        """What `operator` computes with, corrections included."""
        return self.parameters_for(layer_index, self.library.multipliers(layer_index, choice_index))

    def parameters_for(self, layer_index: int, multipliers: np.ndarray) -> OperatorParameters:
        """See `mixed_parameters`."""
        return mixed_parameters(self.bank, layer_index, multipliers)


def mixed_parameters(bank: OperatorBank, layer_index: int, multipliers: np.ndarray) -> OperatorParameters:
    """Parameters of a layer with a multiplier for every output channel, each channel's from that multiplier's.

    Args:
        bank: has those of one multiplier.
        layer_index: of the network.
        multipliers: library position for every output channel, integers `[C_out]`.

    Returns:
        Their slope is `None` where that of all of them is, and 0 in the channels of those without one otherwise.
    """
    index = _checked_multipliers(bank, layer_index, multipliers)
    distinct = index.unique().tolist()
    parts = {m: bank.parameters(layer_index, m) for m in distinct}
    first = parts[distinct[0]]
    weight, scale, bias = first.problem.weight.clone(), first.scale.clone(), first.bias.clone()
    slope = None if all(part.slope is None for part in parts.values()) else torch.zeros_like(scale)
    for m, part in parts.items():
        rows = index == m
        weight[rows], scale[rows], bias[rows] = part.problem.weight[rows], part.scale[rows], part.bias[rows]
        if part.slope is not None:
            slope[rows] = part.slope[rows]
    # Weight tuning changes the weights alone.
    return OperatorParameters(dataclasses.replace(first.problem, weight=weight), scale, bias, slope)


def mixed_operator(bank: OperatorBank, layer_index: int, multipliers: np.ndarray) -> LayerOperator:
    """The operator with `mixed_parameters`, arguments as there, on the device of `bank` and by its backend."""
    p = mixed_parameters(bank, layer_index, multipliers)
    sums = prepare_channels(p.problem, bank.library, multipliers, bank.backend, device=bank.device)
    return bank.assembled(layer_index, sums, p)


def _checked_multipliers(bank: OperatorBank, layer_index: int, multipliers: np.ndarray) -> torch.Tensor:
    """int64 `[C_out]`."""
    index, n_outputs = np.asarray(multipliers), bank.network.integer_layers[layer_index].problem.n_outputs
    if index.shape != (n_outputs,) or index.dtype.kind not in "iu":
        raise ShapeError(
            f"got {index.dtype} {list(index.shape)}: expected one library position for each of the {n_outputs} output "
            f"channels of layer {bank.network.layers[layer_index].name!r}"
        )
    if index.min() < 0 or index.max() >= len(bank.library):
        raise ShapeError(
            f"multipliers are {index.min()} to {index.max()}: expected 0 to {len(bank.library) - 1}, positions in the "
            "library"
        )
    return torch.from_numpy(index.astype(np.int64))


def _checked(rankings: Sequence[np.ndarray], network: IntegerNetwork) -> tuple[np.ndarray, ...]:
    if len(rankings) != network.n_layers:
        raise ShapeError(f"got {len(rankings)} rankings: expected {network.n_layers}, one a layer")
    checked = []
    for info, layer, ranking in zip(network.layers, network.integer_layers, rankings, strict=True):
        ranking, n_outputs = np.asarray(ranking), layer.problem.n_outputs
        if ranking.dtype.kind not in "iu" or not np.array_equal(np.sort(ranking), np.arange(n_outputs)):
            raise ShapeError(
                f"the ranking of layer {info.name!r} is {ranking.dtype} {list(ranking.shape)}: expected each of its "
                f"{n_outputs} neurons once, by its number from 0"
            )
        checked.append(ranking.astype(np.int64))
    return tuple(checked)
