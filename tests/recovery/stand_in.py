"""A device that stands in for a GPU: it calls itself `meta`, computes on the CPU, and refuses tensors of the CPU.

PyTorch's own device `meta` refuses them too, but has no values, so that nothing that looks at one (a loss, the better
of two codes) runs on it. Here every tensor on `meta` holds its values.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from dse import evaluation
from dse.simulation import int8_matmul, ops
from dse.simulation.gpu import Gpu

DEVICE = torch.device("meta")
_COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class _Held(torch.Tensor):
    """A tensor on `meta` with values."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "_Held":
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            layout=held.layout, device=DEVICE,
        )  # fmt: skip
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _Dispatch(TorchDispatchMode):
    """Sees what makes tensors of none, too."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _Values(TorchFunctionMode):
    """`torch.tensor` makes one of `meta` without values before anything is dispatched."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.tensor and kwargs.get("device") == DEVICE:
            return func(*args, **{**kwargs, "device": torch.device("cpu")}).to(DEVICE)
        return func(*args, **kwargs)


def _run(func, args, kwargs):
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    is_held = any(isinstance(tensor, _Held) for tensor in tensors)
    # A GPU takes single numbers from the CPU, as these.
    others = [tensor for tensor in tensors if not isinstance(tensor, _Held) and tensor.dim() > 0]
    if is_held and others and func not in _COPIES:
        raise RuntimeError(f"{func} got tensors of two devices")
    device = kwargs.get("device")
    if not is_held and device != DEVICE:
        return func(*args, **kwargs)
    goes_there = is_held if device is None else device == DEVICE
    if device == DEVICE:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    inner_args, inner_kwargs = tree_map_only(_Held, lambda tensor: tensor.held, (args, kwargs))
    with torch.inference_mode(False), torch.no_grad():  # whose tensors a view of another one must not be
        found = func(*inner_args, **inner_kwargs)
        if func._schema.is_mutable:
            return args[0]
        return tree_map_only(torch.Tensor, _Held, found) if goes_there else found


@contextlib.contextmanager
def stand_in_device(monkeypatch) -> Iterator[torch.device]:
    """The device, while it is there; sizes that depend on the kind of device are those of a CPU."""
    for sizes in (evaluation.BATCH_BYTES, evaluation.MAX_BATCH, int8_matmul._UNFOLDED_BYTES):
        monkeypatch.setitem(sizes, DEVICE.type, sizes["cpu"])
    monkeypatch.setattr(ops, "open_gpu", Gpu)
    with _Values(), _Dispatch():
        yield DEVICE
