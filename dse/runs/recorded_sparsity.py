"""What a run's manifest tells of layers that may be pruned: enough to say what any of its designs takes.

In `manifest.json` every entry of `multipliers` has then the `multiplier` and `sparsity_pct` that it is made of, and
every layer `n_weights`, and by sparsity level, ascending, `memory_bytes`, `multiplied_shares`: which part of its
products is multiplied, and `zero_shares`: which part of its weights is zero (absent in earlier manifests).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.cost.free_choices import FreeChoices
from dse.cost.sparse_choices import SparseChoice, SparseChoices
from dse.cost.weight_memory import WeightMemory
from dse.errors import RunError
from dse.runs.manifest import Manifest


def choice_record(choice: SparseChoice, choices: SparseChoices) -> dict[str, Any]:
    """What a manifest keeps of a choice, beside what it keeps of multipliers."""
    return {"multiplier": choices.library[choice.multiplier].name, "sparsity_pct": choice.sparsity_pct}


def layer_record(index: int, memory: WeightMemory, accelerator: FreeChoices) -> dict[str, Any]:
    """What a manifest keeps of a layer, beside what it keeps of those that are not pruned."""
    levels = memory.choices.position[memory.choices.library.exact_index]
    counts = accelerator.layer_multiplications[index, levels] / accelerator.workload.n_multiplications[index]
    return {
        "n_weights": int(memory.n_weights[index]),
        "memory_bytes": memory.layer_bytes[index].tolist(),
        "multiplied_shares": counts.tolist(),
        "zero_shares": (1 - memory.densities[index]).tolist(),
    }


@dataclass(frozen=True, eq=False)
class RecordedSparsity:
    """Of a run whose layers may be pruned.

    Attributes:
        names: of the choices, in the order of assignments.
        multipliers: name of each one's multiplier.
        sparsity_pct: of each, int64 [n_choices].
        energy_rel: of a layer's multiplications with each, relative to its exact ones, float64 [n_layers, n_choices].
        layer_bytes: of a layer's weights with each, int64 [n_layers, n_choices].
        zero_share: of a layer's weights with each, float64 [n_layers, n_choices]; NaN where the manifest does not tell.
        dense_bytes: of all weights in int8, without pruning.
    """

    names: tuple[str, ...]
    multipliers: tuple[str, ...]
    sparsity_pct: NDArray[np.int64]
    energy_rel: NDArray[np.float64]
    layer_bytes: NDArray[np.int64]
    zero_share: NDArray[np.float64]
    dense_bytes: int

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    def assignments(self, rows: Iterable[Sequence[str]]) -> NDArray[np.int64]:
        """Positions of names, int64 [n, n_layers].

        Raises:
            RunError: a name that the manifest does not have, or another number of names than layers.
        """
        found = [[self._positions.get(name, -1) for name in row] for row in rows]
        n_layers = len(self.layer_bytes)
        if any(len(row) != n_layers or min(row) < 0 for row in found):
            raise RunError(f"an assignment does not fit the manifest: expected {n_layers} names that it has")
        return np.array(found, dtype=np.int64).reshape(-1, n_layers)

    def by_layer(self, values: NDArray, assignments: NDArray[np.int64]) -> NDArray:
        """`values` [n_layers, n_choices] of assignments, [n, n_layers]."""
        return values[np.arange(len(values)), assignments]

    def memory_bytes(self, assignments: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of all layers, int64 [n]."""
        return self.by_layer(self.layer_bytes, assignments).sum(axis=1)

    def memory_rel(self, assignments: NDArray[np.int64]) -> NDArray[np.float64]:
        """Relative to `dense_bytes`, float64 [n]."""
        return self.memory_bytes(assignments) / self.dense_bytes


def recorded_sparsity(manifest: Manifest) -> RecordedSparsity | None:
    """What a manifest tells; `None` where no layer may be pruned.

    Raises:
        RunError: it is damaged.
    """
    if not any("sparsity_pct" in m for m in manifest.multipliers):
        return None
    try:
        return _read(manifest)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise RunError(f"manifest.json is damaged ({error!r}): restore it from a copy") from None


def _read(manifest: Manifest) -> RecordedSparsity:
    records = manifest.multipliers
    sparsity = np.array([m["sparsity_pct"] for m in records], dtype=np.int64)
    level = np.unique(sparsity, return_inverse=True)[1]
    plain = {m["multiplier"]: float(m["energy_rel"]) for m in records if m["sparsity_pct"] == 0}
    energies = np.array([plain[m["multiplier"]] for m in records])
    shares = np.array([layer["multiplied_shares"] for layer in manifest.layers], dtype=np.float64)
    sizes = np.array([layer["memory_bytes"] for layer in manifest.layers], dtype=np.int64)
    unknown = [np.nan] * sizes.shape[1]
    zeros = np.array([layer.get("zero_shares", unknown) for layer in manifest.layers], dtype=np.float64)
    # Relative energies of choices are those of their level; of layers those of the weights that are there.
    return RecordedSparsity(
        names=tuple(m["name"] for m in records),
        multipliers=tuple(m["multiplier"] for m in records),
        sparsity_pct=sparsity,
        energy_rel=shares[:, level] * energies,
        layer_bytes=sizes[:, level],
        zero_share=zeros[:, level],
        dense_bytes=sum(int(layer["n_weights"]) for layer in manifest.layers),
    )
