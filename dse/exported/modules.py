"""Modules of torch.nn that stand between layers: their settings and tensors, and a new module made of these.

A closed list: only these classes are ever made, from settings that are read by name.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from dse.errors import NetworkError

_POOL = "kernel_size stride padding"
_CONV = "in_channels out_channels kernel_size stride padding dilation groups bias padding_mode"
_BATCH_NORM = "num_features eps momentum affine track_running_stats"

KINDS: dict[str, tuple[type[nn.Module], tuple[str, ...]]] = {
    kind.__name__: (kind, tuple(settings.split()))
    for kind, settings in {
        nn.ReLU: "inplace",
        nn.ReLU6: "inplace",
        nn.SiLU: "inplace",
        nn.Mish: "inplace",
        nn.SELU: "inplace",
        nn.Hardswish: "inplace",
        nn.Hardsigmoid: "inplace",
        nn.Hardtanh: "min_val max_val inplace",
        nn.LeakyReLU: "negative_slope inplace",
        nn.ELU: "alpha inplace",
        nn.CELU: "alpha inplace",
        nn.PReLU: "num_parameters",
        nn.GELU: "approximate",
        nn.Sigmoid: "",
        nn.LogSigmoid: "",
        nn.Tanh: "",
        nn.Softsign: "",
        nn.Softplus: "beta threshold",
        nn.Softmax: "dim",
        nn.LogSoftmax: "dim",
        nn.GLU: "dim",
        nn.MaxPool1d: f"{_POOL} dilation return_indices ceil_mode",
        nn.MaxPool2d: f"{_POOL} dilation return_indices ceil_mode",
        nn.AvgPool1d: f"{_POOL} ceil_mode count_include_pad",
        nn.AvgPool2d: f"{_POOL} ceil_mode count_include_pad divisor_override",
        nn.AdaptiveAvgPool1d: "output_size",
        nn.AdaptiveAvgPool2d: "output_size",
        nn.AdaptiveMaxPool2d: "output_size return_indices",
        nn.BatchNorm1d: _BATCH_NORM,
        nn.BatchNorm2d: _BATCH_NORM,
        nn.InstanceNorm2d: _BATCH_NORM,
        nn.LayerNorm: "normalized_shape eps elementwise_affine bias",
        nn.GroupNorm: "num_groups num_channels eps affine",
        nn.RMSNorm: "normalized_shape eps elementwise_affine",
        nn.LocalResponseNorm: "size alpha beta k",
        nn.Flatten: "start_dim end_dim",
        nn.Unflatten: "dim unflattened_size",
        nn.ZeroPad2d: "padding",
        nn.ConstantPad2d: "padding value",
        nn.ReflectionPad2d: "padding",
        nn.ReplicationPad2d: "padding",
        nn.CircularPad2d: "padding",
        nn.Upsample: "size scale_factor mode align_corners recompute_scale_factor",
        nn.PixelShuffle: "upscale_factor",
        nn.PixelUnshuffle: "downscale_factor",
        nn.ChannelShuffle: "groups",
        nn.Conv1d: _CONV,
        nn.Conv2d: _CONV,
        nn.Linear: "in_features out_features bias",
    }.items()
}
"""Class and settings (arguments and attributes of the same name) by kind."""

WITHOUT_EFFECT = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout)
"""They return what they are given, once a network is trained."""


def is_plain(module: nn.Module) -> bool:
    """Whether a module computes what its class does: evaluating, without hooks or a forward of its own."""
    has_hooks = bool(module._forward_hooks or module._forward_pre_hooks)
    return not has_hooks and not module.training and "forward" not in vars(module)


def settings_of(module: nn.Module, where: str) -> tuple[str, dict[str, Any]]:
    """Kind and settings of a module.

    Raises:
        NetworkError: not a plain module of the list.
    """
    kind = type(module).__name__
    if kind not in KINDS or KINDS[kind][0] is not type(module):
        raise NetworkError(
            f"{where} is a {type(module).__module__}.{kind}, which an export cannot hold. Expected a module of "
            f"torch.nn among {', '.join(sorted(KINDS))}; write it with these, or as functions of torch in `forward`"
        )
    if not is_plain(module):
        raise NetworkError(
            f"{where} has hooks, a `forward` of its own, or is in training mode, which an export cannot hold: expected "
            f"a plain torch.nn.{kind}; remove them"
        )
    return kind, {name: _setting(module, name) for name in KINDS[kind][1]}


def _setting(module: nn.Module, name: str) -> Any:
    value = getattr(module, name)
    return value is not None if name == "bias" else value


def make_module(kind: str, settings: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], where: str) -> nn.Module:
    """A module in eval mode.

    Args:
        kind: of `KINDS`.
        settings: exactly those of the kind.
        tensors: its parameters and buffers by name; used as they are, not copied.
        where: what it is, for errors.

    Raises:
        NetworkError: an unknown kind, settings that the class refuses, or tensors that do not fit.
    """
    if kind not in KINDS:
        raise NetworkError(f"{where} is of the unknown kind {kind!r}: expected one of {', '.join(sorted(KINDS))}")
    made, names = KINDS[kind]
    if set(settings) != set(names):
        raise NetworkError(f"{where} has the settings {sorted(settings)}: expected {sorted(names)} of a {kind}")
    try:
        with torch.device("meta"):  # neither memory nor random numbers
            module = made(**settings)
    except Exception as error:  # whatever torch.nn finds wrong with the settings
        raise NetworkError(f"{where}: torch.nn.{kind} refuses its settings: {error}. Export again") from None
    expected = {name: (tensor.shape, tensor.dtype) for name, tensor in module.state_dict().items()}
    found = {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
    if found != expected:
        raise NetworkError(
            f"{where}: tensors do not fit a {kind} of these settings: got {_described(found)}, expected "
            f"{_described(expected)}. Export the network again"
        )
    module.load_state_dict(dict(tensors), assign=True)
    return module.eval()


def _described(tensors: Mapping[str, tuple[torch.Size, torch.dtype]]) -> str:
    return ", ".join(f"{name} {dtype} {list(shape)}" for name, (shape, dtype) in tensors.items()) or "none"
