"""From a user's network to one whose multiplying layers are known: traced, BatchNorm folded, layers named in order.

torch.fx gives the graph. Where tracing fails (control flow that depends on data), the network itself is kept: its
layers are found by hooks while it runs, and BatchNorms stay as they are.
"""

import copy
import fnmatch
import logging
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import fx, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from dse.errors import NetworkError, UnsupportedLayerError

_log = logging.getLogger("dse")

SUPPORTED = (nn.Conv2d, nn.Linear)
_UNSUPPORTED = (
    nn.Conv1d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
    nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention, nn.Bilinear,
)  # fmt: skip
_MULTIPLYING_FUNCTIONS = {
    F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d, F.linear, F.bilinear,
    F.scaled_dot_product_attention, F.multi_head_attention_forward, operator.matmul,
    torch.matmul, torch.mm, torch.bmm, torch.mv, torch.dot, torch.inner, torch.einsum, torch.tensordot, torch.addmm,
    torch.baddbmm,
}  # fmt: skip
_MULTIPLYING_METHODS = {"matmul", "mm", "bmm", "mv", "dot", "inner", "addmm", "baddbmm", "__matmul__"}


@dataclass(frozen=True, eq=False)
class FoldedNetwork:
    """A private copy of a network, in eval mode.

    Attributes:
        module: the network to run; a `torch.fx.GraphModule` where `is_traced`.
        names: qualified names of its Conv2d and Linear layers in the order of first use, without the excluded ones.
        is_traced: False where hooks stood in for torch.fx (then no BatchNorm was folded).
        folded: qualified names of the BatchNorms that were folded into their layer.
        n_classes: logits an image.
    """

    module: nn.Module
    names: tuple[str, ...]
    is_traced: bool
    folded: tuple[str, ...]
    n_classes: int


def fold_network(network: nn.Module, example: torch.Tensor, exclude: Sequence[str] = ()) -> FoldedNetwork:
    """Copy `network`, fold its BatchNorms and list the layers whose products a multiplier computes.

    Args:
        network: any module that maps `example` to logits.
        example: float32 `[n, C, H, W]`, one small batch.
        exclude: names or patterns (`*`, `?`) of layers that stay in floating point; a name of a part of the network
            stands for all layers in it.

    Raises:
        NetworkError: parameters that are not finite, a forward pass that fails, an exclusion that matches nothing,
            or no layer left.
        UnsupportedLayerError: a layer with products that dse does not simulate, by qualified name.
    """
    if not isinstance(network, nn.Module):
        raise NetworkError(f"expected a torch.nn.Module, got {type(network).__name__}")
    _check_finite(network)
    module = copy.deepcopy(network).eval().to("cpu", torch.float32)
    aliases = _aliases(module)
    _check_unsupported_modules(module, exclude, aliases)
    traced = _trace(module)
    module = module if traced is None else traced
    reached, functions, n_classes = _run_once(module, example)
    if traced is not None:
        functions = _functions(traced)
    _check_functions(functions, exclude)
    _check_exclude(exclude, [*_layer_names(network), *(entry.split(" ")[0] for entry in functions)])
    folded = () if traced is None else _fold_batch_norms(traced, reached)
    names = tuple(name for name in reached if not _matches(aliases[name], exclude))
    if not names:
        raise NetworkError(
            f"the network has no Conv2d or Linear layer to assign multipliers to (found {len(reached)}, all excluded). "
            "Exclude fewer"
            if reached
            else "the network uses no Conv2d or Linear layer: there is nothing to assign multipliers to. "
            "Expected products in nn.Conv2d or nn.Linear modules"
        )
    return FoldedNetwork(module, names, traced is not None, folded, n_classes)


def _check_finite(network: nn.Module) -> None:
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if isinstance(tensor, nn.parameter.UninitializedTensorMixin):
            raise NetworkError(
                f"parameter {name!r} has no values yet: call the network on one image, or load its weights, beforehand"
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            n_bad = int((~torch.isfinite(tensor)).sum())
            raise NetworkError(
                f"parameter {name!r} has {n_bad} values that are NaN or infinite: check the weights or the training"
            )


def aliases_of(module: nn.Module, child: nn.Module) -> list[str]:
    """Every qualified name of `child` in `module`: more than one where an attribute repeats another."""
    return [name for name, other in module.named_modules(remove_duplicate=False) if other is child]


def _aliases(module: nn.Module) -> dict[str, list[str]]:
    """For every qualified name all names of the same module."""
    names: dict[int, list[str]] = {}
    for name, child in module.named_modules(remove_duplicate=False):
        names.setdefault(id(child), []).append(name)
    return {name: group for group in names.values() for name in group}


def _matches(names: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether a pattern fits one of `names`, or a part of the network that holds it."""
    holders = {name.rsplit(".", depth)[0] for name in names for depth in range(name.count(".") + 1)}
    return any(fnmatch.fnmatchcase(holder, pattern) for holder in holders for pattern in patterns)


def _layer_names(network: nn.Module) -> list[str]:
    kinds = SUPPORTED + _UNSUPPORTED
    return [name for name, child in network.named_modules(remove_duplicate=False) if isinstance(child, kinds)]


def _check_exclude(exclude: Sequence[str], names: Sequence[str]) -> None:
    for pattern in exclude:
        if not any(_matches([name], [pattern]) for name in names):
            raise NetworkError(f"exclude pattern {pattern!r} matches no layer; the layers are {', '.join(names)}")


def _is_supported(layer: nn.Module) -> bool:
    """Whether it computes what its class in torch.nn does: a forward of its own may pad or scale weights."""
    kind = nn.Conv2d if isinstance(layer, nn.Conv2d) else nn.Linear
    own = getattr(type(layer), "_conv_forward", None)
    return type(layer).forward is kind.forward and own is getattr(kind, "_conv_forward", None)


def _check_unsupported_modules(module: nn.Module, exclude: Sequence[str], aliases: Mapping[str, list[str]]) -> None:
    found = []
    for name, child in module.named_modules():
        own_forward = isinstance(child, SUPPORTED) and not _is_supported(child)
        if (own_forward or isinstance(child, _UNSUPPORTED)) and not _matches(aliases[name], exclude):
            found.append(f"{name} ({type(child).__name__}{' with a forward of its own' if own_forward else ''})")
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
    for node in graph.nodes:
        # Images are simulated channels last, where `view` would fail; view(dtype) is another operation.
        if node.op == "call_method" and node.target == "view" and not isinstance(node.args[-1], torch.dtype):
            node.target = "reshape"
            node.kwargs = {{"size": "shape"}.get(key, key): value for key, value in node.kwargs.items()}
    return fx.GraphModule(module, graph)


def _functions(traced: fx.GraphModule) -> list[str]:
    """Products outside of layers, as `name (function)`."""
    return [
        f"{node.name} ({getattr(node.target, '__name__', node.target)})"
        for node in traced.graph.nodes
        if (node.op == "call_function" and node.target in _MULTIPLYING_FUNCTIONS)
        or (node.op == "call_method" and node.target in _MULTIPLYING_METHODS)
    ]


def _check_functions(functions: Sequence[str], exclude: Sequence[str]) -> None:
    found = [entry for entry in functions if not _matches([entry.split(" ")[0]], exclude)]
    if found:
        raise UnsupportedLayerError(
            f"the forward pass multiplies outside of layers: {', '.join(found)}. Use nn.Conv2d or nn.Linear modules, "
            "or exclude these by name (--exclude) to keep them in floating point"
        )


def _fold_batch_norms(traced: fx.GraphModule, n_dims: Mapping[str, int]) -> tuple[str, ...]:
    """Fold each BatchNorm whose input is the sole use of a layer's output, and drop it from the graph.

    Args:
        traced: changed in place.
        n_dims: axes of every layer's output. BatchNorm1d normalizes axis 1, which is a Linear's last of two only.
    """
    modules = dict(traced.named_modules())
    uses = [node.target for node in traced.graph.nodes if node.op == "call_module"]
    folded = []
    for node in list(traced.graph.nodes):
        norm = modules.get(node.target) if node.op == "call_module" else None
        if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) or norm.running_mean is None:
            continue
        source = (*node.args, *node.kwargs.values())[0]
        layer = modules.get(source.target) if isinstance(source, fx.Node) and source.op == "call_module" else None
        kind, axes = (nn.Conv2d, 4) if isinstance(norm, nn.BatchNorm2d) else (nn.Linear, 2)
        fits = isinstance(layer, kind) and _is_supported(layer) and n_dims[source.target] == axes
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


class _Watch(TorchFunctionMode):
    """Notes functions with products that are called outside of layers."""

    def __init__(self):
        super().__init__()
        self.n_layers_entered = 0
        self.found: dict[str, None] = {}

    def enter(self, *_: object) -> None:
        self.n_layers_entered += 1

    def leave(self, *_: object) -> None:
        self.n_layers_entered -= 1

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", str(function))
        is_method = getattr(torch.Tensor, name, None) is function and name in _MULTIPLYING_METHODS
        if not self.n_layers_entered and (is_method or function in _MULTIPLYING_FUNCTIONS):
            self.found[f"{name} ({name})"] = None
        return function(*args, **(kwargs or {}))


def _run_once(module: nn.Module, example: torch.Tensor) -> tuple[dict[str, int], list[str], int]:
    """Number of output axes of each supported layer, in the order in which a forward pass first reaches them.

    Also the functions with products outside of layers, as `name (name)`, and the number of logits.
    """
    n_dims: dict[str, int] = {}
    watch, handles = _Watch(), []

    def note(name: str, output: torch.Tensor) -> None:
        n_dims.setdefault(name, output.dim())

    for name, child in module.named_modules():
        if isinstance(child, SUPPORTED + _UNSUPPORTED):
            handles.append(child.register_forward_pre_hook(watch.enter))
            handles.append(child.register_forward_hook(watch.leave))
        if isinstance(child, SUPPORTED):
            handles.append(child.register_forward_hook(lambda _m, _x, y, name=name: note(name, y)))
    try:
        with torch.inference_mode(), watch:
            logits = module(example)
    except Exception as error:  # whatever the user's forward raises on this input
        raise NetworkError(
            f"the network fails on an input of shape {list(example.shape)}: {error}. Check that the dataset fits it"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    if not isinstance(logits, torch.Tensor) or logits.dim() != 2 or len(logits) != len(example):
        got = f"a tensor {list(logits.shape)}" if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise NetworkError(f"the network returns {got} for {len(example)} images: expected logits [n, n_classes]")
    return n_dims, list(watch.found), logits.shape[1]
