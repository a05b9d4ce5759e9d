"""Runs whose layers may divide their neurons between two multipliers (`[search] neuron_shares`).

What a run's assignments index are then `NeuronChoices`; which neurons of a layer are the resilient ones is ranked on
the calibration images, once. Journal, search and tables go on as ever.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dse.config import RunConfig
from dse.cost.neuron_choices import NeuronChoices
from dse.errors import ConfigError
from dse.multipliers.library import Library
from dse.runs.foreknowledge import ErrorPredictions, Guide, OnStep, Tolerances

if TYPE_CHECKING:
    from dse.runs.preparation import Loaded

NOISE_LIMIT = 1.0
"""Relative error variance, in the middle one of the layers, beyond which a multiplier is in no composite: its error is
larger than what it computes."""


def check_shares(config: RunConfig, library: Library) -> None:
    """Refuses what cannot go together, before minutes of loading.

    Raises:
        ConfigError: a tiled accelerator, or names of multipliers that composites cannot be written with.
    """
    if config.accelerator.kind != "free":
        raise ConfigError(
            f"accelerator {config.accelerator.kind!r} with neuron shares: a tile holds one multiplier, and a layer "
            "that divides its neurons would need two; expected accelerator 'free', or no neuron shares"
        )
    NeuronChoices(library, config.search.neuron_shares)


def check_whole_layers(config: RunConfig, path: object, what: str) -> None:
    """Refuses a run with neuron shares for what knows one multiplier a layer.

    Args:
        config: of the run.
        path: of the run, for the message.
        what: that is asked for, as "fine-tuning".

    Raises:
        ConfigError: the run has neuron shares.
    """
    if config.search.neuron_shares:
        raise ConfigError(
            f"{path} divides neurons of a layer between two multipliers (neuron_shares), and {what} knows one "
            "multiplier a layer: expected a run without --neuron-shares"
        )


@dataclass(frozen=True, eq=False)
class MixedPredictions:
    """See `dse.runs.foreknowledge.ErrorPredictions`; of choices in place of multipliers."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    output_std: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NeuronGuide:
    """A `Guide` for choices, by that for their multipliers.

    A composite's mean and second moment are those of its multipliers, weighted by the neurons they have. What reaches
    the next layer (`residual_std`) is weighted by what the neurons mean to the loss [ours]: by the sum of their
    `importances` (see `dse.robustness.neuron_ranking`), so that it is the error that would do the same to the loss if
    all neurons had it.

    Attributes:
        guide: of the multipliers.
        predicted: what it predicts.
        choices: of the run.
        importances: of every layer's neurons, the most resilient first.
    """

    guide: Guide
    predicted: tuple[ErrorPredictions, NDArray[np.float64]]
    choices: NeuronChoices
    importances: tuple[NDArray[np.float64], ...]

    def predict_errors(self) -> tuple[MixedPredictions, NDArray[np.float64]]:
        """See `Guide`."""
        predicted, residual_std = self.predicted
        by_neurons = self.choices.low_weights([np.ones_like(values) for values in self.importances])
        by_importance = self.choices.low_weights(self.importances)
        mean = self.choices.mixed(predicted.mean, by_neurons)
        second_moment = self.choices.mixed(predicted.mean**2 + predicted.std**2, by_neurons)
        std = np.sqrt(np.maximum(second_moment - mean**2, 0.0))
        residual = np.sqrt(self.choices.mixed(residual_std**2, by_importance))
        return MixedPredictions(mean, std, predicted.output_std), residual

    def learn_tolerances(self, on_step: OnStep) -> Tolerances:
        """See `Guide`."""
        return self.guide.learn_tolerances(on_step)

    @property
    def calibration(self) -> Any:
        """The split that ranges were fixed on."""
        return self.guide.calibration


def divide_neurons(config: RunConfig, loaded: "Loaded", library: Library) -> tuple["Loaded", NeuronChoices]:
    """What was loaded for whole layers, with evaluators and predictions of choices. Imports torch."""
    from dse.recovery.neurons import NeuronBank
    from dse.robustness.neuron_ranking import load_or_rank_neurons

    bank = loaded.evaluator.bank
    predicted = loaded.guide.predict_errors()
    choices = NeuronChoices(library, config.search.neuron_shares, errors=_typical_noise(*predicted))
    ranking = load_or_rank_neurons(bank.network, loaded.guide.calibration, device=bank.device)
    divided = NeuronBank(bank, choices, ranking.orders)
    evaluator = loaded.evaluator.with_bank(divided)
    divided_loaded = replace(
        loaded,
        evaluator=evaluator,
        confirm=None if loaded.confirm is None else evaluator.with_split(loaded.confirm.split),
        report=evaluator.with_split(loaded.report.split),
        guide=NeuronGuide(loaded.guide, predicted, choices, ranking.importances),
        hashes={
            **loaded.hashes,
            "neuron choices": choices.fingerprint,
            "neuron rankings": divided.library.rankings_fingerprint,
        },
    )
    return divided_loaded, choices


def _typical_noise(predicted: ErrorPredictions, residual_std: NDArray[np.float64]) -> NDArray[np.float64]:
    """Relative error variance in the middle layer, float64 [n_multipliers]; inf where that is beyond all use."""
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = (residual_std / predicted.output_std[:, None]) ** 2
    typical = np.median(np.where(residual_std == 0, 0.0, noise), axis=0)
    return np.where(typical > NOISE_LIMIT, np.inf, typical)
