"""Runs a program: looks every node up in the lists, then computes one after another.

A file cannot make this call anything but what is on the lists; no code is made of texts.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from dse.errors import DseError, NetworkError, unknown_name
from dse.exported.operations import ATTRIBUTES, FUNCTIONS, METHODS, call_method, read_attribute
from dse.exported.schema import NodeRecord
from dse.exported.values import decode, references, resolve


@dataclass(frozen=True, eq=False)
class _Step:
    name: str
    compute: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    freed: tuple[str, ...]
    where: str


class Interpreter:
    """A program that is ready to run.

    Args:
        nodes: in order.
        layers, modules: that nodes call, by name.
        tensors: that nodes read, by the name in their target.

    Raises:
        NetworkError: a node that is not understood, that refers to no earlier node, or that stands where it must not.
    """

    def __init__(
        self,
        nodes: Sequence[NodeRecord],
        *,
        layers: Mapping[str, nn.Module],
        modules: Mapping[str, nn.Module],
        tensors: Mapping[str, torch.Tensor],
    ):
        _check_order(nodes)
        self._input, *inner, self._output = nodes
        self._known = {"layer": layers, "module": modules, "tensor": tensors}
        decoded = [(decode(node.args, _where(node)), decode({"dict": node.kwargs}, _where(node))) for node in inner]
        result = decode(self._output.args, _where(self._output))
        _check_references(nodes, [([], {}), *decoded, (result, {})])
        freed = _last_uses([([], {}), *decoded, (result, {})])
        self._steps = [
            _Step(node.name, self._function(node), tuple(args), kwargs, freed.get(index, ()), _where(node))
            for index, (node, (args, kwargs)) in enumerate(zip(inner, decoded, strict=True), start=1)
        ]
        self._result = result[0]

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of images.

        Raises:
            NetworkError: a step that fails on them, by the name of its node.
        """
        values: dict[str, Any] = {self._input.name: images}
        for step in self._steps:
            try:
                args, kwargs = resolve(step.args, values), resolve(step.kwargs, values)
                values[step.name] = step.compute(*args, **kwargs)
            except DseError:
                raise
            except Exception as error:  # whatever torch finds wrong with these arguments
                raise NetworkError(f"{step.where} fails on images {list(images.shape)}: {error}") from error
            args = kwargs = None
            for name in step.freed:
                del values[name]
        return resolve(self._result, values)

    def _function(self, node: NodeRecord) -> Callable[..., Any]:
        name = node.target
        if node.op == "constant":
            _check_arguments(node, 1)
            return _same
        if node.op == "function":
            return _known(node, FUNCTIONS, "function")
        if node.op == "method":
            _known(node, dict.fromkeys(METHODS), "method")
            return partial(call_method, name)
        if node.op == "attribute":
            _known(node, dict.fromkeys(ATTRIBUTES), "attribute")
            _check_arguments(node, 1)
            return partial(read_attribute, name)
        found = _known(node, self._known[node.op], node.op)
        if node.op != "tensor":
            return found
        _check_arguments(node, 0)
        return partial(_same, found)


def _same(value: Any) -> Any:
    return value


def _where(node: NodeRecord) -> str:
    return f"node {node.name!r} of the program"


def _known(node: NodeRecord, known: Mapping[str, Any], kind: str) -> Any:
    if node.target not in known:
        raise NetworkError(f"{_where(node)}: {unknown_name(kind, node.target, known)}")
    return known[node.target]


def _check_arguments(node: NodeRecord, n: int) -> None:
    if len(node.args) != n or node.kwargs:
        raise NetworkError(f"{_where(node)} has {len(node.args)} arguments: expected {n} for op {node.op!r}")


def _check_order(nodes: Sequence[NodeRecord]) -> None:
    """One input, the first node; one output, the last; no name twice."""
    ops = [node.op for node in nodes]
    if ops[:1] != ["input"] or ops[-1:] != ["output"] or ops.count("input") != 1 or ops.count("output") != 1:
        raise NetworkError(
            f"the program has the ops {', '.join(ops[:3])}..{', '.join(ops[-1:])}: expected one 'input', the first "
            "node, and one 'output', the last"
        )
    _check_arguments(nodes[0], 0)
    _check_arguments(nodes[-1], 1)
    name, n_times = Counter(node.name for node in nodes).most_common(1)[0]
    if n_times > 1:
        raise NetworkError(f"{n_times} nodes of the program are called {name!r}: expected a name of its own for each")


def _check_references(nodes: Sequence[NodeRecord], arguments: Sequence[tuple[Any, Any]]) -> None:
    earlier: set[str] = set()
    for node, (args, kwargs) in zip(nodes, arguments, strict=True):
        for name in references([args, kwargs]):
            if name not in earlier:
                raise NetworkError(f"{_where(node)} refers to {name!r}: expected the name of an earlier node")
        earlier.add(node.name)


def _last_uses(arguments: Sequence[tuple[Any, Any]]) -> dict[int, tuple[str, ...]]:
    """Names of the values that nobody needs after a node, by its position."""
    last = {name: position for position, pair in enumerate(arguments) for name in references(list(pair))}
    uses: dict[int, list[str]] = {}
    for name, position in last.items():
        uses.setdefault(position, []).append(name)
    return {position: tuple(names) for position, names in uses.items()}
