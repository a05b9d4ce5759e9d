"""All that a program may call between its layers: a closed list, so that a file cannot bring code of its own.

Functions go by their public name (`torch.nn.functional.relu`), methods and attributes are those of `torch.Tensor`.
"""

import math
import operator
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch.nn import functional as F

_FUNCTIONS: dict[str, tuple[ModuleType, str]] = {
    "operator": (
        operator,
        """
        add sub mul truediv floordiv mod pow matmul neg pos abs invert and_ or_ xor lt le eq ne gt ge getitem
        iadd isub imul itruediv ifloordiv imod ipow
        """,
    ),
    "math": (math, "sqrt floor ceil exp log log2 pow prod"),
    "torch": (
        torch,
        """
        abs add amax amin arange argmax argmin avg_pool1d bmm cat ceil chunk clamp clamp_max clamp_min clone
        concat cos cosine_similarity cumsum div einsum eq erf exp eye flatten flip floor floor_divide full full_like
        gather ge gt index_select le lerp linspace log log1p log2 log_softmax logical_and logical_not logical_or
        logsumexp lt masked_fill matmul max maximum mean min minimum mm movedim mul narrow ne neg norm ones ones_like
        permute pow prod reciprocal relu relu_ remainder repeat_interleave reshape roll round rsqrt rsub select sigmoid
        sign sin softmax split sqrt square squeeze stack std sub sum t tanh tile transpose tril triu unbind unflatten
        unsqueeze var where zeros zeros_like baddbmm addmm max_pool1d max_pool2d channel_shuffle
        """,
    ),
    "torch.nn.functional": (
        F,
        """
        adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool1d adaptive_max_pool2d avg_pool2d batch_norm celu
        celu_ conv1d conv2d conv_transpose2d dropout dropout1d dropout2d elu elu_ fold gelu glu group_norm
        hardshrink hardsigmoid hardswish hardtanh hardtanh_ instance_norm interpolate layer_norm leaky_relu
        leaky_relu_ linear local_response_norm log_softmax logsigmoid max_pool2d max_pool2d_with_indices mish normalize
        one_hot pad pixel_shuffle pixel_unshuffle prelu relu relu6 rms_norm scaled_dot_product_attention selu selu_
        sigmoid silu softmax softmin softplus softshrink softsign tanh tanhshrink threshold unfold
        """,
    ),
}

FUNCTIONS: dict[str, Callable[..., Any]] = {
    f"{prefix}.{name}": getattr(module, name)
    for prefix, (module, names) in _FUNCTIONS.items()
    for name in names.split()
}
"""By public name."""

_NAMES = {function: name for name, function in reversed(FUNCTIONS.items())}

_METHODS = """
abs add all amax amin any argmax argmin bmm bool ceil chunk clamp clamp_max clamp_min clip clone contiguous cos
cumsum detach dim div double eq erf exp expand expand_as flatten flip float floor floor_divide gather ge gt
index_select int le lerp log log1p log2 log_softmax logical_and logical_not logical_or logsumexp long lt
masked_fill matmul max maximum mean min minimum mm movedim mul narrow ndimension ne neg new_full new_ones
new_zeros norm numel permute pow prod reciprocal relu remainder repeat repeat_interleave reshape reshape_as roll
round rsqrt select sigmoid sign sin size softmax split sqrt square squeeze std sub sum t tanh tile to transpose
tril triu true_divide type_as unbind unflatten unfold unsqueeze var view view_as where
abs_ add_ clamp_ clamp_max_ clamp_min_ copy_ div_ exp_ fill_ masked_fill_ mul_ neg_ pow_ relu_ round_ sigmoid_
sqrt_ square_ squeeze_ sub_ tanh_ unsqueeze_ zero_
"""

METHODS = frozenset(_METHODS.split())
"""Of `torch.Tensor`."""

ATTRIBUTES = frozenset({"shape", "ndim", "dtype", "device", "T", "mT"})
"""Of `torch.Tensor`."""


def function_name(function: Any) -> str | None:
    """Public name of a function of the list, or None."""
    try:
        return _NAMES.get(function)
    except TypeError:  # what cannot be hashed is not in the list
        return None


def call_method(name: str, value: Any, *args: Any, **kwargs: Any) -> Any:
    """Calls a method of `METHODS`; `numel` also of a shape."""
    if name == "numel" and isinstance(value, torch.Size):
        return value.numel()
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"expected a tensor, got {type(value).__name__}")
    return getattr(torch.Tensor, name)(value, *args, **kwargs)


def read_attribute(name: str, value: Any) -> Any:
    """An attribute of `ATTRIBUTES`."""
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"expected a tensor, got {type(value).__name__}")
    return getattr(value, name)
