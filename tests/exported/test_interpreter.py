import json

import pytest
import torch
from torch import nn

from dse.errors import NetworkError, ShapeError
from dse.exported.interpreter import Interpreter
from dse.exported.schema import NodeRecord

X = torch.arange(4.0)
REF = {"node": "x"}


def _nodes(*inner, result="y"):
    first, last = {"name": "x", "op": "input"}, {"name": "out", "op": "output", "args": [{"node": result}]}
    return [NodeRecord.model_validate_json(json.dumps(node)) for node in [first, *inner, last]]


def _interpreter(*inner, result="y", layers=None, modules=None, tensors=None):
    nodes = _nodes(*inner, result=result)
    return Interpreter(nodes, layers=layers or {}, modules=modules or {}, tensors=tensors or {})


def _node(op, target="", args=(REF,), **more):
    return {"name": "y", "op": op, "target": target, "args": list(args)} | more


def test_every_op():
    inner = [
        {"name": "two", "op": "constant", "args": [2]},
        {"name": "t", "op": "tensor", "target": "0"},
        {"name": "a", "op": "layer", "target": "conv", "args": [REF]},
        {"name": "b", "op": "module", "target": "act", "args": [], "kwargs": {"input": {"node": "a"}}},
        {"name": "c", "op": "function", "target": "operator.mul", "args": [{"node": "b"}, {"node": "two"}]},
        {"name": "d", "op": "method", "target": "add", "args": [{"node": "c"}, {"node": "t"}]},
        {"name": "s", "op": "attribute", "target": "shape", "args": [{"node": "d"}]},
        {"name": "y", "op": "method", "target": "expand", "args": [{"node": "d"}, 2, {"node": "n"}]},
    ]
    inner.insert(7, {"name": "n", "op": "function", "target": "operator.getitem", "args": [{"node": "s"}, 0]})
    run = _interpreter(*inner, layers={"conv": nn.Identity()}, modules={"act": nn.ReLU()}, tensors={"0": torch.ones(4)})
    assert torch.equal(run(X - 1), (torch.relu(X - 1) * 2 + 1).expand(2, 4))
    assert torch.equal(run(X), run(X))


def test_the_images_themselves():
    assert _interpreter(result="x")(X) is X


def test_values_are_dropped_after_their_last_use():
    alive = []

    class Watch(nn.Module):
        def forward(self, x):
            alive.append(x)
            return x + 1

    inner = [
        {"name": name, "op": "module", "target": "watch", "args": [{"node": source}]}
        for name, source in (("a", "x"), ("b", "a"), ("y", "b"))
    ]
    run = _interpreter(*inner, modules={"watch": Watch()})
    assert run._steps[1].freed == ("a",)
    assert torch.equal(run(X), X + 3)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (_node("function", "os.system"), "node 'y' of the program: unknown function 'os.system'"),
        (_node("function", "torch.nn.functional.rely"), "did you mean 'torch.nn.functional.relu'"),
        (_node("function", "builtins.eval"), "unknown function"),
        (_node("method", "__reduce__"), "unknown method '__reduce__'"),
        (_node("method", "apply_"), "unknown method"),
        (_node("attribute", "__class__"), "unknown attribute '__class__'"),
        (_node("attribute", "shape", [REF, REF]), "has 2 arguments: expected 1"),
        (_node("layer", "conv7"), "unknown layer 'conv7'"),
        (_node("module", "act"), "unknown module 'act'"),
        (_node("tensor", "3", []), "unknown tensor '3'"),
        (_node("tensor", "0"), "has 1 arguments: expected 0"),
        (_node("constant", "", []), "has 0 arguments: expected 1"),
        (_node("function", "torch.relu", [{"node": "z"}]), "refers to 'z': expected the name of an earlier node"),
        (_node("function", "torch.relu", [{"node": "y"}]), "refers to 'y'"),
        (_node("function", "torch.relu", [{"lambda": "y"}]), "not understood"),
        (_node("function", "torch.relu", kwargs={"a": {"node": "out"}}), "refers to 'out'"),
        (_node("constant", "", [1], name="x"), "2 nodes of the program are called 'x'"),
        (_node("input"), "expected one 'input', the first node"),
        (_node("output"), "one 'output', the last"),
    ],
)
def test_what_is_not_understood(node, message):
    with pytest.raises(NetworkError, match=message):
        _interpreter(node, tensors={"0": X})


@pytest.mark.parametrize("nodes", [[], _nodes(result="x")[:1], _nodes(result="x")[1:], _nodes(result="x")[::-1]])
def test_programs_without_beginning_or_end(nodes):
    with pytest.raises(NetworkError, match="expected one 'input'"):
        Interpreter(nodes, layers={}, modules={}, tensors={})


def test_a_step_that_fails_is_named():
    run = _interpreter(_node("function", "torch.matmul", [REF, [1]]))
    with pytest.raises(NetworkError, match=r"node 'y' of the program fails on images \[4\]"):
        run(X)
    run = _interpreter(_node("method", "float", ["text"]))
    with pytest.raises(NetworkError, match="expected a tensor, got str"):
        run(X)


def test_errors_of_layers_stay_as_they_are():
    class Layer(nn.Module):
        def forward(self, x):
            raise ShapeError("too small")

    with pytest.raises(ShapeError, match="too small"):
        _interpreter(_node("layer", "a"), layers={"a": Layer()})(X)
