"""Accelerators: what may be assigned, and what the assignment costs.

The tiled accelerators follow ALWANN (Mrazek et al., ICCAD 2019, arXiv:1907.07229): an accelerator has `T` tiles, each
built from one multiplier, and every layer runs on one tile. The paper does not publish its tile equations; those of
`PowerGatedTiles` and `PipelinedTiles` are ours, marked [ours] in the docstrings. All three count multiplications only.

Symbols: `N_l` multiplications of layer `l` for one input sample, `N = SUM_l N_l`, `e_m` energy of one multiplication at
full rate (`P_m / f`), `m(l)` multiplier of layer `l`, `r` multiplications a tile finishes per second. Relative figures
are divided by `N * e_exact`: the exact network on hardware that never idles.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from dse.cost.energy import check_assignments, common_clock_mhz, energy_per_multiplication_pj, total_energy
from dse.errors import ConfigError, ShapeError, unknown_name

if TYPE_CHECKING:
    from dse.multipliers.library import Library
    from dse.networks.layers import LayerInfo

KINDS = ("free", "tiles", "pipelined")

DEFAULT_LEAKAGE_FRACTION = 0.1
"""Leakage as a fraction of a multiplier's power at full rate; an assumption of ours for 45 nm logic at nominal
voltage, to be replaced by the figure of the cell library in use."""

DEFAULT_UNITS_PER_TILE = 256
"""Multipliers in one tile (a 16 x 16 array), each finishing one product a cycle; scales throughput only."""


@dataclass(frozen=True, eq=False)
class Designs:
    """A batch of designs as hardware sees it.

    Attributes:
        assignments: Multiplier of each layer, int64 [n, n_layers].
        tiles: Tile of each layer, int64 [n, n_layers]; None where layers are free.
        tile_multipliers: Multiplier of each tile, int64 [n, n_tiles]; None where layers are free.
    """

    assignments: NDArray[np.int64]
    tiles: NDArray[np.int64] | None = None
    tile_multipliers: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.assignments)


class Accelerator(Protocol):
    """Energy and throughput of designs.

    Attributes:
        name: The text that makes it, as "tiles:4".
        n_tiles: Number of tiles, None where any layer may use any multiplier.
        is_concurrent: Whether tiles work at the same time, so that the map of layers to tiles matters by itself.
    """

    name: str
    n_tiles: int | None
    is_concurrent: bool

    def energy_rel(self, designs: Designs) -> NDArray[np.float64]:
        """Energy per input sample relative to the exact network, float64 [n]."""

    def energy_pj(self, designs: Designs) -> NDArray[np.float64]:
        """Energy per input sample in pJ, float64 [n]; NaN where the library's costs are not powers."""

    def throughput(self, designs: Designs) -> NDArray[np.float64]:
        """Input samples per second, float64 [n]."""


@dataclass(frozen=True, eq=False)
class Workload:
    """What every accelerator needs to know about the network, the library and the clock.

    Attributes:
        n_multiplications: `N_l`, float64 [n_layers].
        energy_rel: `e_m / e_exact`, float64 [n_multipliers].
        energy_pj: `e_m` in pJ, float64 [n_multipliers], NaN where unknown.
        rate_per_s: `r`, multiplications per second of one tile.
    """

    n_multiplications: NDArray[np.float64]
    energy_rel: NDArray[np.float64]
    energy_pj: NDArray[np.float64]
    rate_per_s: float

    @property
    def total(self) -> float:
        """`N`."""
        return float(self.n_multiplications.sum())

    def check(self, designs: Designs) -> NDArray[np.int64]:
        """The assignments of `designs`, checked against this network and library."""
        return check_assignments(
            designs.assignments, n_layers=len(self.n_multiplications), n_multipliers=len(self.energy_rel)
        )

    def sequential_energy(self, designs: Designs, energy: NDArray[np.float64]) -> NDArray[np.float64]:
        """`SUM_l N_l e_m(l)` in the unit of `energy`, float64 [n]."""
        return total_energy(self.check(designs), n_multiplications=self.n_multiplications, energy=energy)

    def sequential_throughput(self, designs: Designs) -> NDArray[np.float64]:
        """`r / N` for every design, float64 [n]."""
        return np.full(len(designs), self.rate_per_s / self.total)


@dataclass(frozen=True, eq=False)
class Free:
    """Any multiplier in any layer, one layer at a time [paper: the common figure of ALWANN and AGN].

    E = SUM_l N_l e_m(l),  E_rel = E / (N e_exact),  throughput = r / N.
    """

    workload: Workload
    name: str = "free"
    n_tiles: None = None
    is_concurrent: bool = False

    def energy_rel(self, designs: Designs) -> NDArray[np.float64]:
        """See `Accelerator`."""
        return self.workload.sequential_energy(designs, self.workload.energy_rel) / self.workload.total

    def energy_pj(self, designs: Designs) -> NDArray[np.float64]:
        """See `Accelerator`."""
        return self.workload.sequential_energy(designs, self.workload.energy_pj)

    def throughput(self, designs: Designs) -> NDArray[np.float64]:
        """See `Accelerator`."""
        return self.workload.sequential_throughput(designs)


@dataclass(frozen=True, eq=False)
class PowerGatedTiles:
    """`T` tiles with one multiplier each; one tile works, the others are gated off and cost nothing [ours].

    E = SUM_l N_l e_m(t(l)),  E_rel = E / (N e_exact),  throughput = r / N.

    For one assignment the figures are those of `Free`; what the tiles take away is choice: at most `T` different
    multipliers. Any exact uniform design has E_rel = 1.
    """

    workload: Workload
    n_tiles: int
    is_concurrent: bool = False

    @property
    def name(self) -> str:
        """The text that makes it."""
        return f"tiles:{self.n_tiles}"

    def energy_rel(self, designs: Designs) -> NDArray[np.float64]:
        """See `Accelerator`."""
        _check_distinct(self.workload.check(designs), self.n_tiles)
        return self.workload.sequential_energy(designs, self.workload.energy_rel) / self.workload.total

    def energy_pj(self, designs: Designs) -> NDArray[np.float64]:
        """See `Accelerator`."""
        _check_distinct(self.workload.check(designs), self.n_tiles)
        return self.workload.sequential_energy(designs, self.workload.energy_pj)

    def throughput(self, designs: Designs) -> NDArray[np.float64]:
        """See `Accelerator`."""
        return self.workload.sequential_throughput(designs)


@dataclass(frozen=True, eq=False)
class PipelinedTiles:
    """Up to `T` tiles that work concurrently on successive samples; an idle tile leaks [ours].

    With `N_t` multiplications mapped to tile `t`, `B = max_t N_t` the bottleneck and `phi` the leakage fraction:

        E = (1 - phi) SUM_l N_l e_m(t(l)) + phi B SUM_{t used} e_m(t),   throughput = r / B

    A sample takes `B / r` on every tile: a tile computes for `N_t / r` of it and leaks for all of it. Tiles without
    layers are not built. The reference is the exact network on one exact tile, which never idles: E = N e_exact, so
    that design has E_rel = 1, and a pipeline of exact tiles has E_rel >= 1, with equality when the tiles are balanced.
    With phi = 0 the energy is that of `Free`.

    Designs that carry no `tiles` are taken with one tile per distinct multiplier.
    """

    workload: Workload
    n_tiles: int
    leakage_fraction: float = DEFAULT_LEAKAGE_FRACTION
    is_concurrent: bool = True

    @property
    def name(self) -> str:
        """The text that makes it."""
        return f"pipelined:{self.n_tiles}"

    def energy_rel(self, designs: Designs) -> NDArray[np.float64]:
        """See `Accelerator`."""
        return self._energy(designs, self.workload.energy_rel) / self.workload.total

    def energy_pj(self, designs: Designs) -> NDArray[np.float64]:
        """See `Accelerator`."""
        return self._energy(designs, self.workload.energy_pj)

    def throughput(self, designs: Designs) -> NDArray[np.float64]:
        """See `Accelerator`."""
        return self.workload.rate_per_s / self._loads(*self._tiles(designs)).max(axis=1)

    def _energy(self, designs: Designs, energy: NDArray[np.float64]) -> NDArray[np.float64]:
        dynamic = self.workload.sequential_energy(designs, energy)
        tiles, tile_multipliers = self._tiles(designs)
        loads = self._loads(tiles, tile_multipliers)
        leaking = (energy[tile_multipliers] * (loads > 0)).sum(axis=1) * loads.max(axis=1)
        return (1 - self.leakage_fraction) * dynamic + self.leakage_fraction * leaking

    def _loads(self, tiles: NDArray[np.int64], tile_multipliers: NDArray[np.int64]) -> NDArray[np.float64]:
        """`N_t`, float64 [n, n_tiles]."""
        loads = np.zeros(tile_multipliers.shape)
        rows = np.arange(len(tiles))
        for layer, count in enumerate(self.workload.n_multiplications):
            loads[rows, tiles[:, layer]] += count
        return loads

    def _tiles(self, designs: Designs) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        assignments = self.workload.check(designs)
        if designs.tiles is None or designs.tile_multipliers is None:
            return _tiles_of_distinct(assignments, self.n_tiles)
        if designs.tile_multipliers.shape != (len(designs), self.n_tiles):
            raise ShapeError(
                f"`tile_multipliers` has shape {designs.tile_multipliers.shape}: "
                f"expected ({len(designs)}, {self.n_tiles})"
            )
        if not np.array_equal(np.take_along_axis(designs.tile_multipliers, designs.tiles, axis=1), assignments):
            raise ShapeError("`tiles` and `tile_multipliers` disagree with `assignments`: expected the decoded design")
        return designs.tiles, designs.tile_multipliers


def _tiles_of_distinct(assignments: NDArray[np.int64], n_tiles: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    _check_distinct(assignments, n_tiles)
    tiles = np.empty_like(assignments)
    tile_multipliers = np.zeros((len(assignments), n_tiles), dtype=np.int64)
    for row, assignment in enumerate(assignments):
        used, tiles[row] = np.unique(assignment, return_inverse=True)
        tile_multipliers[row, : len(used)] = used
    return tiles, tile_multipliers


def count_distinct(assignments: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of different multipliers in each row, int64 [n].

    >>> count_distinct(np.array([[3, 3, 3], [0, 2, 0]]))
    array([1, 2])
    """
    ordered = np.sort(assignments, axis=1)
    return 1 + (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1)


def _check_distinct(assignments: NDArray[np.int64], n_tiles: int) -> None:
    distinct = count_distinct(assignments)
    if distinct.size and distinct.max() > n_tiles:
        row = int(distinct.argmax())
        raise ConfigError(
            f"assignment {row} uses {distinct[row]} multipliers: expected at most {n_tiles}, one per tile; "
            "use more tiles or the accelerator 'free'"
        )


def make_accelerator(
    text: str,
    layers: Sequence["LayerInfo"],
    library: "Library",
    *,
    clock_mhz: float | None = None,
    leakage_fraction: float = DEFAULT_LEAKAGE_FRACTION,
    units_per_tile: int = DEFAULT_UNITS_PER_TILE,
) -> Accelerator:
    """Accelerator described by `text` for one network and library.

    Args:
        text: "free", "tiles:T" or "pipelined:T" with 1 <= T <= number of layers.
        layers: Layers with multiplications, in assignment order; only `n_multiplications` is read.
        library: Searchable library; assignments are positions in it.
        clock_mhz: Clock of the powers in MHz, see `energy_per_multiplication_pj`.
        leakage_fraction: Leakage over power at full rate, in [0, 1); "pipelined" only.
        units_per_tile: Multipliers in a tile, one product a cycle each.

    Raises:
        ConfigError: `text` or a parameter is not as described.
    """
    kind, n_tiles = _parse(text, n_layers=len(layers))
    if not 0 <= leakage_fraction < 1:
        raise ConfigError(f"leakage_fraction is {leakage_fraction}: expected a fraction in [0, 1)")
    if units_per_tile < 1:
        raise ConfigError(f"units_per_tile is {units_per_tile}: expected at least 1 multiplier in a tile")
    workload = _workload(layers, library, clock_mhz=clock_mhz, units_per_tile=units_per_tile)
    if kind == "free":
        return Free(workload)
    if kind == "tiles":
        return PowerGatedTiles(workload, n_tiles)
    return PipelinedTiles(workload, n_tiles, leakage_fraction)


def _workload(
    layers: Sequence["LayerInfo"], library: "Library", *, clock_mhz: float | None, units_per_tile: int
) -> Workload:
    counts = np.array([layer.n_multiplications for layer in layers], dtype=np.float64)
    if (counts <= 0).any():
        name = layers[int(np.flatnonzero(counts <= 0)[0])].name
        raise ConfigError(f"layer `{name}` has no multiplications: expected at least 1; exclude it from the assignment")
    return Workload(
        n_multiplications=counts,
        energy_rel=np.asarray(library.energy_rel, dtype=np.float64),
        energy_pj=energy_per_multiplication_pj(library, clock_mhz=clock_mhz),
        rate_per_s=units_per_tile * common_clock_mhz(library, clock_mhz=clock_mhz) * 1e6,
    )


def _parse(text: str, *, n_layers: int) -> tuple[str, int]:
    if n_layers < 1:
        raise ConfigError("the network has no layers to assign: expected at least one convolution or linear layer")
    kind, colon, count = text.strip().partition(":")
    if kind not in KINDS:
        raise ConfigError(f"{unknown_name('accelerator', kind, KINDS)}; write 'free', 'tiles:T' or 'pipelined:T'")
    if kind == "free":
        if colon:
            raise ConfigError(f"accelerator {text!r}: 'free' has no tiles; write 'free', or 'tiles:{count}'")
        return kind, n_layers
    if not count.strip().isdecimal():
        raise ConfigError(f"accelerator {text!r}: expected a number of tiles after the colon, as '{kind}:4'")
    n_tiles = int(count)
    if not 1 <= n_tiles <= n_layers:
        raise ConfigError(
            f"accelerator {text!r}: expected 1 to {n_layers} tiles for a network of {n_layers} layers; "
            "'free' gives every layer its own multiplier"
        )
    return kind, n_tiles
