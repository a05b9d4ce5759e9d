"""Additions and activations that write over their input where nobody else needs it.

A fresh tensor of some megabytes costs more than the addition that fills it: the system hands out its pages one by one.
"""

import operator

import torch
from torch import fx, nn
from torch.nn import functional as F

from dse.networks.layers import IntegerLayer

_MAKING_MODULES = (IntegerLayer, nn.BatchNorm1d, nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish)
_MAKING_FUNCTIONS = {
    operator.add, operator.sub, operator.mul, operator.truediv, torch.add, torch.sub, torch.mul, torch.cat, torch.relu,
    F.relu, F.relu6, F.silu,
}  # fmt: skip
"""Their result is a tensor of its own, unless they are told to work in place."""


def makes_tensor(node: fx.Node, child: nn.Module | None) -> bool:
    """Whether the result of `node` (of its module `child`) shares no memory with anything else.

    That holds for what works in place on such a tensor, too; callers see to it that it does.
    """
    return type(child) in _MAKING_MODULES or node.target in _MAKING_FUNCTIONS


def reuse_memory(module: fx.GraphModule) -> None:
    """Lets additions, ReLU and ReLU6 in the graph of `module` write over inputs that it made and uses once."""
    made: set[fx.Node] = set()
    for node in module.graph.nodes:
        child = module.get_submodule(node.target) if node.op == "call_module" else None
        replacement = _replacement(node, child)
        if replacement is not None and node.args[0] in made and len(node.args[0].users) == 1:
            node.op, node.target, node.kwargs = "call_function", replacement, {}
            made.add(node)
        elif makes_tensor(node, child) and not _may_work_in_place(node, child):
            made.add(node)
    module.recompile()


def _may_work_in_place(node: fx.Node, child: nn.Module | None) -> bool:
    is_told = node.kwargs.get("inplace", False) or node.kwargs.get("out") is not None
    by_position = node.target in (F.relu, F.relu6, F.silu) and len(node.args) > 1
    return bool(is_told or by_position or getattr(child, "inplace", False))


def _replacement(node: fx.Node, child: nn.Module | None):
    """What computes the same as `node` and may write over its first argument; None where there is nothing."""
    n_arguments = len(node.args) + len([key for key in node.kwargs if key != "inplace"])
    if child is not None:
        is_plain = not child._forward_hooks and not child._forward_pre_hooks and "forward" not in vars(child)
        return {nn.ReLU: _relu, nn.ReLU6: _relu6}.get(type(child)) if is_plain and len(node.args) == 1 else None
    if node.op != "call_function":
        return None
    if node.target in (operator.add, torch.add) and n_arguments == 2 and len(node.args) == 2:
        return _add if all(isinstance(argument, fx.Node) for argument in node.args) else None
    if n_arguments == 1 and len(node.args) == 1:
        return {F.relu: _relu, torch.relu: _relu, F.relu6: _relu6}.get(node.target)
    return None


def _add(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    fits = isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and a.shape == b.shape and a.dtype == b.dtype
    return a.add_(b) if fits else a + b


def _relu(x: torch.Tensor) -> torch.Tensor:
    return x.relu_()


def _relu6(x: torch.Tensor) -> torch.Tensor:
    return F.relu6(x, inplace=True)
