"""Operators of layers at several sparsity levels.

A pruned layer differs from the exact one by what its multiplier is off by and by what its lost weights would have
added. Corrections are fitted against the layer with all its weights and exact products, so that both mean errors go
back into the biases.

Weight tuning leaves the pattern alone: weights of zero stay zero, and no other becomes zero. What a layer takes in
memory, and what is multiplied, then depends on its level only.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from dse.cost.sparse_choices import SparseChoices
from dse.errors import ShapeError
from dse.networks.convert import IntegerNetwork
from dse.networks.layers import LayerOperator
from dse.recovery.bias import Correction
from dse.recovery.operators import OperatorBank, OperatorParameters
from dse.recovery.packed_operators import MEMORY_BYTES, PackedOperators
from dse.simulation.ops import PreparedConv, prepare
from dse.simulation.problem import IntegerConv
from dse.simulation.zero_weights import prepare_skipping
from dse.sparse.matrices import centered_matrix
from dse.sparse.pruning import is_zero


@dataclass(frozen=True, eq=False)
class PrunedChoices:
    """What the assignments of a network index; has of a `Library` what measuring and recording need.

    Attributes:
        choices: multipliers and sparsity levels.
        layers: every layer at every level, `layers[layer][level]`.
    """

    choices: SparseChoices
    layers: tuple[tuple[IntegerConv, ...], ...]

    def __len__(self) -> int:
        return len(self.choices)

    @cached_property
    def weights_fingerprint(self) -> str:
        """sha256, hexadecimal, of all weights."""
        digest = hashlib.sha256()
        for problem in (problem for levels in self.layers for problem in levels):
            digest.update(repr(tuple(problem.weight.shape)).encode() + problem.weight.numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def fingerprint(self) -> str:
        """sha256, hexadecimal, of choices and weights."""
        return hashlib.sha256(f"{self.choices.fingerprint}\n{self.weights_fingerprint}".encode()).hexdigest()


class PrunedBank:
    """Operators of every layer for every choice; what `dse.evaluation.Evaluator` needs of an `OperatorBank`.

    Args:
        whole: of the network with all its weights, and of the library that the choices are made of.
        choices: what assignments index.
        layers: the convolution of every layer at every level, `layers[layer][level]`, on the CPU; those of the first
            level are the network's.
        memory_bytes: packed weights kept at once, beside those of `whole`.

    Attributes:
        whole: as given.
        library: the choices with the layers' convolutions.
        network, device, recovery, calibration_fingerprint: of `whole`.

    Raises:
        ShapeError: convolutions that do not fit the network's layers.
    """

    def __init__(
        self,
        whole: OperatorBank,
        choices: SparseChoices,
        layers: Sequence[Sequence[IntegerConv]],
        *,
        memory_bytes: int = MEMORY_BYTES,
    ):
        self.whole, self.network, self.device = whole, whole.network, whole.device
        self.recovery, self.calibration_fingerprint = whole.recovery, whole.calibration_fingerprint
        self.library = PrunedChoices(choices, _checked(layers, whole.network, len(choices.levels_pct)))
        self._operators = PackedOperators(memory_bytes, whole.network.n_layers)
        self._corrections: dict[tuple[int, int], Correction] = {}

    @property
    def moved_network(self) -> IntegerNetwork:
        """See `OperatorBank`."""
        return self.whole.moved_network

    @property
    def skips_zeros(self) -> bool:
        """Whether weights of zero do not reach the multiplier."""
        return self.library.choices.zero_weights == "skipped"

    def pruned(self, layer_index: int, level: int) -> IntegerConv:
        """The convolution of a layer at a level, weights not tuned."""
        return self.library.layers[layer_index][level]

    def matrix(self, layer_index: int, level: int) -> np.ndarray:
        """The weights of a layer at a level as dCSR stores them, not tuned: codes less zero code, int16 `[C_out, K]`.

        Tuning changes values that are not zero, but neither which these are nor, where zero codes are 0 or 128, that
        they fit int8; so the size is the same.
        """
        return centered_matrix(self.pruned(layer_index, level))

    def operator(self, layer_index: int, choice_index: int) -> LayerOperator:
        """The operator that runs layer `layer_index` as choice `choice_index` says."""
        key = (layer_index, choice_index)
        return self._operators.find_or_make(key, lambda: self._make(*key))

    def parameters(self, layer_index: int, choice_index: int) -> OperatorParameters:
        """What `operator` computes with, corrections included."""
        problem = self._problem(layer_index, choice_index)
        return self.whole.corrected(layer_index, problem, self._correction(layer_index, choice_index, problem, None))

    def _make(self, layer_index: int, choice_index: int) -> LayerOperator:
        problem = self._problem(layer_index, choice_index)
        sums = self._prepared(choice_index, problem, self.whole.backend)
        correction = self._correction(layer_index, choice_index, problem, sums)
        return self.whole.assembled(layer_index, sums, self.whole.corrected(layer_index, problem, correction))

    def _prepared(self, choice_index: int, problem: IntegerConv, backend: str) -> PreparedConv:
        multiplier = self.whole.library[self.library.choices[choice_index].multiplier]
        prepared = prepare_skipping if self.skips_zeros else prepare
        return prepared(problem, multiplier, backend, device=self.device)

    def _problem(self, layer_index: int, choice_index: int) -> IntegerConv:
        """The layer at the choice's level, its weights tuned to the choice's multiplier."""
        choices = self.library.choices
        problem = self.pruned(layer_index, int(choices.level[choice_index]))
        weight_map = self.whole.weight_map(layer_index, int(choices.multiplier[choice_index]))
        return problem if weight_map is None else _tuned(problem, weight_map)

    def _correction(
        self, layer_index: int, choice_index: int, problem: IntegerConv, sums: PreparedConv | None
    ) -> Correction | None:
        choice = self.library.choices[choice_index]
        is_exact = self.whole.library[choice.multiplier].is_exact and choice.sparsity_pct == 0
        if not self.recovery.is_corrected or is_exact:
            return None
        key = (layer_index, choice_index)
        if key not in self._corrections:
            # Measured through a fast backend, whichever evaluates: all of them agree bit for bit.
            if sums is None or self.whole.backend == "reference":
                sums = self._prepared(choice_index, problem, "auto")
            self._corrections[key] = self.whole.measured_correction(layer_index, sums)
        return self._corrections[key]


def sparing_zeros(weight_map: torch.Tensor, zeros: torch.Tensor) -> torch.Tensor:
    """`weight_map` with the codes left alone that are zero or would become zero.

    Args:
        weight_map: from code index to code index, int64 `[256]`.
        zeros: indices of zero codes, int64 `[n]`.
    """
    codes = torch.arange(len(weight_map))
    return torch.where(torch.isin(codes, zeros) | torch.isin(weight_map, zeros), codes, weight_map)


def _tuned(problem: IntegerConv, weight_map: torch.Tensor) -> IntegerConv:
    """With the weights that are not zero replaced, `weight_map` int64 `[256]`, where that does not make them zero."""
    index = weight_map[problem.weight.to(torch.int64) - problem.w_low] + problem.w_low
    becomes_zero = index == problem.w_zero_point.view(-1, 1, 1, 1)
    weight = torch.where(is_zero(problem) | becomes_zero, problem.weight, index.to(problem.weight.dtype))
    return dataclasses.replace(problem, weight=weight)


def _checked(
    layers: Sequence[Sequence[IntegerConv]], network: IntegerNetwork, n_levels: int
) -> tuple[tuple[IntegerConv, ...], ...]:
    if len(layers) != network.n_layers:
        raise ShapeError(f"got {len(layers)} layers: expected {network.n_layers}")
    for info, layer, levels in zip(network.layers, network.integer_layers, layers, strict=True):
        weight = layer.problem.weight
        found = [(problem.weight.dtype, tuple(problem.weight.shape)) for problem in levels]
        if found != [(weight.dtype, tuple(weight.shape))] * n_levels or not torch.equal(levels[0].weight, weight):
            raise ShapeError(
                f"layer {info.name!r} has weights {found}: expected {weight.dtype} {tuple(weight.shape)} for each of "
                f"{n_levels} levels, the first as in the network"
            )
    return tuple(tuple(levels) for levels in layers)
