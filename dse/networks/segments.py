"""A network cut before each of its layers, so that designs share what their common first layers compute.

A traced network runs its nodes one after another, and whatever runs before the first call of layer `l` depends on the
multipliers of the layers before `l` only. Segment `l` runs from that call up to the first call of the next layer. What
later nodes need of earlier ones is the state between two segments: a tuple of tensors, which is kept by keeping it, and
gone on from as often as wanted. Segments hold the nodes, in their order, and the modules of the network itself: the
logits have the same bits as those of a whole run.

A kept state must stay as it is, but a network may work in place (`nn.ReLU(inplace=True)`, `add_`). That is harmless on
a tensor made in the same segment, the usual case; any other segment gets a copy of its state. Networks that were not
traced, or whose layers are not called one by one, are a single segment.
"""

import copy
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from dse.networks.convert import IntegerNetwork
from dse.networks.layers import IntegerLayer
from dse.networks.memory import makes_tensor, reuse_memory

State = tuple[Any, ...]
"""Values that the rest of a network needs: tensors mostly; behind the last segment the logits alone."""


@dataclass(frozen=True, eq=False)
class Segment:
    """A part of a network.

    Attributes:
        stop: its results depend on the multipliers of layers `0..stop-1`.
        layers: indices of those that run in it, ascending.
        compute: the values of the state before it to the state after it.
        is_pure: False where it may change tensors of the state that it is given.
        running: the state of PyTorch in which it runs.
    """

    stop: int
    layers: tuple[int, ...]
    compute: Callable[..., State]
    is_pure: bool
    running: Callable[[], AbstractContextManager]

    def __call__(self, state: State) -> State:
        """The state after it; the one given is not changed."""
        with self.running():
            return self.compute(*(state if self.is_pure else copy.deepcopy(state)))


class SegmentedNetwork:
    """An integer network in segments; the layers' operators are set from outside before they run.

    Attributes:
        segments: in order, each with more layers than the one before; the last one's `stop` is the number of layers.
    """

    def __init__(self, network: IntegerNetwork):
        self._network = network
        cuts = _cuts(network) if network.is_traced else None
        self._head, self.segments = _whole(network) if cuts is None else _segments(network, cuts)

    def begin(self, images: torch.Tensor) -> State:
        """The state before the first segment, for images float32 `[n, C, H, W]`."""
        with self._network.running():
            images = self._network.laid_out(images)
        return self._head((images,))


def count_bytes(states: Iterable[State]) -> int:
    """Memory that states hold together: what several of them hold counts once."""
    storages = (tensor.untyped_storage() for state in states for tensor in _tensors(state))
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))


def _whole(network: IntegerNetwork) -> tuple[Segment, tuple[Segment, ...]]:
    layers = tuple(range(network.n_layers))
    head = Segment(0, (), lambda images: (images,), is_pure=True, running=network.running)
    whole = Segment(len(layers), layers, lambda images: (network.module(images),), False, network.running)
    return head, (whole,)


def _cuts(network: IntegerNetwork) -> list[tuple[int, int]] | None:
    """`(position, stop)` of each segment: its first node, and one past the last layer called by then.

    None where layers are called in another order than theirs, or where the graph does not call all of them.
    """
    cuts, n_called = [], 0
    for position, node in enumerate(network.module.graph.nodes):
        new = [layer for layer in _called(network, node) if layer >= n_called]
        if new != list(range(n_called, n_called + len(new))):
            return None
        if new:
            n_called += len(new)
            cuts.append((position, n_called))
    return cuts if n_called == network.n_layers else None


def _called(network: IntegerNetwork, node: fx.Node) -> list[int]:
    """Layers that run in a node, ascending: of its module's parts too, and whatever name it is called by."""
    if node.op != "call_module":
        return []
    parts = {id(part) for part in network.module.get_submodule(node.target).modules()}
    return [index for index, layer in enumerate(network.integer_layers) if id(layer) in parts]


def _segments(network: IntegerNetwork, cuts: Sequence[tuple[int, int]]) -> tuple[Segment, tuple[Segment, ...]]:
    nodes = list(network.module.graph.nodes)
    positions = {node: position for position, node in enumerate(nodes)}
    last_use = [max((positions[user] for user in node.users), default=-1) for node in nodes]

    def alive(cut: int) -> list[fx.Node]:
        return [node for node, last in zip(nodes[:cut], last_use, strict=False) if last >= cut]

    segments = []
    starts, stops = [0, *(position for position, _ in cuts)], [0, *(stop for _, stop in cuts)]
    for start, end, stop in zip(starts, [*starts[1:], len(nodes)], stops, strict=True):
        part = nodes[start:end]
        layers = sorted({layer for node in part for layer in _called(network, node)})
        compute = _graph_module(network.module, part, given=alive(start), kept=alive(end))
        reuse_memory(compute)
        is_pure = _is_pure(network.module, part)
        segments.append(Segment(stop, tuple(layers), compute, is_pure, network.running))
    return segments[0], tuple(segments[1:])


def _graph_module(
    module: nn.Module, nodes: Sequence[fx.Node], *, given: Sequence[fx.Node], kept: Sequence[fx.Node]
) -> fx.GraphModule:
    """`nodes` as a function of the values of the nodes `given`; returns a tuple: those of `kept`, or the logits."""
    graph = fx.Graph()
    copies = {node: graph.placeholder(node.name) for node in given}
    for node in nodes:
        if node.op == "output":
            graph.output((fx.map_arg(node.args[0], copies.__getitem__),))
            return fx.GraphModule(module, graph)
        copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(tuple(copies[node] for node in kept))
    return fx.GraphModule(module, graph)


_IN_PLACE_OPERATORS = {
    operator.iadd, operator.iand, operator.iconcat, operator.ifloordiv, operator.ilshift, operator.imatmul,
    operator.imod, operator.imul, operator.ior, operator.ipow, operator.irshift, operator.isub, operator.itruediv,
    operator.ixor, operator.setitem, operator.delitem,
}  # fmt: skip
_KNOWN = ("torch", "torch.functional", "torch.nn.functional", "torch._C._nn", "_operator", "math")
"""Modules whose functions tell by their name or arguments when they work in place."""


def _is_pure(module: nn.Module, nodes: Sequence[fx.Node]) -> bool:
    """Whether all that `nodes` change in place was made by one of them."""
    fresh: set[fx.Node] = set()
    for node in nodes:
        child = module.get_submodule(node.target) if node.op == "call_module" else None
        in_place = _works_in_place(node, child)
        changed = (*node.args, *node.kwargs.values())[:1]
        if in_place is None or (in_place and not (changed and changed[0] in fresh)):
            return False
        if in_place or makes_tensor(node, child):
            fresh.add(node)
    return True


def _works_in_place(node: fx.Node, child: nn.Module | None) -> bool | None:
    """Whether a node changes its first argument; None where it may change anything."""
    if child is not None:
        return _module_works_in_place(child)
    if node.op == "call_method":
        if not hasattr(torch.Tensor, node.target) or node.target.startswith("__"):
            return None
        return node.target.endswith("_")
    if node.op == "call_function":
        return _function_works_in_place(node)
    return False


def _module_works_in_place(child: nn.Module) -> bool | None:
    has_hooks = bool(child._forward_hooks or child._forward_pre_hooks)
    is_known = type(child) is IntegerLayer or type(child).__module__.startswith("torch.nn.modules.")
    if has_hooks or not is_known or next(child.children(), None) is not None or "forward" in vars(child):
        return None
    return bool(getattr(child, "inplace", False))


def _function_works_in_place(node: fx.Node) -> bool | None:
    if node.target is getattr:
        return False
    is_known = getattr(node.target, "__module__", None) in _KNOWN
    if not is_known or node.kwargs.get("out") is not None:
        return None
    by_name = node.target.__name__.endswith("_") or node.target in _IN_PLACE_OPERATORS
    return by_name or bool(node.kwargs.get("inplace", False))
