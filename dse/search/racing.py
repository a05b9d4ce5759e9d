"""Racing: a design is simulated on growing parts of the images, and stopped once it is beaten with confidence.

Racing: Maron & Moore, "Hoeffding races: accelerating model selection search for classification and function
approximation", NIPS 6, 1994; Birattari et al., "A racing algorithm for configuring metaheuristics", GECCO 2002. The
paired test: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
Psychometrika 12, 1947, in its exact form, the one-sided sign test.

On the images that both were measured on, let `b` be hit by the rival only and `c` by the candidate only. Were the
candidate at least as accurate, `b` would be at most a fair coin's share of the `b + c` images that tell them apart:

    p = P(Bin(b + c, 1/2) >= b),    beaten where p < alpha / n_looks

The candidate is looked at `n_looks` times, so that (Bonferroni) one that is at least as accurate is stopped with a
probability of at most alpha. The rival costs no more energy, and no more memory where that is an objective, and has
been measured on all images; a beaten candidate is thus dominated, with that confidence.

Where we differ [ours]: the test is paired and exact, where Hoeffding's bound treats the designs as independent and
needs several times the images; a candidate races against one rival, known to the end, rather than against the field.
Images are drawn without replacement from those that decide, which makes the binomial tail conservative.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.errors import ConfigError, ShapeError

MIN_IMAGES = 16
"""Fewer images hardly tell any two designs apart."""


@dataclass(frozen=True)
class Race:
    """When to look, and when a candidate is beaten.

    Attributes:
        alpha: probability, in (0, 1), that a candidate is stopped although it is at least as accurate as its rival.
        first_share: part of the images before the first look, in (0, 1]; it doubles from look to look.
    """

    alpha: float = 0.05
    first_share: float = 1 / 8

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ConfigError(f"alpha is {self.alpha}: expected a probability between 0 and 1, such as 0.05")
        if not 0 < self.first_share <= 1:
            raise ConfigError(f"first_share is {self.first_share}: expected more than 0 and at most 1, such as 0.125")

    def stops(self, n_images: int) -> tuple[int, ...]:
        """Images measured at each look, ascending, and all of them at the end, where there is nothing to stop.

        >>> Race().stops(1000), Race().stops(100), Race().stops(20)
        ((125, 250, 500, 1000), (25, 50, 100), (20,))
        """
        if n_images < 1:
            raise ConfigError(f"a race on {n_images} images: expected at least 1")
        shares = self.first_share * 2.0 ** np.arange(np.ceil(-np.log2(self.first_share)))
        counts = np.ceil(n_images * shares).astype(np.int64)
        inner = np.unique(counts[(counts >= MIN_IMAGES) & (counts < n_images)])
        return (*inner.tolist(), n_images)

    def is_beaten(self, candidate_hits: ArrayLike, rival_hits: ArrayLike, n_looks: int) -> NDArray[np.bool_]:
        """Whether candidates are less accurate than their rivals, at a level that allows for `n_looks` looks.

        Args:
            candidate_hits: whether each image is classified correctly, bool [..., n_images].
            rival_hits: the same for the rivals on the same images, bool [..., n_images].
            n_looks: how often each candidate is looked at in all, this time included.

        Returns:
            bool [...].
        """
        if n_looks < 1:
            raise ConfigError(f"n_looks is {n_looks}: expected at least 1, this one")
        return sign_test(candidate_hits, rival_hits) < self.alpha / n_looks


def sign_test(candidate_hits: ArrayLike, rival_hits: ArrayLike) -> NDArray[np.float64]:
    """One-sided p-values against "the candidate is at least as accurate as the rival"; arguments as `Race.is_beaten`.

    >>> float(round(sign_test([False] * 6 + [True], [True] * 7), 6))
    0.015625
    """
    from scipy.special import bdtrc  # 0.25 s to import: only a race pays for it

    candidate, rival = np.asarray(candidate_hits), np.asarray(rival_hits)
    if candidate.shape != rival.shape or candidate.ndim == 0 or not candidate.dtype == rival.dtype == np.bool_:
        raise ShapeError(
            f"hits of candidates are {candidate.dtype} {list(candidate.shape)}, of rivals {rival.dtype} "
            f"{list(rival.shape)}: expected bool [..., n_images], both on the same images"
        )
    n_rival_only = (rival & ~candidate).sum(axis=-1)
    n_disagreeing = (rival ^ candidate).sum(axis=-1)
    return bdtrc(n_rival_only - 1, n_disagreeing, 0.5)  # P(Bin > k - 1), 1 for k = 0


def choose_rivals(costs: ArrayLike, *, known_costs: ArrayLike, known_accuracy: ArrayLike) -> NDArray[np.int64]:
    """The most accurate of the known designs that cost no more than each candidate in any respect.

    Args:
        costs: of the candidates, float [n, n_costs]: energy, and memory where it is an objective.
        known_costs: of the designs measured on all images, float [n_known, n_costs].
        known_accuracy: of the same, float [n_known].

    Returns:
        Index of the rival, int64 [n]; the first of equals, -1 where no known design is as cheap.
    """
    costs, known = np.asarray(costs, dtype=np.float64), np.asarray(known_costs, dtype=np.float64)
    accuracy = np.asarray(known_accuracy, dtype=np.float64)
    if costs.ndim != 2 or known.ndim != 2 or costs.shape[1] != known.shape[1] or accuracy.shape != known.shape[:1]:
        raise ShapeError(
            f"costs {costs.shape}, known costs {known.shape} and accuracies {accuracy.shape}: expected "
            "(n, n_costs), (n_known, n_costs) and (n_known,)"
        )
    if len(known) == 0:
        return np.full(len(costs), -1, dtype=np.int64)
    fits = (known[None] <= costs[:, None]).all(axis=2)
    best = np.where(fits, accuracy, -np.inf).argmax(axis=1)
    return np.where(fits.any(axis=1), best, -1).astype(np.int64)


def told_accuracy(
    candidate_hits: NDArray[np.bool_], rival_hits: NDArray[np.bool_], rival_accuracy: ArrayLike
) -> NDArray[np.float64]:
    """What stands for the accuracy of a beaten candidate on all images, float64 [...] in [0, 1].

    The rival's, less the difference on the images that both saw: always below the rival's, unlike the candidate's own
    mean where those images are easier than the rest.

    Args:
        candidate_hits: bool [..., n_images].
        rival_hits: bool [..., n_images].
        rival_accuracy: on all images, float [...].
    """
    difference = rival_hits.mean(axis=-1) - candidate_hits.mean(axis=-1)
    return np.maximum(np.asarray(rival_accuracy, dtype=np.float64) - difference, 0.0)
