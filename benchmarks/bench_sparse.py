"""Products of pruned weights from dCSR against dense int8 and CSR, in one run, and the sizes of both.

    OMP_NUM_THREADS=1 python benchmarks/bench_sparse.py --out results/sparse/throughput.csv
    OMP_NUM_THREADS=1 python benchmarks/bench_sparse.py --shape 8192x4096 --sparsity .9 .95 --rounds 3 --out large.csv

Random masks and values, 1000 x 1280 unless told otherwise; a vector (SpMV) and 64 columns at once (SpMM). One thread,
processor time (other work on the machine counts little); all variants are called in turn, the fastest of `--rounds`
counts. The rivals in `sparse_rivals.c` are compiled by the system's C compiler for this processor; dense products by
PyTorch are oneDNN's. All but PyTorch's are called through ctypes with arguments prepared.

Columns: `time_us`; `speedup`, time of the fastest dense int8 variant over this one's; `speedup_plain`, the same over a
dense loop that the compiler vectorized; `speedup_scalar`, over one without SIMD; `n_bytes` of the weights.
"""

import argparse
import ctypes
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dse.simulation.native_library import LEVELS, NativeLibrary, find
from dse.sparse.dcsr import DcsrMatrix, encode
from dse.sparse.native import MARGIN, NativeProduct
from dse.sparse.sizes import sizes

SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
N_COLUMNS = 64
SOURCE = Path(__file__).with_name("sparse_rivals.c")
DENSE = ("dense vnni", "dense pytorch", "dense plain")


def random_matrix(shape: tuple[int, int], sparsity: float, seed: int = 0) -> np.ndarray:
    """int8; each cell is zero with probability `sparsity`."""
    rng = np.random.default_rng(seed)
    values = rng.integers(1, 128, shape) * rng.choice([-1, 1], shape)
    return np.where(rng.random(shape) >= sparsity, values, 0).astype(np.int8)


def compiled() -> ctypes.CDLL:
    """The rivals."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rivals.so"
        subprocess.run(["cc", "-O3", "-march=native", "-shared", "-fPIC", SOURCE, "-o", path], check=True)
        return ctypes.CDLL(str(path))


def call(function: Callable, *arguments: object) -> Callable[[], object]:
    """A call with arguments prepared: arrays as pointers, numbers as 64 bits."""
    prepared = [ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else ctypes.c_int64(a) for a in arguments]
    kept = arguments  # arrays live as long as the call

    def run(_kept: object = kept) -> None:
        function(*prepared)

    return run


def native_call(product: NativeProduct, x: np.ndarray, y: np.ndarray) -> Callable[[], object]:
    """The kernel alone, as the rivals are called."""
    library, matrix = product._library, ctypes.c_void_p(product._address)
    level = ctypes.c_int(library.isa), ctypes.c_int(1)
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (x, y)]
    if x.ndim == 1:
        workspace = np.empty(len(x) + MARGIN, np.int8)
        arguments = [matrix, *pointers, ctypes.c_void_p(workspace.ctypes.data), *level]
        function = library.functions["dse_sparse_vector"]
        return lambda kept=(product, x, y, workspace): function(*arguments)
    arguments = [matrix, pointers[0], ctypes.c_int64(x.shape[1]), pointers[1], *level]
    function = library.functions["dse_sparse_matrix"]
    return lambda kept=(product, x, y): function(*arguments)


def variants(
    matrix: np.ndarray, code: DcsrMatrix, x: np.ndarray, rivals: ctypes.CDLL, library: NativeLibrary
) -> dict[str, tuple[Callable[[], object], np.ndarray | None, int]]:
    """Calls, where their int32 outputs appear (`None`: they return them), and bytes of weights, by name."""
    (n_rows, n_columns), dense = matrix.shape, matrix.size
    outputs = (n_rows, *x.shape[1:])
    rows, index = np.nonzero(matrix)
    csr = (
        matrix[rows, index],
        index.astype(np.uint16),
        np.cumsum(np.bincount(rows, minlength=n_rows)).astype(np.int32),
    )
    found: dict[str, tuple[Callable[[], object], np.ndarray | None, int]] = {}

    def add(name: str, n_bytes: int, make: Callable[[np.ndarray], Callable[[], object]]) -> None:
        y = np.zeros(outputs, np.int32)
        found[name] = make(y), y, n_bytes

    w, columns = torch.from_numpy(matrix), torch.from_numpy(x.reshape(n_columns, -1))
    found["dense pytorch"] = (lambda: torch._int_mm(w, columns)), None, dense
    if x.ndim == 1:
        correction = (128 * matrix.sum(1, dtype=np.int64)).astype(np.int32)
        shifted = x.view(np.uint8) ^ 128
        add("dense vnni", dense, lambda y: call(rivals.dense_vector, matrix, shifted, correction, y, *matrix.shape))
        add("dense plain", dense, lambda y: call(rivals.dense_vector_plain, matrix, x, y, *matrix.shape))
        add("dense scalar", dense, lambda y: call(rivals.dense_vector_scalar, matrix, x, y, *matrix.shape))
        add("csr", sizes(matrix).csr, lambda y: call(rivals.csr_vector, *csr, x, y, n_rows))
    else:
        add("csr", sizes(matrix).csr, lambda y: call(rivals.csr_matrix, *csr, x, x.shape[1], y, n_rows))
    for level in library.levels:
        product = NativeProduct(code, replace(library, isa=LEVELS.index(level)))
        add(f"dcsr {level}", code.n_bytes, lambda y, product=product: native_call(product, x, y))
    return found


def fastest(calls: dict[str, Callable[[], object]], *, rounds: int, n_calls: int) -> dict[str, float]:
    """Microseconds of processor time of a call: the best of `rounds`, in each of which all take their turn."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, run in calls.items():
            start = time.process_time()
            for _ in range(n_calls):
                run()
            best[name] = min(best[name], (time.process_time() - start) / n_calls * 1e6)
    return best


def measured(shape: tuple[int, int], sparsity: float, n: int, rivals, library, *, rounds: int) -> list[dict]:
    """Rows of the table for a sparsity and `n` columns."""
    matrix, rng = random_matrix(shape, sparsity), np.random.default_rng(1)
    x = rng.integers(-128, 128, (shape[1], n) if n > 1 else shape[1]).astype(np.int8)
    found = variants(matrix, encode(matrix), x, rivals, library)
    expected = (matrix.astype(float) @ x).astype(np.int32)
    for name, (run, y, _) in found.items():
        result = run()
        np.testing.assert_array_equal(result.numpy().reshape(expected.shape) if y is None else y, expected, name)
    n_calls = max(1, 50_000_000 // (matrix.size * n))
    times = fastest({name: run for name, (run, _, _) in found.items()}, rounds=rounds, n_calls=n_calls)
    dense = min(times[name] for name in DENSE if name in times)
    return [
        {
            "rows": shape[0], "columns": shape[1], "n": n, "sparsity": sparsity, "variant": name,
            "time_us": round(times[name], 2), "speedup": round(dense / times[name], 3),
            "speedup_plain": round(times["dense plain"] / times[name], 3) if n == 1 else None,
            "speedup_scalar": round(times["dense scalar"] / times[name], 3) if n == 1 else None,
            "n_bytes": n_bytes,
        }
        for name, (_, _, n_bytes) in found.items()
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/sparse/throughput.csv"))
    parser.add_argument("--shape", type=lambda text: tuple(map(int, text.split("x"))), action="append")
    parser.add_argument("--sparsity", type=float, nargs="+", default=SPARSITIES)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    library, rivals = find(), compiled()
    if not isinstance(library, NativeLibrary):
        raise SystemExit(f"no native library: {library}")
    rows = []
    for shape in options.shape or [(1000, 1280)]:
        for n in (1, N_COLUMNS):
            for sparsity in options.sparsity:
                rows += measured(shape, sparsity, n, rivals, library, rounds=options.rounds)
    table = pd.DataFrame(rows)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out, index=False)
    for (shape_rows, columns, n), part in table.groupby(["rows", "columns", "n"], sort=False):
        print(f"\n{shape_rows} x {columns}, {n} column(s): microseconds")
        print(part.pivot(index="variant", columns="sparsity", values="time_us").to_string())


if __name__ == "__main__":
    main()
