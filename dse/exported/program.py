"""The graph of a traced network as a program: nodes in the JSON form of `dse.exported.schema`, modules and tensors.

torch.fx has a node for every call that the network's `forward` makes. What is called must be on the lists of
`dse.exported.operations` and `dse.exported.modules`; anything else is refused here, by the name of its node.
"""

import builtins
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from dse.errors import NetworkError
from dse.exported.modules import WITHOUT_EFFECT, is_plain, settings_of
from dse.exported.operations import ATTRIBUTES, FUNCTIONS, METHODS, function_name
from dse.exported.schema import ModuleRecord, NodeRecord
from dse.exported.values import encode
from dse.networks.convert import IntegerNetwork

ARRAY_TYPES = {
    torch.bool: "bool",
    torch.uint8: "uint8",
    torch.int8: "int8",
    torch.int16: "int16",
    torch.int32: "int32",
    torch.int64: "int64",
    torch.float16: "float16",
    torch.float32: "float32",
    torch.float64: "float64",
}
"""Types of tensors that NumPy has too, and their names there."""


@dataclass(frozen=True, eq=False)
class Program:
    """A network between its layers.

    Attributes:
        nodes: in order; the last one is the output.
        modules: by their name in nodes.
        tensors: parameters, buffers and constants, in index order.
    """

    nodes: list[NodeRecord] = field(default_factory=list)
    modules: dict[str, ModuleRecord] = field(default_factory=dict)
    tensors: list[torch.Tensor] = field(default_factory=list)


def encode_program(network: IntegerNetwork) -> Program:
    """The program of `network`.

    Raises:
        NetworkError: torch.fx could not trace it, or it calls what an export cannot hold.
    """
    if not network.is_traced:
        raise NetworkError(
            "the network cannot be exported: torch.fx cannot trace its `forward`, which decides by values (`if`, "
            "loops) what to compute. Expected one that makes the same calls for all images; rewrite it that way"
        )
    return _Encoder(network).encode()


class _Encoder:
    def __init__(self, network: IntegerNetwork):
        self._module: nn.Module = network.module
        pairs = zip(network.layers, network.integer_layers, strict=True)
        self._layers = {id(layer): info.name for info, layer in pairs}
        self._names: dict[fx.Node, str] = {}
        self._module_names: dict[int, str] = {}
        self._tensor_indices: dict[int, int] = {}
        self._found = Program()
        self._has_input = False

    def encode(self) -> Program:
        for node in self._module.graph.nodes:
            self._names[node] = node.name
            record = _ENCODERS[node.op](self, node)
            if record is not None:
                self._found.nodes.append(record)
        return self._found

    def _record(self, node: fx.Node, op: str, target: str = "") -> NodeRecord:
        where = _described(node)
        args = [encode(value, self._names, where) for value in node.args]
        kwargs = {key: encode(value, self._names, where) for key, value in node.kwargs.items()}
        return NodeRecord(name=node.name, op=op, target=target, args=args, kwargs=kwargs)

    def _placeholder(self, node: fx.Node) -> NodeRecord:
        if not self._has_input:
            self._has_input = True
            return NodeRecord(name=node.name, op="input")
        if len(node.args) != 1 or str(node.target).startswith("*"):
            raise NetworkError(f"{_described(node)} is a second input of the network: expected images only")
        return self._record(node, "constant")

    def _output(self, node: fx.Node) -> NodeRecord:
        return self._record(node, "output")

    def _get_attr(self, node: fx.Node) -> NodeRecord:
        value: Any = self._module
        for name in str(node.target).split("."):
            value = getattr(value, name)
        if not isinstance(value, torch.Tensor):
            raise NetworkError(f"{_described(node)} reads a {type(value).__name__}: an export can hold tensors only")
        return NodeRecord(name=node.name, op="tensor", target=str(self._keep(value, _described(node))))

    def _call_module(self, node: fx.Node) -> NodeRecord | None:
        module = self._module.get_submodule(node.target)
        if id(module) in self._layers:
            return self._record(node, "layer", self._layers[id(module)])
        if type(module) in WITHOUT_EFFECT and is_plain(module):
            source = (*node.args, *node.kwargs.values())[0]
            self._names[node] = self._names[source]
            return None
        if id(module) not in self._module_names:
            self._module_names[id(module)] = node.target
            self._found.modules[node.target] = self._module_record(module, _described(node))
        return self._record(node, "module", self._module_names[id(module)])

    def _module_record(self, module: nn.Module, where: str) -> ModuleRecord:
        kind, settings = settings_of(module, where)
        return ModuleRecord(
            kind=kind,
            settings={name: encode(value, {}, f"{where}, setting {name!r},") for name, value in settings.items()},
            tensors={name: self._keep(value, where) for name, value in module.state_dict(keep_vars=True).items()},
        )

    def _call_function(self, node: fx.Node) -> NodeRecord:
        if node.target is builtins.getattr:
            if len(node.args) != 2 or node.args[1] not in ATTRIBUTES:
                raise NetworkError(_refusal(node, f"reads the attribute {node.args[1]!r}", sorted(ATTRIBUTES)))
            record = self._record(node, "attribute", node.args[1])
            return record.model_copy(update={"args": record.args[:1]})
        name = function_name(node.target)
        if name is None:
            target = node.target
            called = f"{getattr(target, '__module__', None)}.{getattr(target, '__name__', target)}"
            raise NetworkError(_refusal(node, f"calls the function {called}", sorted(FUNCTIONS)))
        return self._record(node, "function", name)

    def _call_method(self, node: fx.Node) -> NodeRecord:
        if node.target not in METHODS:
            raise NetworkError(_refusal(node, f"calls the method {node.target!r} of a tensor", sorted(METHODS)))
        return self._record(node, "method", node.target)

    def _keep(self, tensor: torch.Tensor, where: str) -> int:
        """Index of a tensor; one that is used several times is kept once."""
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.dtype not in ARRAY_TYPES:
            raise NetworkError(
                f"{where} has a tensor of type {tensor.dtype} ({tensor.layout}), which an export cannot hold: expected "
                f"one of {', '.join(map(str, ARRAY_TYPES))}, dense"
            )
        if id(tensor) not in self._tensor_indices:
            self._tensor_indices[id(tensor)] = len(self._found.tensors)
            self._found.tensors.append(tensor)
        return self._tensor_indices[id(tensor)]


_ENCODERS = {
    "placeholder": _Encoder._placeholder,
    "output": _Encoder._output,
    "get_attr": _Encoder._get_attr,
    "call_module": _Encoder._call_module,
    "call_function": _Encoder._call_function,
    "call_method": _Encoder._call_method,
}


def _described(node: fx.Node) -> str:
    is_named = node.op in ("call_module", "get_attr")
    return f"{str(node.target)!r} (node {node.name})" if is_named else f"node {node.name!r}"


def _refusal(node: fx.Node, does: str, known: Sequence[str]) -> str:
    return (
        f"the network cannot be exported: {_described(node)} {does}, which is not on the list of what an export can "
        f"hold. Write it with functions of torch that are: {', '.join(known)}"
    )
