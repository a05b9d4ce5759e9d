"""From a user's network to one whose multiplying layers are known: traced, BatchNorm folded, layers named in order.

torch.fx gives the graph. Where tracing fails (control flow that depends on data), the network itself is kept: its
layers are found by hooks while it runs, and BatchNorms stay as they are.
"""

import copy
import fnmatch
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx, nn
from torch.nn import functional as F

from dse.errors import NetworkError, UnsupportedLayerError

_log = logging.getLogger("dse")

SUPPORTED = (nn.Conv2d, nn.Linear)
_UNSUPPORTED = (
    nn.Conv1d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
    nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention, nn.Bilinear,
)  # fmt: skip
_MULTIPLYING_FUNCTIONS = {
    F.conv1d, F.conv2d, F.conv3d, F.conv_transpose2d, F.linear, F.bilinear, F.scaled_dot_product_attention,
    torch.conv1d, torch.conv2d, torch.conv3d, torch.matmul, torch.mm, torch.bmm, torch.einsum, torch.addmm,
}  # fmt: skip
_MULTIPLYING_METHODS = {"matmul", "mm", "bmm", "__matmul__"}


@dataclass(frozen=True, eq=False)
class FoldedNetwork:
    """A private copy of a network, in eval mode.

    Attributes:
        module: the network to run; a `torch.fx.GraphModule` where `is_traced`.
        names: qualified names of its Conv2d and Linear layers in the order of first use, without the excluded ones.
        is_traced: False where hooks stood in for torch.fx (then no BatchNorm was folded).
        folded: qualified names of the BatchNorms that were folded into their layer.
    """

    module: nn.Module
    names: tuple[str, ...]
    is_traced: bool
    folded: tuple[str, ...]


def fold_network(network: nn.Module, example: torch.Tensor, exclude: Sequence[str] = ()) -> FoldedNetwork:
    """Copy `network`, fold its BatchNorms and list the layers whose products a multiplier computes.

    Args:
        network: any module that maps `example` to logits.
        example: float32 `[n, C, H, W]`, one small batch.
        exclude: names or patterns (`*`, `?`) of layers that stay in floating point.

    Raises:
        NetworkError: parameters that are not finite, a forward pass that fails, an exclusion that matches nothing,
            or no layer left.
        UnsupportedLayerError: a layer with products that dse does not simulate, by qualified name.
    """
    if not isinstance(network, nn.Module):
        raise NetworkError(f"expected a torch.nn.Module, got {type(network).__name__}")
    _check_finite(network)
    module = copy.deepcopy(network).eval()
    _check_unsupported_modules(module, exclude)
    traced = _trace(module)
    folded: tuple[str, ...] = ()
    if traced is not None:
        _check_functions(traced, exclude)
        folded = _fold_batch_norms(traced)
        module = traced
    reached = _layers_in_order(module, example)
    _check_exclude(exclude, [name for name, _ in network.named_modules()])
    names = tuple(name for name in reached if not _matches(name, exclude))
    if not names:
        raise NetworkError(
            f"the network has no Conv2d or Linear layer to assign multipliers to (found {len(reached)}, all excluded)"
            if reached
            else "the network uses no Conv2d or Linear layer: there is nothing to assign multipliers to"
        )
    return FoldedNetwork(module, names, traced is not None, folded)


def _check_finite(network: nn.Module) -> None:
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            n_bad = int((~torch.isfinite(tensor)).sum())
            raise NetworkError(
                f"parameter {name!r} has {n_bad} values that are NaN or infinite: check the weights or the training"
            )


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _check_exclude(exclude: Sequence[str], names: Sequence[str]) -> None:
    for pattern in exclude:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
            raise NetworkError(f"exclude pattern {pattern!r} matches no layer; the layers are {', '.join(names[1:])}")


def _check_unsupported_modules(module: nn.Module, exclude: Sequence[str]) -> None:
    found = [
        f"{name} ({type(child).__name__})"
        for name, child in module.named_modules()
        if isinstance(child, _UNSUPPORTED) and not _matches(name, exclude)
    ]
    if found:
        raise UnsupportedLayerError(
            f"layers with products that dse does not simulate: {', '.join(found)}. Supported are Conv2d and Linear; "
            "exclude the others by name (--exclude) to keep them in floating point"
        )


class _Tracer(fx.Tracer):
    """Keeps every module of torch.nn whole, subclasses of the supported layers too."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, SUPPORTED) or super().is_leaf_module(m, module_qualified_name)


def _trace(module: nn.Module) -> fx.GraphModule | None:
    try:
        graph = _Tracer().trace(module)
    except Exception as error:  # tracing runs the user's forward: anything may come out of it
        _log.info("torch.fx cannot trace the network (%s); its layers are found by hooks instead", error)
        return None
    return fx.GraphModule(module, graph)


def _check_functions(traced: fx.GraphModule, exclude: Sequence[str]) -> None:
    found = [
        f"{node.name} ({getattr(node.target, '__name__', node.target)})"
        for node in traced.graph.nodes
        if (node.op == "call_function" and node.target in _MULTIPLYING_FUNCTIONS)
        or (node.op == "call_method" and node.target in _MULTIPLYING_METHODS)
    ]
    found = [entry for entry in found if not _matches(entry.split(" ")[0], exclude)]
    if found:
        raise UnsupportedLayerError(
            f"the forward pass multiplies outside of layers: {', '.join(found)}. Use nn.Conv2d or nn.Linear modules"
        )


def _fold_batch_norms(traced: fx.GraphModule) -> tuple[str, ...]:
    """Fold each BatchNorm whose input is the sole use of a layer's output, and drop it from the graph."""
    modules = dict(traced.named_modules())
    uses = [node.target for node in traced.graph.nodes if node.op == "call_module"]
    folded = []
    for node in list(traced.graph.nodes):
        norm = modules.get(node.target) if node.op == "call_module" else None
        if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) or norm.running_mean is None:
            continue
        source = node.args[0]
        layer = modules.get(source.target) if isinstance(source, fx.Node) and source.op == "call_module" else None
        fits = isinstance(layer, nn.Conv2d if isinstance(norm, nn.BatchNorm2d) else nn.Linear)
        if not fits or len(source.users) > 1 or uses.count(source.target) > 1 or uses.count(node.target) > 1:
            continue
        _fold(layer, norm)
        node.replace_all_uses_with(source)
        traced.graph.erase_node(node)
        folded.append(node.target)
    traced.recompile()
    traced.delete_all_unused_submodules()
    return tuple(folded)


def _fold(layer: nn.Conv2d | nn.Linear, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    """`gamma * (W x + b - mean) / sqrt(var + eps) + beta` as new weights and bias of `layer`."""
    with torch.no_grad():
        gamma = torch.ones_like(norm.running_var) if norm.weight is None else norm.weight
        beta = torch.zeros_like(norm.running_var) if norm.bias is None else norm.bias
        factor = gamma / torch.sqrt(norm.running_var + norm.eps)
        bias = torch.zeros_like(norm.running_mean) if layer.bias is None else layer.bias
        layer.weight = nn.Parameter(layer.weight * factor.view(-1, *[1] * (layer.weight.dim() - 1)))
        layer.bias = nn.Parameter((bias - norm.running_mean) * factor + beta)


def _layers_in_order(module: nn.Module, example: torch.Tensor) -> list[str]:
    """Names of the supported layers in the order in which a forward pass first reaches them."""
    order: list[str] = []
    handles = [
        child.register_forward_pre_hook(lambda _m, _x, name=name: order.append(name))
        for name, child in module.named_modules()
        if isinstance(child, SUPPORTED)
    ]
    try:
        with torch.inference_mode():
            module(example)
    except Exception as error:  # whatever the user's forward raises on this input
        raise NetworkError(
            f"the network fails on an input of shape {list(example.shape)}: {error}. Check that the dataset fits it"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return list(dict.fromkeys(order))
