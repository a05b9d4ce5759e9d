"""Networks to export, with operating points of random multipliers."""

import numpy as np
import torch
from torch import nn

from dse.exported.writer import Description
from dse.networks.convert import quantize_network
from dse.quantization.affine import scheme_for
from dse.recovery.operators import OperatorBank, Recovery
from dse.recovery.switchable import SwitchableNetwork, switchable_network
from dse.testing.tiny import randomize, tiny_library, tiny_split

SPLIT = tiny_split(12)
IMAGES = tiny_split(5, seed=3).images


class Net(nn.Module):
    """Modules by keyword and a forward function `(self, x)`."""

    def __init__(self, forward, **modules):
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)
        self._function = forward

    def forward(self, x):
        return self._function(self, x)


def conv(n_in=2, n_out=2, **options):
    return nn.Conv2d(n_in, n_out, 3, **{"padding": 1, **options})


def switchable(
    network,
    *,
    n_points=2,
    split=SPLIT,
    is_signed=False,
    recovery=None,
    library=None,
    assignments=None,
    is_random=True,
    **options,
) -> SwitchableNetwork:
    """The integer copy of a network, with random weights, at points of random multipliers."""
    integer = quantize_network(
        randomize(network) if is_random else network, split, scheme=scheme_for(is_signed), **options
    )
    library = tiny_library(is_signed=is_signed) if library is None else library
    bank = OperatorBank(integer, library, split, recovery=recovery or Recovery())
    if assignments is None:
        rng = np.random.default_rng(0)
        assignments = rng.integers(0, len(library), (n_points, integer.n_layers))
    return switchable_network(bank, assignments)


def described(model: SwitchableNetwork, **changes) -> Description:
    """A description without accuracies."""
    n = model.n_points
    values = {"network": "net", "preprocessing": "unit", "points": tuple(map(str, range(n))), "accuracies": (None,) * n}
    return Description(**values | changes)


def assert_same_bits(model, exported, images: torch.Tensor) -> None:
    """Both give the same logits at every point."""
    assert exported.n_points == model.n_points
    for k in range(model.n_points):
        model.set_operating_point(k)
        exported.set_operating_point(k)
        assert torch.equal(model(images.clone()).view(torch.int32), exported(images.clone()).view(torch.int32))
