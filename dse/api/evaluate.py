"""`dse.evaluate`: accuracies without a search."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def evaluate(
    network: Any,
    data: Any,
    *,
    library: Any,
    assignments: Sequence[str | Sequence[str]],
    weights: str | Path | None = None,
    data_dir: str | Path | None = None,
    backend: str = "auto",
    device: str = "auto",
    fold_bias: bool = True,
    pruning_rates: str | None = None,
    pruned: str | None = None,
    refit: bool | None = None,
    zero_weights: str | None = None,
    images: int | None = None,
) -> NDArray[np.float64]:
    """Accuracies of assignments on the search images, by bit-exact simulation. Deterministic.

    Args:
        network: a zoo name, `module:function`, or a `torch.nn.Module`.
        data: a dataset name, `module:function`, or `dse.datasets.Splits`.
        library: `builtin`, a path, or a `Library`; it needs an exact multiplier.
        assignments: each a multiplier name per layer, or one name for all layers. The names' signedness decides which
            multipliers of a library with both are meant. `NAME%70` prunes 70 % of a layer's weights and refits the
            rest, as a search with sparsity levels does; give what it was given of the next options.
        weights: state dict for a named network.
        data_dir: folder of a named dataset.
        backend: "auto", one of the kernels "factored", "rows", "permute", "columns", "direct" or "gpu", or "reference"
            (slow, looks every product up).
        device: what simulates: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N".
        fold_bias: fold the mean error of each output channel into its bias.
        pruning_rates, pruned, refit: how layers are pruned, see `dse.explore`.
        zero_weights: in networks with pruned layers `skipped` (by default) or `multiplied`.
        images: measure on so many of the search images; all by default.

    Returns:
        float64 `[len(assignments)]`, share of images classified correctly.

    Raises:
        DseError: names, files or shapes that do not fit; the message says which.

    >>> import dse
    >>> dse.evaluate("digits_cnn", "digits", library="builtin", assignments=["u8_exact"], images=100)
    array([...])
    """
    from dse.config import load_config
    from dse.cost.sparse_choices import parse_sparse_choice
    from dse.evaluation import assignment_indices
    from dse.multipliers.library import Library, load_library
    from dse.runs.preparation import Inputs, prepare

    whole = library if isinstance(library, Library) else load_library(library)
    options = {
        "network.name": network if isinstance(network, str) else None,
        "network.weights": weights,
        "data.dataset": data if isinstance(data, str) else None,
        "data.dir": data_dir,
        "data.images": images,
        "recovery.fold_bias": fold_bias,
        "execution.backend": backend,
        "execution.device": device,
        "pruning.rates": pruning_rates,
        "pruning.structure": pruned,
        "pruning.refit": refit,
        "pruning.zero_weights": zero_weights,
    }
    levels = sorted({parse_sparse_choice(name)[1] for name in _names(assignments) if name not in whole})
    if any(levels):
        options["pruning.sparsity_levels"] = levels
    config = load_config(None, {key: value for key, value in options.items() if value is not None})
    inputs = Inputs(
        network=None if isinstance(network, str) else network,
        splits=None if isinstance(data, str) else data,
        library=whole.select(is_signed=_signedness(whole, assignments)),
    )
    prepared = prepare(config, inputs)
    indices = assignment_indices(prepared.library, assignments, len(prepared.layers))
    return prepared.evaluator(indices)


def _names(assignments: Sequence[str | Sequence[str]]) -> list[str]:
    """All that are named, in order."""
    return [name for a in assignments for name in ([a] if isinstance(a, str) else a)]


def _signedness(library: Any, assignments: Sequence[str | Sequence[str]]) -> bool:
    """Of the first multiplier named; unsigned where nothing is named."""
    from dse.cost.sparse_choices import parse_sparse_choice

    for name in _names(assignments)[:1]:
        return library[name if name in library else parse_sparse_choice(name)[0]].is_signed
    return False
