"""Documents and arrays that are each well-formed but do not fit together."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from dse.errors import NetworkError
from dse.exported.contents import Contents
from dse.exported.schema import Document
from dse.exported.writer import _document
from dse.multipliers.multiplier import Multiplier
from dse.recovery.operators import Recovery

from .networks import Net, conv, described, switchable


def _forward(s, x):
    return s.linear(s.act(s.conv(x) * s.scale[None]).mean((2, 3)))


@pytest.fixture(scope="module")
def made():
    network = Net(_forward, conv=conv(2, 4, groups=2), act=nn.PReLU(4), linear=nn.Linear(4, 4))
    network.scale = nn.Parameter(torch.ones(4, 1, 1))
    model = switchable(network, recovery=Recovery(sum_compensation=True))
    document, arrays = _document(model, (2, 8, 8), described(model))
    return json.loads(document.model_dump_json(by_alias=True)), arrays


def _set(content, path, value):
    *parents, last = path.split("/")
    for key in parents:
        content = content[int(key) if key.isdigit() and isinstance(content, list) else key]
    content[int(last) if isinstance(content, list) else last] = value


def _contents(made, changes=(), arrays=()):
    content, kept = json.loads(json.dumps(made[0])), dict(made[1]) | dict(arrays)
    for path, value in changes:
        _set(content, path, value)
    kept = {name: array for name, array in kept.items() if array is not None}
    records = {
        name: {"shape": list(array.shape), "dtype": array.dtype.name, "is_channels_last": False}
        for name, array in kept.items()
    }
    return Contents(Document.model_validate_json(json.dumps(content | {"arrays": records})), kept, "net")


def test_as_written(made):
    contents = _contents(made)
    assert [layer.kind for layer in contents.layers] == ["conv2d", "linear"]
    assert contents.vector(0, 0, "scale").shape == (4,)
    assert {contents.vector(k, 0, "slope") is None for k in range(2)} <= {True, False}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("points", [], "has no operating points"),
        ("layers", [], "has no operating points, or no layers"),
        ("layers/0/weight_shape", [4, 2, 3, 3], r"'layers/0/weight' is torch.uint8 \[4, 1, 3, 3\]: expected"),
        ("layers/0/weight_shape", [4, 9], r"'layers/0/weight' .*: expected torch.uint8 \[\]"),
        ("layers/0/dtype", "int8", "expected torch.int8"),
        ("layers/0/groups", 3, "layer 'conv' does not fit together: groups .3. must divide"),
        ("layers/1/x_zero_point", -1, "layer 'linear' does not fit together: x_zero_point -1"),
        ("layers/1/name", "conv", "two layers have the same name"),
        ("layers/1/name", "fc", "unknown layer 'linear'"),
        ("multipliers/0/hash", "0" * 64, "expected 000000000000..: it is another table"),
        ("multipliers/0/is_signed", True, "it is another table"),
        ("points/1/multipliers", [0], r"operating point 1 names the multipliers \[0\]: expected 2 indices"),
        ("points/0/multipliers", [0, 9], "names the multipliers"),
        ("modules/act/tensors", {"weight": 7}, "module 'act' needs the array 'tensors/7', which is missing"),
        ("modules/act/tensors", {}, "tensors do not fit a PReLU"),
        ("modules/act/kind", "Pickle", "unknown kind 'Pickle'"),
        ("modules/act/settings", {"num_parameters": {"x": 1}}, "module 'act' has an argument that is not understood"),
        ("program/1/target", "9", "unknown tensor '9'|unknown layer '9'"),
    ],
)
def test_documents(made, path, value, message):
    with pytest.raises(NetworkError, match=message):
        _contents(made, [(path, value)])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("layers/0/weight", None, "array 'layers/0/weight' is missing: expected torch.uint8"),
        ("layers/0/constant", lambda a: a[:2], r"'layers/0/constant' is torch.int64 \[2\]: expected torch.int64 \[4\]"),
        ("layers/0/w_scale", lambda a: a.astype(np.float64), "is torch.float64"),
        ("layers/1/x_scale", lambda a: a[None], r"expected torch.float32 \[\]"),
        ("points/1/0/scale", None, "array 'points/1/0/scale' is missing"),
        ("points/0/1/bias", lambda a: a * np.nan, "'points/0/1/bias' has NaN or infinite values"),
        ("points/0/1/slope", lambda a: np.zeros(3, np.float32), "'points/0/1/slope' is torch.float32"),
        ("tables/0", None, "the table of multiplier .* is missing"),
        ("tables/1", lambda a: a + 1, "it is another table"),
    ],
)
def test_arrays(made, name, change, message):
    array = None if change is None else change(made[1].get(name))
    with pytest.raises(NetworkError, match=message):
        _contents(made, arrays=[(name, array)])


def test_multipliers_of_other_codes(made):
    content = made[0]
    signed = {**content["multipliers"][0], "is_signed": True}
    signed["hash"] = Multiplier("m", made[1]["tables/0"], is_signed=True).key
    with pytest.raises(NetworkError, match="does not take the torch.uint8 codes of layer 'conv'"):
        _contents(made, [("multipliers/0", signed), ("points/0/multipliers", [0, 0])])
