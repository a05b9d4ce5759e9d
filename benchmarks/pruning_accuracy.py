"""Accuracy of a pruned network with exact multipliers, without training: one rate a layer or for all, refitted or not.

    python benchmarks/pruning_accuracy.py benchmarks/runs/resnet20_memory.toml --out results/memory/pruning.csv
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dse.config import load_config
from dse.cost.accelerators import Designs
from dse.cost.sparse_choices import SparseChoices
from dse.cost.weight_memory import WeightMemory
from dse.recovery.kept_weights import refitted
from dse.recovery.pruned import PrunedBank
from dse.runs.preparation import Inputs, prepare
from dse.sparse.pruning import global_masks, layer_mask, pruned_problem
from dse.sparse.sizes import dcsr_bytes

RATES_PCT = (0, 30, 40, 50, 60, 70, 80)
WAYS = ("layer", "global", "channels")


def masks_of(network, way: str) -> list[list[np.ndarray]]:
    """Pruned weights by layer and rate."""
    if way == "global":
        by_rate = [global_masks(network, rate / 100) for rate in RATES_PCT]
        return [list(masks) for masks in zip(*by_rate, strict=True)]
    structure = "channels" if way == "channels" else "weights"
    return [[layer_mask(layer, rate / 100, structure=structure) for rate in RATES_PCT]
            for layer in network.integer_layers]  # fmt: skip


def measured(prepared, way: str, refit: bool) -> pd.DataFrame:
    """One row a rate."""
    bank = prepared.evaluator.bank
    choices = SparseChoices(bank.library, RATES_PCT, zero_weights="skipped")
    pairs = zip(bank.network.integer_layers, masks_of(bank.network, way), bank.codes, strict=True)
    layers = [
        refitted(layer.problem, masks, codes, np.random.default_rng(0))
        if refit
        else [pruned_problem(layer.problem, mask) for mask in masks]
        for layer, masks, codes in pairs
    ]
    pruned = PrunedBank(bank, choices, layers)
    matrices = [[pruned.matrix(i, level) for level in range(len(RATES_PCT))] for i in range(len(layers))]
    sizes = np.array([[dcsr_bytes(matrix) for matrix in row] for row in matrices])
    nonzero = np.array([[np.count_nonzero(matrix) for matrix in row] for row in matrices])
    counts = np.array([info.n_weights for info in bank.network.layers])
    memory = WeightMemory(choices, counts, nonzero, sizes)
    rows = np.repeat(choices.position[bank.library.exact_index][:, None], len(layers), axis=1)
    accuracy = prepared.evaluator.with_bank(pruned)(rows)
    columns = {"pruned": way, "is_refitted": refit, "rate_pct": RATES_PCT, "memory_rel": memory.rel(Designs(rows))}
    return pd.DataFrame(columns | {"accuracy": accuracy, "n_images": prepared.evaluator.n_images})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_file", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    exact = "mul8u_1JFF"
    config = load_config(
        options.run_file,
        {
            "search.objectives": ["energy", "accuracy"], "pruning.sparsity_levels": [], "data.images": options.images,
            "data.confirm_images": None, "library.include": [exact], "quantization.scheme": "unsigned-centered",
        },
    )  # fmt: skip
    prepared = prepare(config, Inputs())
    table = pd.concat([measured(prepared, way, refit) for way in WAYS for refit in (False, True)], ignore_index=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out, index=False, float_format="%.6g")
    print(table.pivot_table(index="rate_pct", columns=["pruned", "is_refitted"], values="accuracy"))


if __name__ == "__main__":
    main()
