"""Runs whose layers may be pruned (`[pruning] sparsity_levels`), and whose weights' memory may be an objective.

What a run's assignments index are then `SparseChoices`; which weights of a layer each level prunes is settled once, by
their magnitudes. Journal, search and tables go on as ever.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dse.config import RunConfig
from dse.cost.sparse_choices import DEFAULT_LEVELS_PCT, SparseChoices, ZeroWeights
from dse.cost.weight_memory import WeightMemory
from dse.errors import ConfigError, DseError
from dse.multipliers.library import Library
from dse.runs.foreknowledge import ErrorPredictions, Guide, OnStep, Tolerances

if TYPE_CHECKING:
    from dse.runs.preparation import Loaded

REFIT_SEED = 0
"""Of the positions that kept weights are refitted on."""

MEMORY = "memory"
"""The name of the third objective."""


def has_memory(config: RunConfig) -> bool:
    """Whether the weights' memory is an objective."""
    return MEMORY in config.search.objectives


def sparsity_levels(config: RunConfig) -> tuple[int, ...]:
    """Percents of a layer's weights that may be pruned; none where layers keep their weights."""
    return config.pruning.sparsity_levels or (DEFAULT_LEVELS_PCT if has_memory(config) else ())


def zero_weights(config: RunConfig) -> ZeroWeights:
    """What the engine does with weights of zero."""
    return config.pruning.zero_weights or ("skipped" if sparsity_levels(config) else "multiplied")


def quantization_scheme(config: RunConfig, *, is_signed: bool) -> str:
    """The scheme asked for; `auto` is one whose weights, less their zero code, fit dCSR where layers may be pruned."""
    scheme = config.quantization.scheme
    if not sparsity_levels(config) or scheme not in ("auto", "unsigned-affine"):
        return scheme
    if scheme == "unsigned-affine":
        raise ConfigError(
            "scheme 'unsigned-affine' with sparsity levels: its weights less their zero code do not fit the int8 "
            "values of dCSR; expected scheme 'auto' or 'unsigned-centered', with zero code 128, or --signed multipliers"
        )
    return "signed-symmetric" if is_signed else "unsigned-centered"


def check_sparsity(config: RunConfig, library: Library) -> None:
    """Refuses what cannot go together, before minutes of loading.

    Raises:
        ConfigError: a tiled accelerator, neuron shares, options of pruning without levels, levels that are not
            different percents, or names of multipliers that choices cannot be written with.
    """
    levels = sparsity_levels(config)
    if not levels:
        options = config.pruning
        chosen = (options.structure, options.rates, options.refit)
        if options.zero_weights == "skipped" or chosen != ("weights", "layer", True):
            raise ConfigError(
                "[pruning] without sparsity levels: expected sparsity_levels as well, as 0, 50, 80 (0 alone keeps all "
                "weights), or none of rates, structure, refit and zero_weights"
            )
        return
    if config.pruning.rates == "global" and config.pruning.structure == "channels":
        raise ConfigError("global rates of channels: LAMP scores single weights; expected rates of each layer")
    if config.accelerator.kind != "free":
        raise ConfigError(
            f"accelerator {config.accelerator.kind!r} with sparsity levels: expected accelerator 'free', or no "
            "sparsity levels and objectives energy and accuracy"
        )
    if config.search.neuron_shares:
        raise ConfigError(
            "neuron shares with sparsity levels: a layer takes either two multipliers or a sparsity; expected one of "
            "neuron_shares and sparsity_levels, or objectives energy and accuracy"
        )
    quantization_scheme(config, is_signed=library.is_signed)
    SparseChoices(library, levels, zero_weights=zero_weights(config))


def check_all_weights(config: RunConfig, path: object, what: str) -> None:
    """Refuses a run whose layers may be pruned for what knows layers with all their weights.

    Args:
        config: of the run.
        path: of the run, for the message.
        what: that is asked for, as "fine-tuning".

    Raises:
        ConfigError: the run has sparsity levels.
    """
    if sparsity_levels(config):
        raise ConfigError(
            f"{path} may prune layers (sparsity levels), and {what} knows layers with all their weights: expected a "
            "run with objectives energy and accuracy, and without --sparsity-levels"
        )


@dataclass(frozen=True, eq=False)
class SparseGuide:
    """A `Guide` for choices, by that for the multipliers.

    Attributes:
        guide: of the multipliers.
        bank: of the choices, a `dse.recovery.pruned.PrunedBank`.
    """

    guide: Guide
    bank: Any

    def predict_errors(self) -> tuple[ErrorPredictions, NDArray[np.float64]]:
        """See `Guide`."""
        from dse.robustness.pruned_errors import predict_pruned_errors

        predictions, recovery = predict_pruned_errors(self.bank), self.bank.recovery
        residual = predictions.residual(fold_bias=recovery.fold_bias, sum_compensation=recovery.sum_compensation)
        return predictions, residual

    def learn_tolerances(self, on_step: OnStep) -> Tolerances:
        """See `Guide`."""
        return self.guide.learn_tolerances(on_step)

    @property
    def calibration(self) -> Any:
        """The split that ranges were fixed on."""
        return self.guide.calibration


@dataclass(frozen=True, eq=False)
class Pruned:
    """What pruning makes of what was loaded.

    Attributes:
        loaded: with evaluators and predictions of choices.
        choices: what assignments index.
        memory: weights that are not zero, and bytes of designs.
    """

    loaded: "Loaded"
    choices: SparseChoices
    memory: WeightMemory


def prune_layers(config: RunConfig, loaded: "Loaded", library: Library) -> Pruned:
    """What was loaded for whole layers, at all sparsity levels. Imports torch."""
    from dse.recovery.pruned import PrunedBank

    bank = loaded.evaluator.bank
    choices = SparseChoices(library, sparsity_levels(config), zero_weights=zero_weights(config))
    masks = _masks(config, bank.network, choices.levels_pct)
    layers = [_at_levels(config, bank, index, masks[index]) for index in range(bank.network.n_layers)]
    pruned = PrunedBank(bank, choices, layers)
    matrices = [[pruned.matrix(index, level) for level in range(len(row))] for index, row in enumerate(layers)]
    evaluator = loaded.evaluator.with_bank(pruned)
    pruned_loaded = replace(
        loaded,
        evaluator=evaluator,
        confirm=None if loaded.confirm is None else evaluator.with_split(loaded.confirm.split),
        report=evaluator.with_split(loaded.report.split),
        guide=SparseGuide(loaded.guide, pruned),
        hashes={
            **loaded.hashes,
            "sparse choices": choices.fingerprint,
            "pruned weights": pruned.library.weights_fingerprint,
        },
    )
    memory = WeightMemory(
        choices,
        n_weights=np.array([info.n_weights for info in bank.network.layers], dtype=np.int64),
        n_nonzero=np.array([[np.count_nonzero(matrix) for matrix in row] for row in matrices], dtype=np.int64),
        dcsr_bytes=np.array(
            [_sizes(info.name, row) for info, row in zip(bank.network.layers, matrices, strict=True)], dtype=np.int64
        ),
    )
    return Pruned(pruned_loaded, choices, memory)


def _sizes(name: str, matrices: Sequence[NDArray[np.int16]]) -> list[int]:
    """Bytes of a layer's weights in dCSR at every level."""
    from dse.sparse.sizes import dcsr_bytes

    try:
        return [dcsr_bytes(matrix) for matrix in matrices]
    except DseError as error:
        raise type(error)(f"layer {name!r} cannot be stored in dCSR: {error}. --exclude it, or do not prune") from None


def _masks(config: RunConfig, network: Any, levels_pct: Sequence[int]) -> list[list[NDArray[np.bool_]]]:
    """Pruned weights of every layer at every level. Imports torch."""
    from dse.sparse.pruning import global_masks, layer_mask

    shares = [level / 100 for level in levels_pct]
    if config.pruning.rates == "global":
        by_level = [global_masks(network, share) for share in shares]
        return [list(masks) for masks in zip(*by_level, strict=True)]
    structure = config.pruning.structure
    return [[layer_mask(layer, share, structure=structure) for share in shares] for layer in network.integer_layers]


def _at_levels(config: RunConfig, bank: Any, index: int, masks: Sequence[NDArray[np.bool_]]) -> list[Any]:
    """The convolution of a layer pruned by each of several masks. Imports torch."""
    from dse.recovery.kept_weights import refitted
    from dse.sparse.pruning import pruned_problem

    layer = bank.network.integer_layers[index]
    if not config.pruning.refit:
        return [pruned_problem(layer.problem, mask) for mask in masks]
    return refitted(layer.problem, masks, bank.codes[index], np.random.default_rng([REFIT_SEED, index]))
