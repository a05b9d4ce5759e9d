"""A set of multipliers to choose from, ordered by energy.

An index into a library (an assignment's gene) is the position in ascending energy, ties by table key. The energy of one
multiplication is proportional to power at a common clock (METHODS 4), so `energy_rel = cost / cost of the exact one`;
costs of two technologies, units or clocks are never put side by side.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from dse.errors import MultiplierError, unknown_name
from dse.multipliers.metrics import error_metrics
from dse.multipliers.multiplier import N_CODES, Cost, Multiplier

if TYPE_CHECKING:
    import pandas as pd

_LISTED = 8
"""Names quoted in an error message before the rest is counted."""


class Library(Sequence[Multiplier]):
    """An immutable sequence of multipliers in ascending (energy, key); unknown costs come last.

    Equal tables of one technology are merged: the first name stays, the others become aliases, and the cheapest cost is
    kept. Names are unique inside a library: a second table of the same name is listed as `NAME@KEY` (six hex digits).

    >>> cheap, dear = (Cost(power, "mW", technology="45 nm", source="synthesis") for power in (0.5, 2.0))
    >>> exact = Multiplier.from_function("exact", lambda a, b: a * b, is_signed=False, cost=dear)
    >>> even = Multiplier.from_function("even", lambda a, b: a * (b & ~1), is_signed=False, cost=cheap)
    >>> library = Library([exact, even], name="mine")
    >>> library.names, library.energy_rel, library["exact"].is_exact
    (('even', 'exact'), array([0.25, 1.  ]), True)
    """

    def __init__(self, multipliers: Iterable[Multiplier], *, name: str = "") -> None:
        """Collect multipliers; both signednesses and several technologies may be mixed until `searchable`."""
        merged = _merge(list(multipliers))
        self._multipliers = _with_unique_names(sorted(merged, key=_energy_order))
        self._name = name

    @property
    def name(self) -> str:
        """Where the library comes from."""
        return self._name

    @property
    def names(self) -> tuple[str, ...]:
        """Names in library order, unique."""
        return tuple(m.name for m in self)

    @property
    def is_signed(self) -> bool:
        """Signedness of all members; an error where both occur."""
        kinds = {m.is_signed for m in self}
        if len(kinds) != 1:
            raise MultiplierError(
                f"{self._label()} is empty: expected at least one multiplier; loosen the selection"
                if not kinds
                else f"{self._label()} mixes signed and unsigned multipliers: expected one signedness; "
                "select one with select(is_signed=False) or select(is_signed=True) (command line: --signed)"
            )
        return kinds.pop()

    @property
    def technology(self) -> str:
        """Technology of all known costs; an error where several occur or none is known."""
        return self._cost_scale[0]

    @property
    def unit(self) -> str:
        """Unit of all known costs, "mW" or "gates"; an error as for `technology`."""
        return self._cost_scale[1]

    @cached_property
    def _cost_scale(self) -> tuple[str, str, float | None]:
        scales = sorted({m.cost.scale for m in self if m.cost is not None}, key=str)
        if len(scales) == 1:
            return scales[0]
        if not scales:
            raise MultiplierError(
                f"{self._label()} states no cost for any multiplier: expected power or gate counts; read it from a "
                "directory with an index.csv (columns name, file, power_mw, technology)"
            )
        found = "; ".join(f"{technology} ({unit}{f', {mhz:g} MHz' if mhz else ''})" for technology, unit, mhz in scales)
        raise MultiplierError(
            f"{self._label()} mixes costs that cannot be compared: {found}: expected one technology, unit and clock; "
            f"name multipliers of one under [library] include, or select(technology={scales[0][0]!r}) in Python"
        )

    def __len__(self) -> int:
        return len(self._multipliers)

    def __iter__(self) -> Iterator[Multiplier]:
        return iter(self._multipliers)

    @overload
    def __getitem__(self, item: int | str) -> Multiplier: ...
    @overload
    def __getitem__(self, item: slice) -> Library: ...
    def __getitem__(self, item: int | str | slice) -> Multiplier | Library:
        """Member by index, name or alias; a slice is a library again."""
        if isinstance(item, str):
            return self._multipliers[self.index(item)]
        if isinstance(item, slice):
            return Library(self._multipliers[item], name=self._name)
        return self._multipliers[item]

    def __contains__(self, item: object) -> bool:
        return item in self._positions if isinstance(item, str) else item in self._multipliers

    def __eq__(self, other: object) -> bool:
        return self.fingerprint == other.fingerprint if isinstance(other, Library) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"Library({self._name!r}, {len(self)} multipliers)"

    @cached_property
    def _positions(self) -> dict[str, int]:
        positions = {alias: i for i, m in reversed(list(enumerate(self))) for alias in m.aliases}
        return positions | {m.name: i for i, m in enumerate(self)}

    def index(self, name: str | Multiplier) -> int:  # type: ignore[override]
        """Position of a name, an alias, or a multiplier (by its key).

        Raises:
            MultiplierError: no such member; the message names the nearest.
        """
        if isinstance(name, Multiplier):
            return self._multipliers.index(name)
        if name not in self._positions:
            raise MultiplierError(unknown_name("multiplier", name, self.names))
        return self._positions[name]

    def select(
        self,
        is_signed: bool | None = None,
        *,
        names: Iterable[str] | None = None,
        technology: str | None = None,
    ) -> Library:
        """Members that meet all given conditions, in the same order.

        Args:
            is_signed: keep one signedness.
            names: keep these names or aliases; an unknown one is an error.
            technology: keep members whose cost is of this technology.
        """
        known = sorted({m.cost.technology for m in self if m.cost is not None})
        if technology is not None and technology not in known:
            raise MultiplierError(unknown_name("technology", technology, known))
        kept = range(len(self)) if names is None else {self.index(name) for name in names}
        chosen = [
            self[i]
            for i in sorted(kept)
            if (is_signed is None or self[i].is_signed == is_signed)
            and (technology is None or (self[i].cost is not None and self[i].cost.technology == technology))
        ]
        return Library(chosen, name=self._name)

    def searchable(self) -> Library:
        """The members a search may assign: constants of zero cost dropped, everything else checked.

        Raises:
            MultiplierError: both signednesses, unknown costs, several technologies, or no exact multiplier.
        """
        library = Library((m for m in self if not _is_free_constant(m)), name=self._name)
        _ = library.is_signed
        without_cost = [m.name for m in library if m.cost is None]
        _ = library._cost_scale
        if without_cost:
            raise MultiplierError(
                f"{self._label()} has multipliers of unknown cost: {_listed(without_cost)}: expected a cost for each; "
                "add them to its index.csv, or leave them out with select(names=...)"
            )
        if library[library.exact_index].cost.value == 0:
            raise MultiplierError(
                f"{self._label()}: the exact multiplier costs 0: expected > 0, as energies are relative to it"
            )
        return library

    @cached_property
    def exact_index(self) -> int:
        """Position of the (cheapest) exact multiplier; an error where there is none."""
        for i, m in enumerate(self):
            if m.is_exact:
                return i
        closest = min(self, key=lambda m: np.abs(m.error).mean(), default=None)
        hint = f" (closest: {closest.name!r})" if closest is not None else ""
        raise MultiplierError(
            f"{self._label()} has no exact multiplier{hint}: expected one, energies are relative to it; "
            "add an exact table with its cost to the library"
        )

    @cached_property
    def energy_rel(self) -> np.ndarray:
        """Energy of one multiplication relative to the exact multiplier's.

        Returns:
            float64 [M], ascending, read-only; NaN where the cost is unknown.
        """
        _ = self.is_signed, self._cost_scale
        values = np.array([math.nan if m.cost is None else m.cost.value for m in self])
        energy = values / values[self.exact_index]
        energy.setflags(write=False)
        return energy

    @cached_property
    def tables(self) -> np.ndarray:
        """All tables, int32 [M, 256, 256], read-only, in library order."""
        stacked = np.array([m.table for m in self], dtype=np.int32).reshape(-1, N_CODES, N_CODES)
        stacked.setflags(write=False)
        return stacked

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of keys, names and costs: equal libraries assign and cost alike."""
        rows = [(m.key, m.name, m.cost and (m.cost.value, *m.cost.scale)) for m in self]
        return hashlib.sha256(repr(rows).encode()).hexdigest()

    def to_dataframe(self) -> pd.DataFrame:
        """One row a multiplier: name, signedness, cost, recomputed error metrics (see `metrics`), aliases, key."""
        import pandas as pd

        return pd.DataFrame([self._row(m) for m in self], columns=_COLUMNS)

    def _row(self, m: Multiplier) -> dict[str, object]:
        metrics = error_metrics(m.table, is_signed=m.is_signed).to_dict()
        cost = m.cost or Cost(0.0, "mW", "", "")
        return metrics | {
            "name": m.name,
            "signed": m.is_signed,
            "exact": m.is_exact,
            "cost": math.nan if m.cost is None else cost.value,
            "unit": "" if m.cost is None else cost.unit,
            "technology": cost.technology,
            "energy_rel": self._relative(m),
            "aliases": " ".join(m.aliases),
            "key": m.key[:12],
        }

    def _relative(self, m: Multiplier) -> float:
        """Cost over that of the exact multiplier of the same signedness and cost scale; NaN where one is missing."""
        if m.cost is None:
            return math.nan
        group = (m.is_signed, m.cost.scale)
        exact = [x.cost.value for x in self if x.cost and (x.is_signed, x.cost.scale) == group and x.is_exact]
        return m.cost.value / exact[0] if exact and exact[0] > 0 else math.nan

    def _repr_html_(self) -> str:
        from dse.multipliers.notebook import library_html

        return library_html(self)

    def _label(self) -> str:
        return f"library {self._name!r}" if self._name else "library"


_COLUMNS = [
    *("name", "signed", "exact", "cost", "unit", "technology", "energy_rel"),
    *("mae_pct", "wce_pct", "ep_pct", "mre_pct", "wcre_pct", "mse", "bias", "aliases", "key"),
]


def load_library(
    path: str | Path = "builtin", *, is_signed: bool | None = None, allow_compile: bool = False
) -> Library:
    """Read a library.

    Args:
        path: "builtin"; a table file (`.bin`, `.npy`, `.npz`, `.csv`, `.txt`, `.h`, `.c`); a directory of such files,
            with or without an `index.csv`; or the name of an installed plug-in (entry-point group `dse.multipliers`).
        is_signed: keep one signedness; for a file that does not state its own, its signedness.
        allow_compile: C sources may be compiled with `cc` and run (command line: `--compile-c`); only for sources
            you trust.

    Raises:
        MultiplierError: nothing there, or a file that does not hold a table.

    >>> library = load_library("builtin", is_signed=False)
    >>> len(library), library.technology, library.select(names=["u8_drum4", "u8_exact"]).names
    (37, 'unit-gate', ('u8_drum4', 'u8_exact'))
    """
    from dse.multipliers.readers import formats, plugins, table_directory

    if str(path) == "builtin":
        from dse.multipliers.families import builtin_library

        library = builtin_library()
    elif not Path(path).exists() and (members := plugins.read(str(path))) is not None:
        library = Library(members, name=str(path))
    elif Path(path).is_dir():
        found = table_directory.read(Path(path), is_signed=is_signed, allow_compile=allow_compile)
        library = Library(found, name=Path(path).name)
    else:
        found = formats.read(Path(path), is_signed=is_signed, allow_compile=allow_compile)
        library = Library(found, name=Path(path).name)
    if is_signed is None:
        return library
    chosen = library.select(is_signed)
    if not len(chosen):
        kind, other = ("signed", "without") if is_signed else ("unsigned", "with")
        raise MultiplierError(
            f"library {str(path)!r} has no {kind} multiplier: expected at least one; load it {other} --signed"
        )
    return chosen


def _energy_order(m: Multiplier) -> tuple[float, str]:
    return (math.inf if m.cost is None else m.cost.value, m.key)


def _is_free_constant(m: Multiplier) -> bool:
    """A circuit of no gates: it would win every choice made by power alone."""
    return m.is_constant and m.cost is not None and m.cost.value == 0


def _merge(multipliers: list[Multiplier]) -> list[Multiplier]:
    """Merge equal tables of one cost scale; a member without cost joins the first equal table that has one."""
    for m in multipliers:
        if not isinstance(m, Multiplier):
            raise MultiplierError(f"library member {m!r}: expected a Multiplier; wrap its table in one")
    scale_of_key = {m.key: m.cost.scale for m in reversed(multipliers) if m.cost is not None}
    groups: dict[tuple, list[Multiplier]] = {}
    for m in multipliers:
        scale = scale_of_key.get(m.key) if m.cost is None else m.cost.scale
        groups.setdefault((m.key, scale), []).append(m)
    return [_merged(group) for group in groups.values()]


def _merged(group: list[Multiplier]) -> Multiplier:
    first = group[0]
    if len(group) == 1:
        return first
    names = dict.fromkeys(name for m in group for name in (m.name, *m.aliases) if name != first.name)
    costs = [m.cost for m in group if m.cost is not None]
    cost = min(costs, key=lambda c: c.value, default=None)
    return replace(first, aliases=tuple(names), cost=cost)


def _with_unique_names(multipliers: list[Multiplier]) -> tuple[Multiplier, ...]:
    """Append key digits to names already taken by a cheaper member."""
    taken: set[str] = set()
    unique = []
    for m in multipliers:
        if m.name in taken:
            tag = m.key[:6] if f"{m.name}@{m.key[:6]}" not in taken else f"{m.key[:6]}-{len(taken)}"
            m = replace(m, name=f"{m.name}@{tag}", aliases=tuple(dict.fromkeys((*m.aliases, m.name))))
        taken.add(m.name)
        unique.append(m)
    return tuple(unique)


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")
