import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import fx

from dse.errors import NetworkError
from dse.exported.values import Reference, decode, encode, references, resolve

NODES = [fx.Graph().placeholder(name) for name in ("a", "b")]
NAMES = {node: node.name for node in NODES}

plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.just(...),
    st.sampled_from([torch.float32, torch.bool, torch.int64, torch.channels_last, torch.device("cpu"), *NODES]),
)
values = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(st.text(), inner),
        st.builds(slice, inner, inner, inner),
    ),
    max_leaves=12,
)


def _same(a, b):
    if isinstance(a, float) and math.isnan(a):
        return math.isnan(b)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, slice):
        return all(map(_same, (a.start, a.stop, a.step), (b.start, b.stop, b.step)))
    return type(a) is type(b) and a == b


@given(values)
def test_round_trip_through_text(value):
    text = json.dumps(encode(value, NAMES, "here"), allow_nan=False)
    decoded = decode(json.loads(text), "here")
    assert set(references(decoded)) <= {"a", "b"}
    assert _same(resolve(decoded, {node.name: node for node in NODES}), value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (torch.Size([1, 2]), {"tuple": [1, 2]}),
        ((0, slice(None, None, 2)), {"tuple": [0, {"slice": [None, None, 2]}]}),
        (-math.inf, {"float": "-inf"}),
        (torch.float16, {"dtype": "float16"}),
        (NODES[0], {"node": "a"}),
    ],
)
def test_forms(value, expected):
    assert encode(value, NAMES, "here") == expected


@pytest.mark.parametrize("value", [torch.zeros(2), {1: 2}, 3j, object(), torch.device("meta"), [{"a": print}], b"x"])
def test_no_form(value):
    with pytest.raises(NetworkError, match="node 'x' has a"):
        encode(value, NAMES, "node 'x'")


@pytest.mark.parametrize(
    "data",
    [
        {}, {"node": 3}, {"node": "a", "tuple": []}, {"eval": "1"}, {"dtype": "float31"}, {"dtype": []}, {"float": "1"},
        {"slice": [1, 2]}, {"slice": "abc"}, {"tuple": {"a": 1}}, {"device": "cuda"}, [{"memory_format": "x"}],
        {"dict": {"a": {"b": 1}}},
    ],
)  # fmt: skip
def test_not_understood(data):
    with pytest.raises(NetworkError, match="here has an argument that is not understood"):
        decode(data, "here")


def test_references_are_told_from_texts():
    assert list(references(decode([{"node": "a"}, "b", {"slice": [None, {"node": "c"}, None]}], ""))) == ["a", "c"]
    assert resolve(decode("a", ""), {"a": 1}) == "a"
    assert resolve(Reference("a"), {"a": 1}) == 1
