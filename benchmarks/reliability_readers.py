"""What `reliability.py fuzz` feeds: every reader of files that users bring along, with valid files to start from.

A reader gets a folder with a few files; one of them is what hypothesis made of it.
"""

import json
import pickle
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st

import dse
from dse.checkpoint import load_checkpoint, save_checkpoint
from dse.config import load_config, to_toml
from dse.datasets import read_dataset
from dse.exported.bundle import unpack
from dse.multipliers.library import load_library
from dse.networks.weight_files import read_weights
from dse.robustness.tolerances import Tolerances
from dse.runs.finetuned import open_finetuned
from dse.runs.journal import Evaluation, longest, pack_hits, read_journal
from dse.runs.manifest import read_manifest
from dse.runs.point_set import PointsDirectory
from dse.runs.results import open_run
from dse.runs.sweep_plan import load_plan

EXACT = np.multiply.outer(np.arange(256), np.arange(256))
SWEEP = '[search]\npopulation_size = 8\n[sweep]\nsearch.seed = [0, 1]\n"search.method" = ["nsga2", "random"]\n'
C = (
    "// MAE = 0.5 %\n// PDK45_PWR = 0.3 mW\n#include <stdint.h>\n"
    "uint16_t mul8u_X(uint8_t A, uint8_t B) { return A * B; }\n"
)


@dataclass(frozen=True)
class Reader:
    """A reader, and the file of a folder that is changed.

    Attributes:
        name: for the table.
        file: name of the file that is changed.
        read: gets the folder.
        seeds: valid contents.
        is_text: changes are words as well as bytes.
        weight: share of the inputs.
    """

    name: str
    file: str
    read: Callable[[Path], object]
    seeds: tuple[bytes, ...]
    is_text: bool = False
    weight: int = 4


def _npz(**arrays: np.ndarray) -> bytes:
    buffer = BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _npy(array: np.ndarray) -> bytes:
    buffer = BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _torch(value: object) -> bytes:
    buffer = BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _idx(shape: tuple[int, ...]) -> bytes:
    header = bytes([0, 0, 8, len(shape)]) + np.array(shape, dtype=">u4").tobytes()
    return header + bytes(int(np.prod(shape)) * [1])


def _tar() -> bytes:
    buffer = BytesIO()
    picture = next(Path(torch.__file__).parents[1].glob("matplotlib/mpl-data/images/*.png")).read_bytes()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("train/a/1.png", "train/b/2.png", "test/a/3.png", "test/b/4.png"):
            info = tarfile.TarInfo(f"top/{name}")
            info.size = len(picture)
            archive.addfile(info, BytesIO(picture))
    return buffer.getvalue()


def _header() -> bytes:
    rows = ",".join("{" + ",".join(map(str, row)) + "}" for row in EXACT)
    return f"const uint16_t lut[256][256] = {{{rows}}};".encode()


def _all_images(name: str, folder: Path) -> object:
    found = read_dataset(name, data_dir=folder)
    return [
        part.images.read(np.arange(min(part.images.n_images, 3)))
        for part in (found.train, found.test)
        if part is not None
    ]


def _journal() -> bytes:
    lines = ['{"kind":"header","format":2}']
    for m in range(4):
        hits = pack_hits(np.arange(20) % (m + 2) == 0)
        lines.append(Evaluation("search", (m, 1), "f", 0.5, energy_rel=0.5, n_images=20, hits=hits).to_json())
    return ("\n".join(lines) + "\n").encode()


def readers(folder: Path) -> Iterator[Reader]:
    """All of them; `folder` gets a small finished run, its export and its fine-tuned points."""
    run = folder / "run"
    sizes = {"images": 20, "report_images": 20, "population_size": 4, "generations": 1, "calibration_images": 32}
    dse.explore(plain=True, threads=1, out=run, **sizes)
    dse.finetune(
        run, points="0", epochs=1, batch_size=16, training_images=32, validation_images=20, reconstruction=False
    )
    dse.export(run, point=0, out=folder / "net")
    dse.operating_points(run, multipliers=2, points=2, out=run / "points")
    save_checkpoint(folder / "checkpoint.pt", {"key": "k", "n_done": 3, "network": {"w": torch.ones(3)}})
    (tolerances,) = dse.tolerances(
        coefficients=[0.2], steps=2, batch_size=16, training_images=32, calibration_images=32, out=folder / "tolerances"
    )
    yield from _tables()
    yield from _datasets()
    weights = {"conv.weight": torch.ones(2, 3), "bn.bias": torch.zeros(2)}
    yield Reader("weights .pt", "w.pt", lambda f: read_weights(f / "w.pt"), (_torch(weights),))
    yield Reader("weights .npz", "w.npz", lambda f: read_weights(f / "w.npz"), (_npz(w=np.ones(3)),))
    config = to_toml(open_run(run).config).encode()
    yield Reader("run file", "r.toml", lambda f: load_config(f / "r.toml"), (config,), is_text=True, weight=16)
    yield Reader("sweep file", "s.toml", lambda f: load_plan(f / "s.toml"), (SWEEP.encode(),), is_text=True, weight=16)
    yield Reader("journal", "j", lambda f: longest(read_journal(f / "j")), (_journal(),), is_text=True, weight=16)
    yield Reader(
        "checkpoint", "c.pt", lambda f: load_checkpoint(f / "c.pt", key="k", what="a search"),
        ((folder / "checkpoint.pt").read_bytes(),),
    )  # fmt: skip
    yield Reader(
        "tolerances", "t.json", lambda f: Tolerances.from_json((f / "t.json").read_text(errors="replace")),
        (tolerances.to_json().encode(),), is_text=True, weight=2,
    )  # fmt: skip
    yield from _of_a_run(run)
    yield from _exported(folder)


def _tables() -> Iterator[Reader]:
    def library(name: str) -> Callable[[Path], object]:
        return lambda f: load_library(f / name)

    text = "\n".join(",".join(map(str, row)) for row in EXACT).encode()
    table = EXACT.astype("<u2")
    yield Reader("table .npy", "mul8u_X.npy", library("mul8u_X.npy"), (_npy(table),), weight=2)
    yield Reader("table .npz", "mul8u_X.npz", library("mul8u_X.npz"), (_npz(a=table, b=table // 2),))
    yield Reader("table .csv", "mul8u_X.csv", library("mul8u_X.csv"), (text,), is_text=True, weight=1)
    yield Reader("table .bin", "mul8u_X.bin", library("mul8u_X.bin"), (table.tobytes(),))
    yield Reader("table .h", "mul8u_X.h", library("mul8u_X.h"), (_header(),), is_text=True, weight=1)
    yield Reader("source .c", "mul8u_X.c", library("mul8u_X.c"), (C.encode(),), is_text=True, weight=16)


def _datasets() -> Iterator[Reader]:
    batch = bytes([3]) + bytes(3072)
    pickled = pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [3]}, protocol=2)
    images, labels = np.zeros((4, 8, 8, 1), np.uint8), np.arange(4)
    yield Reader("CIFAR-10 .bin", "test_batch.bin", lambda f: _all_images("cifar10", f), (2 * batch,))
    yield Reader("CIFAR-10 pickle", "test_batch", lambda f: _all_images("cifar10", f), (pickled,), weight=12)
    yield Reader("IDX", "t10k-images-idx3-ubyte", _read_idx, (_idx((2, 5, 5)),), weight=12)
    yield Reader(
        "images .npz", "d.npz", lambda f: _all_images("numpy", f), (_npz(images=images, labels=labels),), weight=2
    )
    yield Reader("images .tar", "d.tar", lambda f: _all_images("image_folder", f / "d.tar"), (_tar(),))


def _read_idx(folder: Path) -> object:
    (folder / "t10k-labels-idx1-ubyte").write_bytes(_idx((2,)))
    return _all_images("mnist", folder)


def _of_a_run(run: Path) -> Iterator[Reader]:
    """Files of a run directory, each beside the valid others."""

    def beside(file: str, names: tuple[str, ...], read: Callable[[Path], object]) -> Callable[[Path], object]:
        def call(folder: Path) -> object:
            for name in names:
                if not (folder / name).exists():
                    (folder / name).write_bytes((run / name).read_bytes())
            return read(folder)

        return call

    def reader(
        name: str, file: str, others: tuple[str, ...], read: Callable[[Path], object], weight: int = 1
    ) -> Reader:
        return Reader(name, file, beside(file, others, read), ((run / file).read_bytes(),), is_text=True, weight=weight)

    def tables(folder: Path) -> object:
        found = open_run(folder)
        return found.layers, found.evaluations, found.front, found.assignment(0)

    others = ("resolved.toml", "manifest.json", "evaluations.jsonl", "front.csv", "generations.csv")
    yield reader("manifest", "manifest.json", (), lambda f: read_manifest(f / "manifest.json"), 16)
    yield reader("manifest in a run", "manifest.json", others, tables)
    yield reader("front in a run", "front.csv", others, tables)
    yield reader("generations in a run", "generations.csv", others, lambda f: open_run(f).generations)
    (run / "finetuning.json").write_bytes((run / "finetuned" / "finetuning.json").read_bytes())
    (run / "finetuned.csv").write_bytes((run / "finetuned" / "finetuned.csv").read_bytes())
    (run / "operating_points.json").write_bytes((run / "points" / "operating_points.json").read_bytes())
    yield reader("fine-tuned .json", "finetuning.json", ("finetuned.csv",), open_finetuned, 8)
    yield reader("fine-tuned .csv", "finetuned.csv", ("finetuning.json",), open_finetuned)
    yield reader("operating points .json", "operating_points.json", (), lambda f: PointsDirectory(f).read(), 16)


def _exported(folder: Path) -> Iterator[Reader]:
    """Both files of an export; their hash is made to fit, which the one who forges files would do too."""
    from hashlib import sha256

    from dse.exported.reader import ExportedNetwork

    npz, text = (folder / "net.npz").read_bytes(), (folder / "net.json").read_bytes()

    def read(npz: bytes, text: bytes) -> object:
        document, arrays = unpack(npz, text, "fuzzed")
        return ExportedNetwork(document, arrays)

    def read_npz(place: Path) -> object:
        content = (place / "net.npz").read_bytes()
        return read(content, json.dumps(json.loads(text) | {"npz_sha256": sha256(content).hexdigest()}).encode())

    yield Reader("exported .json", "net.json", lambda f: read(npz, (f / "net.json").read_bytes()), (text,), True, 12)
    yield Reader("exported .npz", "net.npz", read_npz, (npz,), weight=1)


WORDS = [
    b"null", b"true", b"-1", b"0", b"1e999", b"NaN", b"99999999999999999999", b'""', b"[]", b"{}", b'"x"', b"[[[", b"=",
    b"\n", b"\n\n", b",", b"\0", b"\xff", b'"../../x"', b"3.5", b"{{{{", b"[1,2]", b'{"a":1}', b"2", b":", b'"', b"'",
    b"\xf0\x9f\x98\x80", b"inf", b"/*", b"//", b"- 1", b"0x10", b"-", b"\r", b"1979-05-27", b"[a]", b"a.b = 1",
]  # fmt: skip


N_PLACES = 16
"""A change is made at so many places of a file, each an input: hypothesis takes longer than most readers."""


def contents(reader: Reader) -> st.SearchStrategy[list[bytes]]:
    """Valid files with a few changes, and files of anything."""
    positions = st.floats(0, 1, exclude_max=True)
    piece = st.one_of(st.sampled_from(WORDS), st.binary(max_size=8)) if reader.is_text else st.binary(max_size=16)
    change = st.tuples(st.sampled_from(["put", "over", "cut", "repeat", "value"]), positions, piece, st.integers(0, 40))
    changed = st.tuples(st.sampled_from(reader.seeds), st.lists(change, min_size=1, max_size=4))
    everywhere = changed.map(lambda drawn: [_changed(*drawn, shift=k / N_PLACES) for k in range(N_PLACES)])
    return st.one_of(everywhere, everywhere, everywhere, st.binary(max_size=300).map(lambda content: [content]))


def _changed(content: bytes, changes: list[tuple[str, float, bytes, int]], *, shift: float) -> bytes:
    for kind, position, piece, n in changes:
        at = int((position + shift) % 1 * (len(content) + 1))
        if kind == "put":
            content = content[:at] + piece + content[at:]
        elif kind == "over":
            content = content[:at] + piece + content[at + len(piece) :]
        elif kind == "cut":
            content = content[:at] + content[at + (n or len(content)) :]
        elif kind == "repeat":
            content = content[:at] + content[max(at - n, 0) : at] * (n % 4) + content[at:]
        else:
            content = _with_other_value(content, at, piece)
    return content


def _with_other_value(content: bytes, at: int, piece: bytes) -> bytes:
    """The next value after a colon or equals sign is another one."""
    starts = [i for i in (content.find(b":", at), content.find(b"=", at)) if i >= 0]
    if not starts:
        return content
    start = min(starts) + 1
    ends = [i for i in (content.find(mark, start) for mark in (b",", b"\n", b"}")) if i >= 0]
    return content[:start] + b" " + piece + content[min(ends, default=len(content)) :]
