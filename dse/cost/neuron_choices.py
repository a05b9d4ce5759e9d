"""What a layer may be given where its neurons (output channels) differ: one multiplier, or two that share them.

A choice is a multiplier of a library, or a composite: an exact-er multiplier `high`, a cheaper one `low`, and the share
of the layer's neurons, the most resilient ones, that go through `low`. AxNN (Venkataramani et al., "AxNN: Energy-
Efficient Neuromorphic Systems using Approximate Computing", ISLPED 2014) approximates resilient neurons by levels of
precision; pairs of any multipliers and fixed shares are ours, so that a layer stays one integer of an assignment and
every search takes it as it is.

A composite is written `high+low@50`: half of the neurons through `low`.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.errors import ConfigError, MultiplierError, ShapeError, unknown_name
from dse.multipliers.library import Library
from dse.pareto import front_indices

MAX_PAIRED = 8
"""Multipliers that composites are made of, at most: 28 pairs."""

_BETWEEN, _BEFORE_SHARE = "+", "@"


@dataclass(frozen=True)
class Choice:
    """One of them.

    Attributes:
        name: of the multiplier, or of the composite as in the module docstring.
        high: position of the exact-er multiplier in the library.
        low: of the cheaper one; `high` where there is one multiplier alone.
        share_pct: share of the neurons that get `low`, in percent; 0 where there is one multiplier alone.
        key: of the multiplier's table; of both, and the share, for a composite.
    """

    name: str
    high: int
    low: int
    share_pct: int
    key: str


class NeuronChoices(Sequence[Choice]):
    """All multipliers of a library and composites of some, by ascending energy: what an assignment's entries index.

    Composites are made of the multipliers that no other beats in both energy and error, thinned to `MAX_PAIRED` that
    are far apart in energy, among them the cheapest and the exact one; of each two the cheaper one is `low`.

    Args:
        library: searchable.
        shares_pct: percents of neurons that get the cheaper multiplier, whole numbers in 1..99, all different; none:
            the library's multipliers alone.
        errors: what a multiplier is off by, float [n_multipliers], for that front, inf to leave it out of composites;
            by default `folded_error_std`.

    Attributes:
        library: as given.
        shares_pct: ascending.
        exact_index: position of the library's exact multiplier among the choices.
        high, low: positions in the library, int64 [n_choices].

    Raises:
        ConfigError: shares that are not as described, or a name that holds the sign between two names.
    """

    def __init__(self, library: Library, shares_pct: Sequence[int], *, errors: ArrayLike | None = None) -> None:
        self.library, self.shares_pct = library, _checked_shares(shares_pct)
        if self.shares_pct:
            _check_names(library)
        energies = library.energy_rel
        plain = [Choice(m.name, i, i, 0, m.key) for i, m in enumerate(library)]
        paired = _paired(energies, folded_error_std(library) if errors is None else np.asarray(errors))
        pairs = [(high, low) for high in paired for low in paired if energies[low] < energies[high]]
        composites = [_composite(library, *pair, share) for pair in pairs for share in self.shares_pct]
        self._choices = tuple(sorted([*plain, *composites], key=lambda c: (_energy(c, energies), c.share_pct, c.high)))
        self.high = np.array([c.high for c in self], dtype=np.int64)
        self.low = np.array([c.low for c in self], dtype=np.int64)
        self.exact_index = self._positions[library[library.exact_index].name]

    def __len__(self) -> int:
        return len(self._choices)

    def __iter__(self) -> Iterator[Choice]:
        return iter(self._choices)

    def __getitem__(self, index: int) -> Choice:  # type: ignore[override]
        return self._choices[index]

    def __repr__(self) -> str:
        return f"NeuronChoices({len(self.library)} multipliers, {len(self) - len(self.library)} composites)"

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {c.name: i for i, c in enumerate(self)}

    @property
    def names(self) -> tuple[str, ...]:
        """In order, unique."""
        return tuple(c.name for c in self)

    def index(self, name: str) -> int:  # type: ignore[override]
        """Position of a name or an alias of a multiplier; a `MultiplierError` names the nearest of an unknown one."""
        if name in self._positions:
            return self._positions[name]
        if _BETWEEN not in name and name in self.library:
            return self._positions[self.library[name].name]
        raise MultiplierError(unknown_name("multiplier", name, self.names))

    @cached_property
    def energy_rel(self) -> NDArray[np.float64]:
        """Energy of a multiplication relative to the exact one's, were there neurons for any share; float64
        [n_choices], ascending."""
        return np.array([_energy(c, self.library.energy_rel) for c in self])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the library and all names, in order."""
        return hashlib.sha256("\n".join([self.library.fingerprint, *self.names]).encode()).hexdigest()

    def n_low(self, n_outputs: int) -> NDArray[np.int64]:
        """How many of `n_outputs` neurons go through `low`, halves rounded up; int64 [n_choices], 0 for one multiplier.

        >>> from dse.multipliers.families import builtin_library
        >>> NeuronChoices(builtin_library().select(names=["u8_exact", "u8_trunc8"]).searchable(), [25]).n_low(10)
        array([0, 3, 0])
        """
        return n_low(np.array([c.share_pct for c in self], dtype=np.int64), n_outputs)

    def low_weights(self, importances: Sequence[ArrayLike]) -> NDArray[np.float64]:
        """Part of a layer's importance that lies on the neurons of `low`, float64 [n_layers, n_choices].

        Args:
            importances: of every layer's neurons, the most resilient first, float >= 0 [C_out]. Equal ones give the
                share of the neurons itself.
        """
        parts = []
        for values in importances:
            cumulated = np.concatenate([[0.0], np.cumsum(np.asarray(values, dtype=np.float64))])
            counts = self.n_low(len(cumulated) - 1)
            parts.append(cumulated[counts] / cumulated[-1] if cumulated[-1] > 0 else counts / (len(cumulated) - 1))
        return np.array(parts)

    def mixed(self, values: ArrayLike, low_weights: ArrayLike) -> NDArray[np.float64]:
        """Values of multipliers mixed to values of choices, `(1 - w) high + w low`.

        Args:
            values: float [n_multipliers] or [n_layers, n_multipliers].
            low_weights: `w`, float [n_layers, n_choices].

        Returns:
            float64 [n_layers, n_choices]; for one multiplier alone its value itself.
        """
        values, weights = np.asarray(values, dtype=np.float64), np.asarray(low_weights, dtype=np.float64)
        if values.shape[-1:] != (len(self.library),) or weights.shape[-1:] != (len(self),):
            raise ShapeError(
                f"got values {values.shape} and weights {weights.shape}: expected {len(self.library)} multipliers and "
                f"{len(self)} choices"
            )
        high, low = values[..., self.high], values[..., self.low]
        with np.errstate(invalid="ignore"):  # an infinite value of weight 0, in an entry that is not taken
            return np.where(self.high == self.low, high, (1 - weights) * high + weights * low)


def parse_choice(name: str) -> tuple[str, str, int]:
    """Names of `high` and `low` and the share in percent; a multiplier alone is both, with share 0.

    >>> parse_choice("mul8u_1JFF+mul8u_DM1@50"), parse_choice("mul8u_DM1")
    (('mul8u_1JFF', 'mul8u_DM1', 50), ('mul8u_DM1', 'mul8u_DM1', 0))
    """
    high, between, rest = name.partition(_BETWEEN)
    if not between:
        return name, name, 0
    low, _, share = rest.rpartition(_BEFORE_SHARE)
    if not (high and low and share.isdecimal()):
        raise MultiplierError(f"{name!r}: expected a name, or two and a share as in 'high+low@50'")
    return high, low, int(share)


def n_low(share_pct: NDArray[np.int64] | int, n_outputs: int) -> NDArray[np.int64] | int:
    """How many of `n_outputs` neurons a share of them is, halves rounded up."""
    return (share_pct * n_outputs + 50) // 100


def choice_energy(name: str, energies: Mapping[str, float], n_outputs: int) -> float:
    """Energy of a multiplication in a layer of `n_outputs` neurons, on average over them, in the unit of `energies`.

    Args:
        name: of a choice, see `parse_choice`.
        energies: of the multipliers, by name.
        n_outputs: at least 1.

    >>> choice_energy("high+low@25", {"high": 1.0, "low": 0.0}, 10)
    0.7
    """
    high, low, share_pct = parse_choice(name)
    part = n_low(share_pct, n_outputs) / n_outputs
    return (1 - part) * energies[high] + part * energies[low]


def folded_error_std(library: Library) -> NDArray[np.float64]:
    """What every multiplier is off by when each weight's mean error is folded away, float64 [n_multipliers].

    The root of the mean over weights of the variance over activations, all codes equally likely.
    """
    return np.array([np.sqrt(m.error.astype(np.float64).var(axis=0).mean()) for m in library])


def _composite(library: Library, high: int, low: int, share_pct: int) -> Choice:
    def joined(a: str, b: str) -> str:
        return f"{a}{_BETWEEN}{b}{_BEFORE_SHARE}{share_pct}"

    return Choice(
        joined(library[high].name, library[low].name), high, low, share_pct, joined(library[high].key, library[low].key)
    )


def _energy(choice: Choice, energies: NDArray[np.float64]) -> float:
    share = choice.share_pct / 100
    return float((1 - share) * energies[choice.high] + share * energies[choice.low])


def _paired(energies: NDArray[np.float64], errors: NDArray[np.float64]) -> list[int]:
    """Multipliers that composites are made of, ascending."""
    if errors.shape != energies.shape:
        raise ShapeError(f"got errors {errors.shape}: expected ({len(energies)},), one a multiplier")
    known = np.flatnonzero(errors < np.inf)
    front = known[front_indices(np.stack([energies, errors], axis=1)[known])].tolist()  # ascending in energy
    kept = list(dict.fromkeys([*front[:1], *front[-1:]]))
    while len(kept) < min(len(front), MAX_PAIRED):
        distance = np.abs(energies[front][:, None] - energies[kept][None, :]).min(axis=1)
        distance[np.isin(front, kept)] = -1.0
        kept.append(front[int(distance.argmax())])
    return sorted(kept)


def _checked_shares(shares_pct: Sequence[int]) -> tuple[int, ...]:
    shares = list(shares_pct)
    if not all(isinstance(s, int | np.integer) and 1 <= s <= 99 for s in shares) or len(set(shares)) < len(shares):
        raise ConfigError(f"neuron shares {shares}: expected different whole percents from 1 to 99, as 25, 50, 75")
    return tuple(sorted(int(s) for s in shares))


def _check_names(library: Library) -> None:
    for m in library:
        if _BETWEEN in m.name:
            raise ConfigError(
                f"multiplier {m.name!r} has a {_BETWEEN!r} in its name, which stands between the names of two that "
                "share a layer's neurons: rename it, or leave out the neuron shares"
            )
