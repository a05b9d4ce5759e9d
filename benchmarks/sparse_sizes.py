"""Bytes of sparse weights in dCSR, CSR and run lengths; and a round trip of very many random matrices.

    python benchmarks/sparse_sizes.py masks --out results/sparse/masks.csv
    python benchmarks/sparse_sizes.py resnet20 --data ../shared/data --out results/sparse/resnet20.csv
    python benchmarks/sparse_sizes.py round-trip --matrices 10000 --out results/sparse/round_trip.csv

`masks`: random masks, 1000 x 1280, means of `--seeds` masks. `resnet20`: the given weights, signed 8-bit codes a
channel, the smallest weights of each layer set to zero (no fine-tuning); also written as a compressed network, read
back and compared bit for bit. `round-trip`: matrices of several kinds coded, decoded and compared; stops at the first
that differs.
"""

import argparse
import copy
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dse.datasets import load_splits
from dse.networks.convert import quantize_network
from dse.networks.zoo import create_network
from dse.quantization.affine import scheme_for
from dse.sparse.dcsr import decode, encode
from dse.sparse.matrices import compress, restore, weight_matrix
from dse.sparse.sizes import Sizes, sizes
from dse.sparse.storage import load_compressed, save_compressed

REFERENCE = {0.5: 1.25, 0.7: 2.02, 0.8: 2.89, 0.9: 5.29, 0.95: 7.61}
"""Published ratios of dCSR."""
FORMS = ("dcsr", "run_length", "csr")
KINDS = ("random", "empty rows", "full rows", "one column", "4096 columns", "gaps", "bunched", "all values")


def masks(options: argparse.Namespace) -> pd.DataFrame:
    """Ratios of random masks."""
    rows = []
    for sparsity, reference in REFERENCE.items():
        found = []
        for seed in range(options.seeds):
            mask = np.random.default_rng(seed).random((1000, 1280)) >= sparsity
            found.append(sizes(mask.astype(np.int8)))
        ratios = {form: float(np.mean([each.ratio(form) for each in found])) for form in FORMS}
        rows.append(
            {"sparsity": sparsity, "reference": reference, "difference": ratios["dcsr"] / reference - 1, **ratios}
        )
    return pd.DataFrame(rows).round(4)


def pruned(network: torch.nn.Module, sparsity: float) -> torch.nn.Module:
    """A copy in which the smallest weights of each Conv2d and Linear layer are zero."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            magnitudes = module.weight.detach().abs().flatten()
            n_zeros = round(sparsity * len(magnitudes))
            module.weight.data.flatten()[magnitudes.argsort()[:n_zeros]] = 0
    return network


def resnet20(options: argparse.Namespace) -> pd.DataFrame:
    """Sizes of each layer, and of all."""
    network = create_network("resnet20", weights=options.data / "weights" / "cifar10_resnet20.pt")
    calibration = load_splits("cifar10", data_dir=options.data / "cifar10", preprocessing="imagenet").calibration
    rows = []
    for sparsity in REFERENCE:
        integer = quantize_network(pruned(network, sparsity), calibration, scheme=scheme_for(True))
        names = [info.name for info in integer.layers]
        matrices = dict(zip(names, map(weight_matrix, integer.integer_layers), strict=True))
        found = {name: sizes(matrix) for name, matrix in matrices.items()}
        zeros = {name: float(np.mean(matrix == 0)) for name, matrix in matrices.items()}
        found["all"] = Sizes(
            **{form: sum(getattr(each, form) for each in found.values()) for form in ("dense", *FORMS)}
        )
        zeros["all"] = sum(int((matrix == 0).sum()) for matrix in matrices.values()) / found["all"].dense
        with tempfile.TemporaryDirectory() as folder:
            path = save_compressed(Path(folder) / "network", compress(integer))
            if restore(integer, load_compressed(path)).fingerprint() != integer.fingerprint():
                raise SystemExit(f"the network of sparsity {sparsity} came back changed")
            file_bytes = path.stat().st_size
        for name, each in found.items():
            row = {"pruned": sparsity, "layer": name, "zeros": zeros[name], "dense_bytes": each.dense}
            row |= {f"{form}_bytes": getattr(each, form) for form in FORMS}
            row |= {f"{form}_ratio": each.ratio(form) for form in FORMS}
            rows.append(row | {"file_bytes": file_bytes if name == "all" else None})
    return pd.DataFrame(rows).round(3)


def random_matrix(kind: str, rng: np.random.Generator) -> np.ndarray:
    """A matrix of one of `KINDS`."""
    n_rows, n_columns = int(rng.integers(1, 24)), int(rng.integers(1, 1500))
    if kind == "one column":
        n_columns = 1
    if kind in ("4096 columns", "gaps"):
        n_rows, n_columns = int(rng.integers(1, 6)), 4096
    density = 10 ** rng.uniform(-3.5, -2) if kind == "gaps" else rng.uniform(0, 1) ** 2
    mask = rng.random((n_rows, n_columns)) < density
    chosen = rng.random(n_rows) < 0.5
    if kind == "empty rows":
        mask[chosen] = False
    if kind == "full rows":
        mask[chosen] = True
    if kind == "bunched":
        mask &= np.abs(np.arange(n_columns) - rng.integers(0, n_columns, (n_rows, 1))) < rng.integers(1, 200)
    low = -128 if kind == "all values" else 1
    return np.where(mask, rng.integers(low, 128, mask.shape), 0).astype(np.int8)


def round_trip(options: argparse.Namespace) -> pd.DataFrame:
    """Numbers of matrices by kind."""
    rng, rows = np.random.default_rng(options.seeds), {}
    for index in range(options.matrices):
        kind = KINDS[index % len(KINDS)]
        matrix = random_matrix(kind, rng)
        code = encode(matrix)
        if not np.array_equal(decode(code), matrix):
            raise SystemExit(f"matrix {index} ({kind}) differs")
        row = rows.setdefault(
            kind, {"kind": kind, "matrices": 0, "lossless": 0, "cells": 0, "non_zeros": 0, "inserted": 0}
        )
        n_values = int(np.count_nonzero(matrix))
        for key, value in (("matrices", 1), ("lossless", 1), ("cells", matrix.size), ("non_zeros", n_values),
                           ("inserted", code.nnz - n_values)):  # fmt: skip
            row[key] += value
    return pd.DataFrame(rows.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("masks", "resnet20", "round-trip"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--matrices", type=int, default=10_000)
    options = parser.parse_args()
    make = {"masks": masks, "resnet20": resnet20, "round-trip": round_trip}[options.what]
    table = make(options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out, index=False)
    shown = table[table["layer"] == "all"] if "layer" in table else table
    print(shown.to_string(index=False))


if __name__ == "__main__":
    main()
