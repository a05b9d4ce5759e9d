"""AxNN's design loop: neurons are approximated step by step, the network retrained with them in place.

S. Venkataramani, A. Ranjan, K. Roy, A. Raghunathan, "AxNN", ISLPED 2014: characterize the resilience of all neurons,
lower the most resilient ones by a level, retrain, accept while the quality stays within a bound, else revert and
freeze; characterize anew after each retraining; stop when nothing can go down.

[ours]
- Which neurons come next: those with the least harm for the energy they save. With `s_i` the sensitivity of the loss
  to errors of neuron `i`, `d_iv` its error at level `v` and `e_iv` its energy:

      harm_i = s_i^2 (d_i,v+1^2 - d_iv^2) / (e_iv - e_i,v+1)

  `order = "score"` takes the paper's order, by `s_i` alone, whatever the level.
- A group that violates the bound is halved and its more resilient half tried; it is frozen when it is small already.
- A bound holds with confidence: what is lost, and so many standard errors more, must be within it. Attempts are many,
  and those whose measurement happened to flatter them would be kept: a loop without this stays within its bound on the
  images that it measures on, and not on others (an MLP on MNIST lost 2.1 points there, with a bound of 0.5).
- Several bounds, ascending: each goes on from the design of the one before, with nothing frozen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dse.errors import ConfigError

ORDERS = ("harm", "score")

SMALLEST_LOSS_IMAGES = 4
"""A bound that is fewer images than these cannot be told from chance: `k` lost images scatter by about `sqrt(k)`."""


@dataclass(frozen=True)
class AxnnSettings:
    """How neurons are lowered.

    Attributes:
        bounds: quality that may be lost against the exact network, shares of all images, ascending.
        group_share: energy of the neurons lowered at a time, share of all of it at full precision.
        smallest_share: groups below this are not halved any more, but frozen.
        order: "harm" or "score", see the module.
        confidence: standard errors by which the loss must be below the bound; 0: none, as the paper.
    """

    bounds: tuple[float, ...] = (0.005, 0.025, 0.075)
    group_share: float = 0.25
    smallest_share: float = 0.04
    order: str = "harm"
    confidence: float = 1.0

    def __post_init__(self) -> None:
        if not self.bounds or list(self.bounds) != sorted(set(self.bounds)) or not 0 < self.bounds[0] < 1:
            raise ConfigError(f"bounds {self.bounds}: expected different shares above 0, ascending, as 0.005, 0.025")
        if not 0 < self.smallest_share <= self.group_share <= 1:
            raise ConfigError(
                f"group shares {self.smallest_share} (smallest) and {self.group_share}: expected "
                "0 < smallest_share <= group_share <= 1"
            )
        if not 0 <= self.confidence < np.inf:
            raise ConfigError(f"confidence {self.confidence}: expected a number of standard errors from 0, as 1")
        if self.order not in ORDERS:
            raise ConfigError(f"order {self.order!r}: expected one of {', '.join(ORDERS)}")


def check_bounds(bounds: Sequence[float], n_images: int) -> None:
    """Refuses bounds that `n_images` cannot resolve.

    Raises:
        ConfigError: naming the bound and the images it would take.
    """
    if bounds[0] * n_images < SMALLEST_LOSS_IMAGES:
        needed = int(np.ceil(SMALLEST_LOSS_IMAGES / bounds[0]))
        raise ConfigError(
            f"a bound of {100 * bounds[0]:g} % is {bounds[0] * n_images:.3g} of {n_images} validation images, less "
            f"than the evaluation scatters by: raise the bound, or use at least {needed} validation images"
        )


@dataclass(frozen=True)
class Attempt:
    """One group that was lowered.

    Attributes:
        bound: in force, a share.
        n_lowered: neurons of the group.
        accuracy: after retraining, in [0, 1].
        is_accepted: whether it stayed within the bound.
        energy_rel: of the design that was tried.
    """

    bound: float
    n_lowered: int
    accuracy: float
    is_accepted: bool
    energy_rel: float


@dataclass(frozen=True)
class LoopState:
    """Where the loop stands; plain values, so that it can be saved.

    Attributes:
        levels: of every neuron.
        frozen: whether a neuron stays as it is for this bound.
        share: energy of the next group.
        bound_index: of the bound in force; the number of bounds when all are done.
        attempts: so far.
        finished: level of every neuron at each finished bound.
    """

    levels: tuple[int, ...]
    frozen: tuple[bool, ...]
    share: float
    bound_index: int = 0
    attempts: tuple[Attempt, ...] = ()
    finished: tuple[tuple[int, ...], ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**self.__dict__, "attempts": [attempt.__dict__ for attempt in self.attempts]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "LoopState":
        """What `to_dict` made."""
        attempts = tuple(Attempt(**attempt) for attempt in values["attempts"])
        finished = tuple(tuple(levels) for levels in values["finished"])
        lists = {name: tuple(values[name]) for name in ("levels", "frozen")}
        return cls(**{**values, **lists, "attempts": attempts, "finished": finished})


class Neurons(Protocol):
    """The network under design.

    Attributes:
        accuracy_exact: on the validation images, in [0, 1].
        energy_pj: of every neuron at each level, `[n_neurons, n_levels]`, falling.
        error: `d_iv`, of every neuron at each level, `[n_neurons, n_levels]`, rising from 0.
    """

    accuracy_exact: float
    energy_pj: NDArray[np.float64]
    error: NDArray[np.float64]

    def sensitivities(self) -> NDArray[np.float64]:
        """`s_i` of the network as last accepted, `[n_neurons]`."""

    def retrain(self, levels: NDArray[np.int64]) -> float:
        """Retrains the last accepted network with these levels, and measures it on the validation images."""

    def loss_error(self) -> float:
        """Standard error of the share of images that what `retrain` made loses against the exact network."""

    def accept(self) -> None:
        """Keeps what `retrain` made."""

    def energy_rel(self, levels: NDArray[np.int64]) -> float:
        """Relative to the exact network."""


OnAttempt = Callable[[LoopState], None]
"""Told the state after each attempt, and after each finished bound."""


def start(neurons: Neurons, settings: AxnnSettings) -> LoopState:
    """All neurons exact."""
    n_neurons = len(neurons.energy_pj)
    return LoopState((0,) * n_neurons, (False,) * n_neurons, settings.group_share)


def design(
    neurons: Neurons, settings: AxnnSettings, *, state: LoopState | None = None, on_attempt: OnAttempt | None = None
) -> LoopState:
    """Runs the loop from `state` (from the start without one) until all bounds are done."""
    state = start(neurons, settings) if state is None else state
    while state.bound_index < len(settings.bounds):
        state = _step(neurons, settings, state)
        if on_attempt is not None:
            on_attempt(state)
    return state


def _step(neurons: Neurons, settings: AxnnSettings, state: LoopState) -> LoopState:
    """One attempt, or the end of a bound where nothing is left to try."""
    levels = np.array(state.levels, dtype=np.int64)
    can_fall = ~np.array(state.frozen) & (levels < neurons.energy_pj.shape[1] - 1)
    if not can_fall.any():
        return replace(
            state, bound_index=state.bound_index + 1, finished=(*state.finished, state.levels),
            frozen=(False,) * len(levels), share=settings.group_share,
        )  # fmt: skip
    group = _group(neurons, settings, levels, can_fall, state.share)
    lowered = levels + group
    bound = settings.bounds[state.bound_index]
    accuracy = neurons.retrain(lowered)
    is_accepted = accuracy >= neurons.accuracy_exact - bound
    if is_accepted and settings.confidence > 0:
        is_accepted = accuracy - settings.confidence * neurons.loss_error() >= neurons.accuracy_exact - bound
    attempt = Attempt(bound, int(group.sum()), accuracy, bool(is_accepted), neurons.energy_rel(lowered))
    state = replace(state, attempts=(*state.attempts, attempt))
    if is_accepted:
        neurons.accept()
        return replace(state, levels=tuple(lowered.tolist()), share=min(2 * state.share, settings.group_share))
    if group.sum() > 1 and state.share / 2 >= settings.smallest_share:
        return replace(state, share=state.share / 2)
    return replace(state, frozen=tuple((np.array(state.frozen) | group).tolist()))


def _group(
    neurons: Neurons,
    settings: AxnnSettings,
    levels: NDArray[np.int64],
    can_fall: NDArray[np.bool_],
    share: float,
) -> NDArray[np.bool_]:
    """The neurons to lower next: the first in order whose energy at full precision makes up `share`, at least one."""
    order = np.argsort(np.where(can_fall, _harm(neurons, settings, levels), np.inf), kind="stable")
    order = order[: int(can_fall.sum())]
    weight = neurons.energy_pj[:, 0] / neurons.energy_pj[:, 0].sum()
    n_chosen = max(1, int(np.searchsorted(np.cumsum(weight[order]), share * (1 + 1e-9), side="right")))
    group = np.zeros(len(levels), dtype=bool)
    group[order[:n_chosen]] = True
    return group


def _harm(neurons: Neurons, settings: AxnnSettings, levels: NDArray[np.int64]) -> NDArray[np.float64]:
    sensitivity = neurons.sensitivities()
    if settings.order == "score":
        return sensitivity
    index = np.arange(len(levels))
    lower = np.minimum(levels + 1, neurons.energy_pj.shape[1] - 1)
    saved = neurons.energy_pj[index, levels] - neurons.energy_pj[index, lower]
    error = neurons.error[index, lower] ** 2 - neurons.error[index, levels] ** 2
    return sensitivity**2 * error / np.where(saved > 0, saved, 1.0)
