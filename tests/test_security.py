"""Files are data: nothing in the package makes code of them."""

import ast
import pickle
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch

import dse
from dse.datasets import read_dataset
from dse.errors import DseError
from dse.multipliers.library import load_library
from dse.networks.weight_files import read_weights
from dse.runs.sweep_folder import SweepFolder

ROOT = Path(dse.__file__).resolve().parent

# what may be called where, and why
ALLOWED = {
    ("runs/execution.py", "pickle.loads"),  # evaluators, from this process to its own workers
    ("runs/dask_worker.py", "pickle.loads"),  # the same, to workers of a cluster
}
UNPICKLERS = {"load", "loads", "Unpickler", "_Unpickler", "read_pickle"}
PICKLING = {"pickle", "cloudpickle", "joblib", "dill", "pd", "pandas", "marshal", "shelve"}
UNSAFE = {"eval", "exec", "compile", "__import__"}
IMPORTERS = {"__init__.py", "entry_points.py", "runs/cluster.py"}
"""Names of modules are the user's own words there (`MODULE:FUNCTION`), or stand in the package."""


def calls(tree):
    """(dotted name, keywords) of every call of a name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            keywords = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            if isinstance(node.func, ast.Name):
                yield node.func.id, keywords
            elif isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
                yield f"{node.func.value.id}.{node.func.attr}", keywords


def is_unsafe(name, keywords, place):
    module, _, function = name.rpartition(".")
    if module in PICKLING and function in UNPICKLERS:
        return (place, name) not in ALLOWED
    if name in ("np.load", "numpy.load"):
        return keywords.get("allow_pickle") is not False
    if name == "torch.load":
        return keywords.get("weights_only") is not True
    if name == "__import__" or function == "import_module":
        return place not in IMPORTERS
    is_extracting = function in ("extract", "extractall", "unpack_archive")
    return name in UNSAFE or name == "os.system" or is_extracting or keywords.get("shell") is True


def unsafe_calls(text, place=""):
    return [name for name, keywords in calls(ast.parse(text)) if is_unsafe(name, keywords, place)]


@pytest.mark.parametrize(
    "code",
    [
        "eval(x)", "torch.load(p)", "torch.load(p, weights_only=False)", "np.load(p)", "np.load(p, allow_pickle=True)",
        "pickle.load(f)", "joblib.load(f)", "pd.read_pickle(f)", "archive.extractall(p)", "os.system(x)",
        "subprocess.run(x, shell=True)", "importlib.import_module(x)", "pickle.Unpickler(f)",
        "pickle._Unpickler(f)",
    ],
)  # fmt: skip
def test_what_is_looked_for_is_found(code):
    assert unsafe_calls(code)


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_is_made_of_files(path):
    assert unsafe_calls(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()) == []


class Evil:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return open, (self.mark, "w")


@pytest.mark.parametrize("name", ["w.pt", "w.npz", "test_batch", "images.npy", "mul8u_X.npy", "mul8u_X.npz"])
def test_pickles_do_nothing(tmp_path, name):
    mark, path = tmp_path / "mark", tmp_path / name
    evil = {"w": Evil(mark)}
    if path.suffix in (".npy", ".npz"):
        with path.open("wb") as file:
            (np.save if path.suffix == ".npy" else np.savez)(file, np.array([Evil(mark)], dtype=object))
        np.save(tmp_path / "labels.npy", np.arange(1))
    elif name == "w.pt":
        torch.save(evil, path)
    else:
        path.write_bytes(pickle.dumps(evil))
    readers = {"w": read_weights, "mul8u_X": load_library, "test_batch": None, "images": None}
    read = readers[path.stem]
    kind = "cifar10" if name == "test_batch" else "numpy"
    with pytest.raises(DseError):
        read(path) if read else read_dataset(kind, data_dir=tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["../../outside/a.png", "/etc/a.png"])
def test_archives_do_not_lead_outside(tmp_path, name):
    with tarfile.open(tmp_path / "d.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo(name), BytesIO())
    with pytest.raises(DseError, match="leads outside"):
        read_dataset("image_folder", data_dir=tmp_path / "d.tar")


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/b"])
def test_runs_of_a_sweep_are_beside_its_table(tmp_path, name):
    (tmp_path / "sweep.csv").write_text(f"name\n{name}\n")
    with pytest.raises(DseError, match="damaged"):
        SweepFolder(tmp_path).rows()


def test_sources_are_not_compiled_unasked(tmp_path, monkeypatch):
    (tmp_path / "mul8u_X.c").write_text("#include <stdint.h>\nuint16_t mul8u_X(uint8_t A, uint8_t B) { return 0; }\n")
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("something was started"))
    with pytest.raises(DseError, match="expected your consent"):
        load_library(tmp_path / "mul8u_X.c")
    with pytest.raises(DseError, match="expected your consent"):
        load_library(tmp_path)
