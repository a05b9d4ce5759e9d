"""Which of many proposed designs are worth simulating: a surrogate screens them [ours].

The gain of a design with energy `e` (and memory `m`, where that is an objective) and predicted loss `N(mean, std^2)` is
the expected growth of the hypervolume of what was measured (Emmerich et al., "Single- and
multiobjective evolutionary optimization assisted by Gaussian random field metamodels", IEEE Trans. Evol. Comput. 10(4),
2006), with the loss raised to `LOSS_EXPONENT`. Designs are picked
greedily; a picked one counts with its mean while the next is sought. A design whose optimistic loss,
`mean - CONFIDENCE std`, is dominated is ruled out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import ArrayLike, NDArray

from dse.cost.accelerators import Designs
from dse.search.improvement import Staircase, Terraces
from dse.search.matching import mixed_matches
from dse.search.space import Space

CONFIDENCE = 2.0
"""Standard deviations between the predicted and the optimistic loss."""

LOSS_EXPONENT = 0.7
"""Of the loss in the hypervolume: at 1 a search cares for losses of half the accuracy as much as for those of a point,
at 0 it would care for orders of magnitude only. In trials 0.7 gave the best plain hypervolume after 200 designs."""

REFERENCE_COST, REFERENCE_LOSS = 1.1, 1.0
"""Of the hypervolume: relative energy (and memory), and the loss so raised."""

_NODES, _WEIGHTS = hermegauss(5)
_SHARES = _WEIGHTS / _WEIGHTS.sum()


class LossPrediction(Protocol):
    """`mean` and `std` of predicted losses, float64 [n]."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]


class LossModel(Protocol):
    """Predicts the loss of accuracy; see `dse.robustness.surrogate`.

    Attributes:
        layer_losses: what every choice adds to an additive loss, float64 [n_layers, n_multipliers].
    """

    layer_losses: NDArray[np.float64]

    def predict(self, assignments: ArrayLike) -> LossPrediction:
        """Losses of int [n, n_layers]."""

    def fitted(self, assignments: ArrayLike, losses: ArrayLike) -> "LossModel":
        """The model fitted to these measured designs."""


@dataclass(frozen=True, eq=False)
class Checked:
    """A batch of designs with the losses predicted before they were simulated, and those measured.

    Attributes:
        assignments: int64 [n, n_layers].
        energy_rel: float64 [n].
        mean, std: of the prediction, float64 [n].
        measured: loss against the exact design on the search images, float64 [n]; NaN where the evaluation failed.
    """

    assignments: NDArray[np.int64]
    energy_rel: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    measured: NDArray[np.float64]


class Screen:
    """Proposes designs and picks the ones to simulate.

    Args:
        space: what genomes mean.
        model: predicts losses, before anything is measured.
        costs: of designs, float64 [n, n_costs]: relative energy, and memory where it is an objective.
        layer_costs: what each layer adds to each cost by what it is given, float64 [n_layers, n_multipliers] each.
        exact_loss: `1 - accuracy` of the exact design on the search images.
        loss_limit: largest loss against the exact design that is wanted; None: any.
        n_tiles: different multipliers a design may use; None: any number.
        n_proposals: designs that `propose` makes, at most.

    Attributes:
        model: fitted to everything learned so far.
        checked: every batch learned, with what was predicted for it.
    """

    def __init__(
        self,
        space: Space,
        model: LossModel,
        *,
        costs: Callable[[Designs], NDArray[np.float64]],
        layer_costs: Sequence[NDArray[np.float64]],
        exact_loss: float,
        loss_limit: float | None = None,
        n_tiles: int | None = None,
        n_proposals: int = 200,
    ) -> None:
        self.model, self.checked = model, []
        self._space, self._prior, self._costs, self._layer_costs = space, model, costs, tuple(layer_costs)
        self._exact_loss, self._loss_limit = exact_loss, loss_limit
        self._n_tiles, self._n_proposals = n_tiles, n_proposals
        self._assignments = np.empty((0, space.n_layers), dtype=np.int64)
        self._measured_costs, self._losses = np.empty((0, len(self._layer_costs))), np.empty(0)

    def learn(self, X: NDArray[np.int64], F: NDArray[np.float64], failed: NDArray[np.bool_]) -> None:
        """Refit to everything measured so far and this batch; F as told to an optimizer, rows of `failed` ignored."""
        assignments, prediction = self._predict(X)
        measured = np.where(failed, np.nan, F[:, 1] - self._exact_loss)
        self.checked.append(Checked(assignments, F[:, 0], prediction.mean, prediction.std, measured))
        self._assignments = np.concatenate([self._assignments, assignments[~failed]])
        self._measured_costs = np.concatenate([self._measured_costs, np.delete(F, 1, axis=1)[~failed]])
        self._losses = np.concatenate([self._losses, measured[~failed]])
        if len(self._losses):
            # From the prior each time: the fit does not depend on how measurements came in batches.
            self.model = self._prior.fitted(self._assignments, self._losses)

    def _predict(self, X: NDArray[np.int64]) -> tuple[NDArray[np.int64], LossPrediction]:
        assignments = self._space.decode(X).assignments
        return assignments, self.model.predict(assignments)

    def propose(self) -> NDArray[np.int64]:
        """Canonical genomes that minimize `cost + lambda * predicted loss` for many lambda, int64 [k, n_genes].

        The cost is the energy, or several mixes of energy and memory.
        """
        assignments = mixed_matches(
            self.model.layer_losses,
            self._layer_costs,
            n_designs=self._n_proposals,
            n_tiles=self._n_tiles,
            max_loss=np.inf,
        )
        return self._space.encode(assignments[self._space.is_representable(assignments)])

    def choose(self, X: NDArray[np.int64], n_designs: int, *, n_least: int = 0) -> NDArray[np.int64]:
        """Rows of X to simulate, most promising first, at most `n_designs`.

        Args:
            X: proposed genomes, int64 [n, n_genes], all different and not measured yet.
            n_designs: how many to pick.
            n_least: pick so many even where everything is ruled out: the model may be wrong.
        """
        predicted, costs = self._predict(X)[1], self._costs(self._space.decode(X))
        front = self._front()
        optimistic = front.gains(costs, _axis(predicted.mean - CONFIDENCE * predicted.std))
        if self._loss_limit is not None:
            optimistic[predicted.mean - CONFIDENCE * predicted.std > self._loss_limit] = 0.0
        chosen: list[int] = []
        while len(chosen) < min(n_designs, len(X)):
            gains = _expected_gains(front, costs, predicted)
            gains[optimistic <= 0] = 0.0
            gains[chosen] = -1.0
            best = int(np.argmax(gains))
            if gains[best] <= 0:
                break
            chosen.append(best)
            front.add(costs[best], float(_axis(predicted.mean[best])))
        if len(chosen) < n_least:
            rest = np.argsort(-optimistic - 1e-3 / (1 + predicted.mean), kind="stable")
            chosen += [int(i) for i in rest if i not in chosen][: n_least - len(chosen)]
        return np.array(chosen, dtype=np.int64)

    def _front(self) -> Staircase | Terraces:
        """What was measured, with the loss on its axis."""
        kind, n_costs = (Staircase, 1) if len(self._layer_costs) == 1 else (Terraces, 2)
        reference = (REFERENCE_COST,) * n_costs + (REFERENCE_LOSS,)
        return kind(self._measured_costs, _axis(self._losses), reference)


def _axis(loss: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    return np.maximum(loss, 0.0) ** LOSS_EXPONENT


def _expected_gains(
    front: Staircase | Terraces, costs: NDArray[np.float64], predicted: LossPrediction
) -> NDArray[np.float64]:
    nodes = [front.gains(costs, _axis(predicted.mean + node * predicted.std)) for node in _NODES]
    return np.tensordot(_SHARES, np.array(nodes), axes=1)
