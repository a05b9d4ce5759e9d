"""What a layer may be given where its weights may be pruned: a multiplier, and the share of weights that are zeros.

A choice is a multiplier of a library with a sparsity level, so that a layer stays one integer of an assignment and
every search takes it as it is. `mul8s_1KV8%70` is that multiplier with 70 % of the layer's weights zero; at level 0,
without pruning, the multiplier's name stands alone. Quantization makes zeros as well. With global rates a level is the
share of all layers' weights, of which a layer may lose more or less.

Two kinds of engines differ in what zeros cost. Where zero weights are `multiplied`, as in a dense array, they go
through the multiplier, which need not make a zero of them. Where they are `skipped`, as by an engine that reads
compressed weights, they cost no multiplication and add exactly nothing.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dse.errors import ConfigError, MultiplierError, unknown_name
from dse.multipliers.library import Library

ZeroWeights = Literal["multiplied", "skipped"]
"""What an engine does with weights of zero."""

DEFAULT_LEVELS_PCT = (0, 50, 70, 80, 90)
"""Sparsity levels where nobody says otherwise."""

_BEFORE_LEVEL = "%"


@dataclass(frozen=True)
class SparseChoice:
    """One of them.

    Attributes:
        name: as in the module docstring.
        multiplier: position in the library.
        sparsity_pct: the level, in percent.
        key: of the multiplier's table, and the level.
    """

    name: str
    multiplier: int
    sparsity_pct: int
    key: str


class SparseChoices(Sequence[SparseChoice]):
    """All multipliers of a library at all sparsity levels, by ascending energy: what an assignment's entries index.

    Args:
        library: searchable.
        levels_pct: whole percents in 0..99, all different; 0, no pruning, is always among them.
        zero_weights: what the engine does with weights of zero.

    Attributes:
        library: as given.
        levels_pct: ascending, from 0.
        zero_weights: as given.
        exact_index: position of the exact multiplier without pruning.
        multiplier, level: positions in `library` and `levels_pct`, int64 [n_choices].
        position: the choice of a multiplier and a level, int64 [n_multipliers, n_levels].

    Raises:
        ConfigError: levels that are not as described, or a multiplier's name that holds the sign before levels.
    """

    def __init__(self, library: Library, levels_pct: Sequence[int], *, zero_weights: ZeroWeights) -> None:
        self.library, self.levels_pct, self.zero_weights = library, checked_levels(levels_pct), zero_weights
        _check_names(library)
        pairs = [(m, level) for m in range(len(library)) for level in range(len(self.levels_pct))]
        pairs.sort(key=lambda pair: (self._energy(*pair), -pair[1], pair[0]))  # of equal energy the sparser comes first
        self._choices = tuple(self._choice(m, self.levels_pct[level]) for m, level in pairs)
        self.multiplier, self.level = np.array(pairs, dtype=np.int64).T.copy()
        self.position = np.empty((len(library), len(self.levels_pct)), dtype=np.int64)
        self.position[self.multiplier, self.level] = np.arange(len(pairs))
        self.exact_index = int(self.position[library.exact_index, 0])

    def __len__(self) -> int:
        return len(self._choices)

    def __iter__(self) -> Iterator[SparseChoice]:
        return iter(self._choices)

    def __getitem__(self, index: int) -> SparseChoice:  # type: ignore[override]
        return self._choices[index]

    def __repr__(self) -> str:
        return f"SparseChoices({len(self.library)} multipliers, sparsity {self.levels_pct} %)"

    def _choice(self, multiplier: int, sparsity_pct: int) -> SparseChoice:
        m = self.library[multiplier]
        return SparseChoice(
            choice_name(m.name, sparsity_pct), multiplier, sparsity_pct, choice_name(m.key, sparsity_pct)
        )

    def _energy(self, multiplier: int, level: int) -> float:
        density = 1.0 if self.zero_weights == "multiplied" else 1 - self.levels_pct[level] / 100
        return float(density * self.library.energy_rel[multiplier])

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {c.name: i for i, c in enumerate(self)}

    @property
    def names(self) -> tuple[str, ...]:
        """In order, unique."""
        return tuple(c.name for c in self)

    def index(self, name: str) -> int:  # type: ignore[override]
        """Position of a name; a `MultiplierError` names the nearest of an unknown one."""
        if name in self._positions:
            return self._positions[name]
        multiplier, sparsity_pct = parse_sparse_choice(name)
        if multiplier in self.library and sparsity_pct in self.levels_pct:
            return self._positions[choice_name(self.library[multiplier].name, sparsity_pct)]
        raise MultiplierError(unknown_name("multiplier", name, self.names))

    @cached_property
    def energy_rel(self) -> NDArray[np.float64]:
        """Energy a weight relative to the exact multiplier's, were a layer exactly as sparse as its level; float64
        [n_choices], ascending."""
        return np.array([self._energy(m, level) for m, level in zip(self.multiplier, self.level, strict=True)])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the library, all names, in order, and what happens to zeros."""
        parts = [self.library.fingerprint, self.zero_weights, *self.names]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def sparsities_pct(self, assignments: NDArray[np.int64]) -> NDArray[np.int64]:
        """Sparsity level of every layer in percent, int64 [n, n_layers], as `assignments`."""
        return np.array(self.levels_pct, dtype=np.int64)[self.level[assignments]]


def choice_name(name: str, sparsity_pct: int) -> str:
    """Of a multiplier's name and a level.

    >>> choice_name("mul8s_1KV8", 70), choice_name("mul8s_1KV8", 0)
    ('mul8s_1KV8%70', 'mul8s_1KV8')
    """
    return f"{name}{_BEFORE_LEVEL}{sparsity_pct}" if sparsity_pct else name


def parse_sparse_choice(name: str) -> tuple[str, int]:
    """The multiplier's name and the level in percent: `choice_name` undone.

    >>> parse_sparse_choice("mul8s_1KV8%70"), parse_sparse_choice("mul8s_1KV8")
    (('mul8s_1KV8', 70), ('mul8s_1KV8', 0))
    """
    multiplier, sign, level = name.rpartition(_BEFORE_LEVEL)
    return (multiplier, int(level)) if sign and level.isdecimal() else (name, 0)


def checked_levels(levels_pct: Sequence[int]) -> tuple[int, ...]:
    """Ascending, with 0.

    Raises:
        ConfigError: not different whole percents from 0 to 99.
    """
    levels = list(levels_pct)
    if not all(isinstance(s, int | np.integer) and 0 <= s <= 99 for s in levels) or len(set(levels)) < len(levels):
        raise ConfigError(f"sparsity levels {levels}: expected different whole percents from 0 to 99, as 0, 50, 80")
    return tuple(sorted({0, *map(int, levels)}))


def _check_names(library: Library) -> None:
    for m in library:
        if _BEFORE_LEVEL in m.name:
            raise ConfigError(
                f"multiplier {m.name!r} has a {_BEFORE_LEVEL!r} in its name, which stands before a layer's sparsity: "
                "rename it, or leave out the sparsity levels"
            )
