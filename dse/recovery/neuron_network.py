"""The network that AxNN's design loop works on: characterized, retrained, and measured through the tables.

Neurons (output channels) stand at levels, each a multiplier; see `dse.search.neurons` for the loop.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.cost.quality_engine import QualityConfigurableEngine
from dse.datasets import Split
from dse.recovery.finetuning import Learning, OnStep
from dse.recovery.finetuning_settings import FinetuningSettings
from dse.recovery.operators import OperatorBank
from dse.recovery.switchable import SwitchableNetwork, switchable_network
from dse.recovery.table_layers import LearningNetwork
from dse.robustness.error_model import predict_errors
from dse.robustness.neuron_scores import Resilience
from dse.robustness.resilience import characterize

CHARACTERIZATION_IMAGES = 512
"""Training images that sensitivities are measured on, at most."""

STATISTICS_IMAGES = 512
"""Those that a retraining is prepared on: fewer than for a design by itself, as attempts are many and steps small."""


class NeuronNetwork:
    """What `dse.search.neurons.Neurons` asks for.

    Args:
        bank: operators of the network; its recovery applies to every neuron by its multiplier.
        engine: energy of neurons at the levels.
        multipliers: position in the bank's library of every level, int64 `[n_levels]`, the exact one first.
        training: images to retrain on.
        validation: others, that the quality is measured on.
        settings: of one retraining.
        top: an image counts where its label is among so many best classes.
        checkpoint: file for the state of a retraining under way.
        on_step: told how a retraining goes on.

    Attributes:
        accuracy_exact, energy_pj, error: see `Neurons`.
    """

    def __init__(
        self,
        bank: OperatorBank,
        engine: QualityConfigurableEngine,
        multipliers: NDArray[np.int64],
        training: Split,
        validation: Split,
        settings: FinetuningSettings,
        *,
        top: int = 1,
        checkpoint: Path | None = None,
        on_step: OnStep | None = None,
    ):
        self._bank, self._engine, self._multipliers = bank, engine, np.asarray(multipliers, dtype=np.int64)
        self._training, self._validation, self._settings = training, validation, settings
        self._top, self._checkpoint, self._on_step = top, checkpoint, on_step
        self.energy_pj = engine.neuron_pj
        predictions, recovery = predict_errors(bank), bank.recovery
        residual = predictions.residual(fold_bias=recovery.fold_bias, sum_compensation=recovery.sum_compensation)
        relative = residual[:, self._multipliers] / np.maximum(predictions.output_std, 1e-12)[:, None]
        # Rounded operands are sometimes better than less rounded ones, by chance: a lower level counts as no better.
        self.error = np.repeat(np.maximum.accumulate(relative, axis=1), engine.n_neurons, axis=0)
        n_neurons = len(self.energy_pj)
        self._levels = np.zeros(n_neurons, dtype=np.int64)
        self._state = self._learner(self._levels).state()
        self._resilience: Resilience | None = None
        self._tried: tuple[NDArray[np.int64], dict[str, Any]] | None = None
        exact = switchable_network(bank, self._rows(self._levels))
        self._exact_hits = exact.hits(validation, top=top)[0]
        self.accuracy_exact = float(self._exact_hits.mean())

    def sensitivities(self) -> NDArray[np.float64]:
        """[ours] What errors of the same size relative to a layer's outputs do to the loss, by neuron."""
        return np.concatenate(
            [each.scores * np.sqrt(each.n_positions * np.mean(each.output_std**2)) for each in self._found().layers]
        )

    def scores(self) -> NDArray[np.float64]:
        """Of the paper: mean magnitude of the slopes of the loss, of the network as last accepted, `[n_neurons]`."""
        return np.concatenate(self._found().scores)

    def _found(self) -> Resilience:
        """Measured once for each accepted network."""
        if self._resilience is None:
            learner = self._learner(self._levels)
            learner.begin_from(self._state)
            images = self._training.subset(min(CHARACTERIZATION_IMAGES, self._training.n_images))
            self._resilience = characterize(
                learner, learner.layers, self._bank.network.layers, images, device=self._bank.device
            )
        return self._resilience

    def retrain(self, levels: NDArray[np.int64]) -> float:
        """Retrains the last accepted network with these levels; accuracy of its best epoch on the validation images."""
        learning = Learning(
            self._bank, self._rows(levels), self._training, self._validation, self._settings, top=self._top,
            checkpoint=self._checkpoint, start=self._state, statistics_images=STATISTICS_IMAGES,
        )  # fmt: skip
        found = learning.run(self._on_step)
        self._tried = levels.copy(), copy.deepcopy(learning.state)
        if self._checkpoint is not None:
            self._checkpoint.unlink(missing_ok=True)
        return found.history[found.best_epoch].accuracy

    def loss_error(self) -> float:
        """Standard error of what the last retrained network loses: of the mean of `hit(exact) - hit(network)`."""
        levels, state = self._tried
        hits = self._frozen(levels, state).hits(self._validation, top=self._top)[0]
        lost = self._exact_hits.astype(np.float64) - hits
        return float(lost.std() / np.sqrt(len(lost)))

    def accept(self) -> None:
        """Keeps what `retrain` made."""
        self._levels, self._state = self._tried
        self._resilience = None

    def energy_rel(self, levels: NDArray[np.int64]) -> float:
        """Relative to the exact network on the same engine."""
        return float(self._engine.energy_rel(levels[None])[0])

    @property
    def network(self) -> SwitchableNetwork:
        """As last accepted."""
        return self._frozen(self._levels, self._state)

    def state(self) -> dict[str, Any]:
        """Tensors and plain values, for a checkpoint."""
        return {"levels": self._levels.tolist(), "network": self._state}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Takes such a state."""
        self._levels, self._state = np.array(state["levels"], dtype=np.int64), dict(state["network"])
        self._resilience = None

    def _frozen(self, levels: NDArray[np.int64], state: Mapping[str, Any]) -> SwitchableNetwork:
        learner = self._learner(levels)
        learner.begin_from(state)
        return learner.frozen()

    def _rows(self, levels: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._multipliers[levels][None]

    def _learner(self, levels: NDArray[np.int64]) -> LearningNetwork:
        has_gains = self._settings.has_gains(self._bank.network.folded)
        return LearningNetwork(
            self._bank, self._rows(levels), gradient=self._settings.gradient, has_gains=has_gains
        )
