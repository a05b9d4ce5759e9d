import functools
import json
import operator
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch

from dse.datasets import load_splits
from dse.errors import DataError, DseError, NetworkError, ShapeError
from dse.exported.bundle import pack, unpack
from dse.exported.reader import ExportedNetwork, load_exported
from dse.exported.schema import AccuracyRecord
from dse.exported.writer import _document, write_exported
from dse.multipliers.library import load_library
from dse.networks.zoo import create_network
from dse.recovery.operators import Recovery
from dse.simulation.ops import BACKENDS
from dse.testing.tiny import tiny_network, tiny_split

from .networks import IMAGES, assert_same_bits, described, switchable


@pytest.fixture(scope="module")
def model():
    return switchable(tiny_network(), n_points=3, recovery=Recovery(sum_compensation=True))


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "tiny.v1"
    accuracy = AccuracyRecord(accuracy=0.5, top=5, n_images=10, images="report")
    write_exported(model, path, IMAGES, description=described(model, accuracies=(None, accuracy, None)))
    return path


@pytest.mark.parametrize("suffix", ["", ".npz", ".json"])
def test_loads_by_any_of_its_names(path, model, suffix):
    exported = load_exported(f"{path}{suffix}")
    assert_same_bits(model, exported, IMAGES)
    assert repr(exported) == "ExportedNetwork('net', 4 layers, 3 operating points)"


@pytest.mark.parametrize("backend", sorted(set(BACKENDS) - {"permute"}))
def test_every_backend_gives_the_same_bits(path, model, backend):
    assert_same_bits(model, load_exported(path, backend=backend), IMAGES)


def test_switching(path, model):
    exported = load_exported(path)
    assert (exported.operating_point, exported.n_points) == (0, 3)
    first = exported(IMAGES)
    exported.set_operating_point(2)
    assert exported.operating_point == 2
    assert not torch.equal(exported(IMAGES), first)
    exported.set_operating_point(0)
    assert torch.equal(exported(IMAGES), first)
    for k in (-1, 3):
        with pytest.raises(ShapeError, match="expected 0 to 2"):
            exported.set_operating_point(k)


@pytest.mark.parametrize("top", [1, 2])
def test_hits(path, model, top):
    exported, split = load_exported(path), tiny_split(40, seed=5)
    exported.set_operating_point(1)
    found = exported.hits(split, top=top)
    assert found.shape == (3, 40)
    assert np.array_equal(found, model.hits(split, top=top))
    assert exported.operating_point == 1


def test_labels_without_an_output(path):
    with pytest.raises(DataError, match="label 6 has no output: expected labels in 0..3"):
        load_exported(path).hits(tiny_split(40, n_classes=7))


def test_tables(path, model):
    exported = load_exported(path)
    exported.set_operating_point(1)
    assert exported.layers["layer"].tolist() == ["conv1", "depthwise", "pointwise", "linear"]
    names = [model.library[int(m)].name for m in model.points[1].assignment]
    assert exported.layers["multiplier"].tolist() == names
    assert {m.key for m in exported.multipliers} == {
        model.library[int(m)].key for point in model.points for m in point.assignment
    }
    assert exported.points["point"].tolist() == [0, 1, 2]
    assert exported.points["accuracy"][1] == 0.5
    assert exported.points["top"].tolist() == [0, 5, 0]
    assert exported.preprocessing == "unit"


@pytest.mark.parametrize(
    "images", [torch.zeros(2, 3, 8, 8), torch.zeros(2, 8, 8), torch.zeros(2, 2, 8, 8, dtype=torch.float64)]
)
def test_other_images(path, images):
    with pytest.raises(ShapeError, match="expected images float32 .n, 2, H, W., got .* as 'unit' says"):
        load_exported(path)(images)


def test_images_of_other_sizes_and_numbers(path, model):
    exported = load_exported(path)
    for shape in ((0, 2, 8, 8), (1, 2, 12, 10)):
        images = torch.rand(shape)
        assert_same_bits(model, exported, images)


def test_missing(tmp_path):
    with pytest.raises(NetworkError, match="Expected the two files"):
        load_exported(tmp_path / "none")


_ALONE = """
import sys
import numpy as np, torch, dse
exported = dse.load_exported(sys.argv[1])
assert "private_network" not in sys.modules
images, expected = (torch.from_numpy(a) for a in np.load(sys.argv[2]).values())
for k in range(exported.n_points):
    exported.set_operating_point(k)
    assert torch.equal(exported(images), expected[k])
print(type(exported).__name__, exported.n_points)
"""

_PRIVATE = """
from dse.testing.tiny import TinyCnn, randomize
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.act = TinyCnn(), nn.PReLU(4)
    def forward(self, x):
        return self.act(self.inner(x))

def make():
    return Block()
"""


def test_in_a_process_that_cannot_import_the_network(tmp_path, monkeypatch):
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "private_network.py").write_text(_PRIVATE)
    monkeypatch.syspath_prepend(tmp_path / "private")
    model = switchable(create_network("private_network:make"))
    write_exported(model, tmp_path / "net", IMAGES, description=described(model))
    logits = []
    for k in range(model.n_points):
        model.set_operating_point(k)
        logits.append(model(IMAGES).numpy())
    np.savez(tmp_path / "expected.npz", images=IMAGES.numpy(), logits=np.stack(logits))
    command = [sys.executable, "-c", _ALONE, str(tmp_path / "net"), str(tmp_path / "expected.npz")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.stdout == f"{ExportedNetwork.__name__} 2\n", done.stderr


@pytest.mark.parametrize(
    ("name", "weights", "dataset", "preprocessing"),
    [
        ("resnet20", "cifar10_resnet20.pt", "cifar10", "imagenet"),
        ("example_networks.py:mlperf_tiny_resnet8", None, "cifar10", "raw"),
        ("example_networks.py:tinyimagenet_mobilenetv2", None, "tinyimagenet", "centered"),
    ],
)
def test_shared_networks(shared_data, tmp_path, name, weights, dataset, preprocessing):
    name = f"{shared_data}/{name}" if ":" in name else name
    created = create_network(name, weights=None if weights is None else shared_data / "weights" / weights)
    splits = load_splits(dataset, data_dir=shared_data, n_calibration=4, n_search=4, preprocessing=preprocessing)
    library = load_library(shared_data / "evoapprox", is_signed=False).searchable()
    model = switchable(created, split=splits.calibration, library=library, is_random=False)
    write_exported(model, tmp_path / "net", splits.search.batch(0, 1), description=described(model))
    exported = load_exported(tmp_path / "net")
    assert_same_bits(model, exported, splits.search.images)
    assert np.array_equal(exported.hits(splits.search), model.hits(splits.search))


STRANGE = [
    None, True, 0, -1, 3, 2**40, 10**30, 1e308, "", "a", "torch.relu", "0", [], [1], [1, 1], [0, 0, 0, 0], {},
    {"node": "x"}, {"tuple": []}, {"float": "nan"}, {"dtype": "float16"}, "layer", "function", "method", "int8",
]  # fmt: skip
"""What might stand in a file instead of what belongs there."""


def _places(content, path=()):
    yield path
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, part in items:
        yield from _places(part, (*path, key))


def test_whatever_stands_in_the_document_ends_in_an_error_of_ours_or_runs(model):
    npz, text = pack(*_document(model, (2, 8, 8), described(model)))
    rng, endings = np.random.default_rng(0), Counter()
    for _ in range(150):
        content = json.loads(text)
        places = [path for path in _places(content) if path and path[0] != "npz_sha256"]
        *parents, last = places[rng.integers(len(places))]
        holder = functools.reduce(operator.getitem, parents, content)
        holder[last] = STRANGE[rng.integers(len(STRANGE))]
        try:
            exported = ExportedNetwork(*unpack(npz, json.dumps(content).encode(), "net"))
            exported.set_operating_point(exported.n_points - 1)
            exported(IMAGES)
            endings["ran"] += 1
        except DseError as error:
            endings[type(error).__name__] += 1
    assert endings["NetworkError"] > 75


def test_a_program_that_gives_something_else(model):
    npz, text = pack(*_document(model, (2, 8, 8), described(model)))
    content = json.loads(text)
    content["program"][-1]["args"] = [{"node": content["program"][-3]["name"]}]
    exported = ExportedNetwork(*unpack(npz, json.dumps(content).encode(), "net"))
    with pytest.raises(NetworkError, match=r"the program gives torch.float32 .*: expected logits float32 \[5, 4\]"):
        exported(IMAGES)
