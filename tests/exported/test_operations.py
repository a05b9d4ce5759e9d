"""Every operation of the lists goes through a program: encoded, as text, decoded, computed; the same bits come out."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from dse.exported.interpreter import Interpreter
from dse.exported.operations import ATTRIBUTES, FUNCTIONS, METHODS, call_method, function_name, read_attribute
from dse.exported.program import encode_program
from dse.exported.schema import NodeRecord

X = torch.rand(2, 4, 6, 6, generator=torch.Generator().manual_seed(0)) + 0.25
IMAGE = X.contiguous(memory_format=torch.channels_last)
MATRIX, VECTOR, MASK, INDEX = X[0, 0], X[0, 0, 0], X > 0.7, torch.tensor([1, 0])

CANDIDATES = [
    (IMAGE,), (IMAGE, X), (IMAGE, 2), (IMAGE, 1, 2), (MATRIX, MATRIX), (MATRIX, 1, 0), (MATRIX,), (IMAGE[0], X[0]),
    (IMAGE, 0.5), (MASK,), (MASK, MASK), (IMAGE, X, 0.5), (X[0], 2), (2,), (2, 3),
]  # fmt: skip
"""Arguments to try where none are given below: the first that an operation takes."""

ARGUMENTS = {
    "operator.getitem": (IMAGE, (slice(None), ..., None, slice(0, 4, 2))),
    "operator.iadd": (IMAGE.clone(), 1),
    "math.prod": ([2, 3],),
    "torch.arange": (5,),
    "torch.linspace": (0, 1, 5),
    "torch.eye": (3,),
    "torch.full": ((2, 3), 0.5),
    "torch.ones": (2, 3),
    "torch.zeros": (2, 3),
    "torch.full_like": (IMAGE, 0.5),
    "torch.cat": ([IMAGE, X], 1),
    "torch.concat": ([IMAGE, X], 1),
    "torch.stack": ([IMAGE, X], -1),
    "torch.einsum": ("nchw,ncw->nh", IMAGE, X[:, :, 0]),
    "torch.gather": (MATRIX, 1, torch.zeros(6, 2, dtype=torch.int64)),
    "torch.index_select": (IMAGE, 0, INDEX),
    "torch.masked_fill": (IMAGE, MASK, 0.0),
    "torch.where": (MASK, IMAGE, X),
    "torch.movedim": (IMAGE, 1, 3),
    "torch.narrow": (IMAGE, 1, 1, 2),
    "torch.permute": (IMAGE, (0, 2, 3, 1)),
    "torch.reshape": (IMAGE, (2, -1)),
    "torch.unflatten": (IMAGE, 1, (2, 2)),
    "torch.tile": (IMAGE, (1, 2, 1, 1)),
    "torch.flip": (IMAGE, (2,)),
    "torch.lerp": (IMAGE, X, 0.25),
    "torch.pow": (IMAGE, 3),
    "torch.clamp": (IMAGE, 0.5, 0.75),
    "torch.transpose": (IMAGE, 1, 2),
    "torch.bmm": (X[0], X[1]),
    "torch.baddbmm": (X[0], X[0], X[1]),
    "torch.addmm": (MATRIX, MATRIX, MATRIX),
    "torch.channel_shuffle": (IMAGE, 2),
    "torch.roll": (IMAGE, 1, 2),
    "torch.repeat_interleave": (IMAGE, 2, 1),
    "torch.split": (IMAGE, 1, 1),
    "torch.nn.functional.adaptive_avg_pool1d": (X[0], 2),
    "torch.nn.functional.adaptive_max_pool1d": (X[0], 2),
    "torch.nn.functional.batch_norm": (IMAGE, VECTOR[:4], VECTOR[:4]),
    "torch.nn.functional.conv1d": (X[0], X[:, 0, :, :2], None, 2),
    "torch.nn.functional.conv2d": (IMAGE, X[:, :, :3, :3], None, 1, 1),
    "torch.nn.functional.conv_transpose2d": (IMAGE, X.transpose(0, 1)[:, :, :2, :2]),
    "torch.nn.functional.dropout": (IMAGE, 0.5, False),
    "torch.nn.functional.dropout1d": (X[0], 0.5, False),
    "torch.nn.functional.dropout2d": (IMAGE, 0.5, False),
    "torch.nn.functional.fold": (torch.rand(2, 16, 9), (4, 4), 2),
    "torch.nn.functional.group_norm": (IMAGE, 2),
    "torch.nn.functional.interpolate": (IMAGE, None, 2.0, "bilinear", False),
    "torch.nn.functional.layer_norm": (IMAGE, (6,)),
    "torch.nn.functional.rms_norm": (IMAGE, (6,)),
    "torch.nn.functional.linear": (IMAGE, MATRIX),
    "torch.nn.functional.max_pool2d": (IMAGE, 2, 1, 1),
    "torch.nn.functional.one_hot": (INDEX, 3),
    "torch.nn.functional.pad": (IMAGE, (1, 0, 2, 0, 0, 1), "constant", 0.5),
    "torch.nn.functional.pixel_shuffle": (IMAGE, 2),
    "torch.nn.functional.prelu": (IMAGE, VECTOR[:4]),
    "torch.nn.functional.scaled_dot_product_attention": (X, X, X),
    "torch.nn.functional.softmax": (IMAGE, 1),
    "torch.nn.functional.log_softmax": (IMAGE, 1),
    "torch.nn.functional.softmin": (IMAGE, 1),
    "torch.nn.functional.threshold": (IMAGE, 0.5, 0.1),
    "expand": (MATRIX, 3, 6, 6),
    "expand_as": (MATRIX, IMAGE),
    "fill_": (IMAGE, 0.5),
    "index_select": (IMAGE, 0, INDEX),
    "gather": (MATRIX, 1, torch.zeros(6, 2, dtype=torch.int64)),
    "masked_fill": (IMAGE, MASK, 0.0),
    "masked_fill_": (IMAGE, MASK, 0.0),
    "mean": (IMAGE, (2, 3)),
    "movedim": (IMAGE, 1, 3),
    "narrow": (IMAGE, 1, 1, 2),
    "new_full": (IMAGE, (2,), 0.5),
    "new_ones": (IMAGE, 2, 3),
    "permute": (IMAGE, 0, 2, 3, 1),
    "repeat": (IMAGE, 1, 2, 1, 1),
    "reshape": (IMAGE, 2, -1),
    "to": (IMAGE, torch.float64),
    "type_as": (IMAGE, INDEX),
    "unflatten": (IMAGE, 1, (2, 2)),
    "unfold": (IMAGE, 2, 2, 1),
    "view": (IMAGE, torch.int32),
    "where": (IMAGE, MASK, X),
}

EXTRA = [
    (FUNCTIONS["torch.nn.functional.interpolate"], (IMAGE,), {"size": (9, 9), "mode": "nearest"}),
    (F.max_pool2d, (IMAGE, 2), {"return_indices": False, "ceil_mode": True}),
    (torch.sum, (IMAGE,), {"dim": (2, 3), "dtype": torch.float64}),
    (torch.clamp, (IMAGE,), {"max": math.inf, "min": 0.5}),
    (torch.zeros_like, (IMAGE,), {"memory_format": torch.channels_last, "device": torch.device("cpu")}),
]


def _graph(args, kwargs, make):
    """A graph module of one call, whose tensors are attributes."""
    root, graph = nn.Module(), fx.Graph()
    graph.placeholder("x")

    def put(value):
        if not isinstance(value, torch.Tensor):
            return value
        name = f"tensor_{len(list(root.buffers()))}"
        root.register_buffer(name, value.clone())
        return graph.get_attr(name)

    mapped = torch.utils._pytree.tree_map(put, (list(args), dict(kwargs)))
    graph.output(make(graph, tuple(mapped[0]), mapped[1]))
    return fx.GraphModule(root, graph)


def _round_trip(module):
    stand_in = SimpleNamespace(is_traced=True, module=module, layers=(), integer_layers=())
    program = encode_program(stand_in)
    nodes = [NodeRecord.model_validate_json(json.dumps(node.model_dump(mode="json"))) for node in program.nodes]
    tensors = {str(t): tensor.clone() for t, tensor in enumerate(program.tensors)}
    return Interpreter(nodes, layers={}, modules={}, tensors=tensors)


def _same(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.stride() == b.stride() and torch.equal(a, b)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and a == b


def _check(make, function, args, kwargs=None):
    kwargs = kwargs or {}
    expected = function(*_copies(args), **kwargs)
    found = _round_trip(_graph(args, kwargs, make))(IMAGE)
    assert _same(expected, found)


def _copies(args):
    return torch.utils._pytree.tree_map(lambda v: v.clone() if isinstance(v, torch.Tensor) else v, args)


def _arguments(name, function):
    if name in ARGUMENTS:
        return ARGUMENTS[name]
    for args in CANDIDATES:
        try:
            function(*_copies(args))
        except (TypeError, RuntimeError, IndexError, ValueError, AttributeError):
            continue
        return args
    raise AssertionError(f"no arguments for {name}")


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_function(name):
    function = FUNCTIONS[name]
    _check(lambda graph, args, kw: graph.call_function(function, args, kw), function, _arguments(name, function))


@pytest.mark.parametrize("name", sorted(METHODS))
def test_method(name):
    def function(value, *args, **kwargs):
        return getattr(value, name)(*args, **kwargs)

    args = _arguments(name, function)
    _check(lambda graph, args, kw: graph.call_method(name, args, kw), function, args)


@pytest.mark.parametrize("name", sorted(ATTRIBUTES))
def test_attribute(name):
    value = MATRIX if name in ("T", "mT") else IMAGE
    _check(lambda graph, args, kw: graph.call_function(getattr, (args[0], name)), lambda v: getattr(v, name), (value,))


@pytest.mark.parametrize("case", EXTRA)
def test_arguments_by_keyword(case):
    function, args, kwargs = case
    _check(lambda graph, a, kw: graph.call_function(function, a, kw), function, args, kwargs)


def test_what_has_no_name():
    assert function_name(print) is None
    assert function_name(torch.load) is None
    assert function_name([]) is None
    assert function_name(F.relu) == "torch.nn.functional.relu"
    assert function_name(torch.relu) == "torch.relu"


def test_only_tensors_have_methods():
    assert call_method("numel", torch.Size([2, 3])) == 6
    with pytest.raises(TypeError, match="expected a tensor, got str"):
        call_method("float", "abc")
    with pytest.raises(TypeError, match="expected a tensor, got list"):
        read_attribute("T", [])
