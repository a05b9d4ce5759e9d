import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dse.errors import NetworkError, UnsupportedLayerError
from dse.networks.graph import fold_network
from dse.testing.tiny import TinyCnn, randomize, tiny_network

IMAGES = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(1)) - 0.5


class Net(nn.Module):
    """Modules by keyword and a forward function `(self, x)`."""

    def __init__(self, forward, **modules):
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)
        self._function = forward
        randomize(self)

    def forward(self, x):
        return self._function(self, x)


def _pooled(x):
    return x.mean((2, 3))


def _check_same(network, folded):
    with torch.inference_mode():
        assert torch.allclose(folded.module(IMAGES), network(IMAGES), atol=1e-5)


def test_folding_keeps_the_function_and_the_original():
    network = tiny_network().train()
    before, state = repr(network), copy.deepcopy(network.state_dict())
    folded = fold_network(network, IMAGES)
    assert folded.names == ("conv1", "depthwise", "pointwise", "linear")
    assert folded.folded == ("bn1", "bn2")
    assert folded.is_traced
    assert not folded.module.training
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.module.modules())
    assert network.training
    assert repr(network) == before
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    _check_same(network.eval(), folded)


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Conv2d(2, 6, 3, groups=2), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(216, 4)),
        (nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False), nn.Flatten(), nn.Linear(144, 4)),
        (nn.Flatten(), nn.Linear(128, 5, bias=False), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)),
        (nn.Flatten(), nn.Linear(128, 5), nn.BatchNorm1d(5, eps=0.1)),
    ],
)
def test_layers_with_a_norm(layers):
    network = randomize(nn.Sequential(*copy.deepcopy(layers)))
    folded = fold_network(network, IMAGES)
    assert len(folded.folded) == 1
    _check_same(network, folded)


NOT_FOLDED = {
    "layer used twice": Net(
        lambda s, x: _pooled(s.norm(s.conv(s.conv(x)))), conv=nn.Conv2d(2, 2, 3, padding=1), norm=nn.BatchNorm2d(2)
    ),
    "norm used twice": Net(
        lambda s, x: _pooled(s.norm(s.conv(s.norm(s.conv2(x))))),
        conv=nn.Conv2d(2, 2, 1), conv2=nn.Conv2d(2, 2, 1), norm=nn.BatchNorm2d(2),
    ),
    "output used twice": Net(
        lambda s, x: (lambda y: _pooled(s.norm(y) + y))(s.conv(x)), conv=nn.Conv2d(2, 2, 3), norm=nn.BatchNorm2d(2)
    ),
    "norm first": Net(lambda s, x: _pooled(s.conv(s.norm(x))), conv=nn.Conv2d(2, 2, 3), norm=nn.BatchNorm2d(2)),
    "function between": Net(
        lambda s, x: _pooled(s.norm(s.conv(x).relu())), conv=nn.Conv2d(2, 2, 3), norm=nn.BatchNorm2d(2)
    ),
    "norm over positions": Net(
        lambda s, x: s.norm(s.linear(x.flatten(2))).mean(2), linear=nn.Linear(64, 2), norm=nn.BatchNorm1d(2)
    ),
    "norm over positions of another number": Net(
        lambda s, x: s.norm(s.linear(x.flatten(2))).mean(2), linear=nn.Linear(64, 5), norm=nn.BatchNorm1d(2)
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(NOT_FOLDED))
def test_norms_that_stay(case):
    network = NOT_FOLDED[case]
    folded = fold_network(network, IMAGES)
    assert folded.is_traced
    assert folded.folded == ()
    _check_same(network, folded)


def test_calls_by_keyword():
    network = Net(
        lambda s, x: _pooled(s.norm(input=s.conv(input=x))), conv=nn.Conv2d(2, 2, 3), norm=nn.BatchNorm2d(2)
    )
    folded = fold_network(network, IMAGES)
    assert folded.folded == ("norm",)
    _check_same(network, folded)


def _branching(s, x):
    x = s.conv(x)
    return s.linear(x.flatten(1) if x.sum() > 1e9 else -x.flatten(1))


def test_control_flow_on_data_falls_back_to_hooks():
    network = Net(_branching, linear=nn.Linear(144, 3), conv=nn.Conv2d(2, 4, 3), unused=nn.Linear(2, 2))
    folded = fold_network(network, IMAGES)
    assert not folded.is_traced
    assert folded.names == ("conv", "linear")  # in order of use, the unused one left out
    _check_same(network, folded)


def test_order_of_first_use_and_layers_used_twice():
    network = Net(
        lambda s, x: s.last(_pooled(s.first(s.second(s.first(x))))),
        second=nn.Conv2d(2, 2, 1), last=nn.Linear(2, 3), first=nn.Conv2d(2, 2, 1),
    )  # fmt: skip
    assert fold_network(network, IMAGES).names == ("first", "second", "last")


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        (["conv1"], ("depthwise", "pointwise", "linear")),
        (["*wise"], ("conv1", "linear")),
        (["conv?", "linear"], ("depthwise", "pointwise")),
    ],
)
def test_exclude(exclude, left):
    assert fold_network(tiny_network(), IMAGES, exclude).names == left


def test_exclude_a_part_of_the_network():
    network = randomize(nn.Sequential(nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU()), nn.Flatten(), nn.Linear(128, 3)))
    assert fold_network(network, IMAGES, ["0"]).names == ("2",)


@pytest.mark.parametrize("pattern", ["conv9", "bn1", "", "Conv1"])
def test_exclude_pattern_that_matches_no_layer(pattern):
    with pytest.raises(NetworkError, match="matches no layer; the layers are conv1, depthwise, pointwise, linear"):
        fold_network(tiny_network(), IMAGES, [pattern])


def test_aliases_are_one_layer():
    conv = nn.Conv2d(2, 2, 1)
    network = Net(lambda s, x: _pooled(s.other(s.b(s.a(x)))), a=conv, b=conv, other=nn.Conv2d(2, 2, 1))
    assert len(fold_network(network, IMAGES).names) == 2
    for name in "ab":
        assert fold_network(network, IMAGES, [name]).names == ("other",)


def test_everything_excluded_and_nothing_there():
    with pytest.raises(NetworkError, match="4, all excluded"):
        fold_network(tiny_network(), IMAGES, ["*"])
    with pytest.raises(NetworkError, match="no Conv2d or Linear"):
        fold_network(nn.Flatten(), IMAGES)
    unused = Net(lambda s, x: _pooled(x), conv=nn.Conv2d(2, 2, 1))
    with pytest.raises(NetworkError, match="uses no Conv2d"):
        fold_network(unused, IMAGES)


def test_unsupported_layers_are_named():
    network = randomize(nn.Sequential(nn.Sequential(nn.ConvTranspose2d(2, 2, 3)), nn.Flatten(), nn.Linear(200, 3)))
    with pytest.raises(UnsupportedLayerError, match=r"0\.0 \(ConvTranspose2d\)"):
        fold_network(network, IMAGES)
    assert fold_network(network, IMAGES, ["0.0"]).names == ("2",)
    assert fold_network(network, IMAGES, ["0"]).names == ("2",)


class _ScaledConv(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, self.weight / self.weight.std(), self.bias)


class _PaddedConv(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(F.pad(x, (1, 1, 1, 1)), weight, bias)


class _NamedConv(nn.Conv2d):
    """Another name, the same function."""


@pytest.mark.parametrize("kind", [_ScaledConv, _PaddedConv])
def test_layers_with_a_forward_of_their_own_are_unsupported(kind):
    network = randomize(nn.Sequential(kind(2, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3)))
    with pytest.raises(UnsupportedLayerError, match=rf"0 \({kind.__name__} with a forward of its own\)"):
        fold_network(network, IMAGES)
    assert fold_network(network, IMAGES, ["0"]).names == ("3",)


def test_subclasses_without_are_supported():
    network = randomize(nn.Sequential(_NamedConv(2, 2, 3), nn.BatchNorm2d(2), nn.Flatten()))
    assert fold_network(network, IMAGES).names == ("0",)


FUNCTIONS = {
    "conv2d": lambda s, x: F.conv2d(s.conv(x), s.weight.view(2, 2, 1, 1)).mean((2, 3)),
    "linear": lambda s, x: F.linear(_pooled(s.conv(x)), s.weight),
    "matmul": lambda s, x: _pooled(s.conv(x)) @ s.weight,
    "mm": lambda s, x: _pooled(s.conv(x)).mm(s.weight),
    "einsum": lambda s, x: torch.einsum("ni,ij->nj", _pooled(s.conv(x)), s.weight),
}


@pytest.mark.parametrize("is_traced", [True, False])
@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_products_outside_of_layers(name, is_traced):
    def forward(s, x):
        return FUNCTIONS[name](s, x if is_traced or x.sum() < 1e9 else -x)

    network = Net(forward, conv=nn.Conv2d(2, 2, 3))
    network.weight = nn.Parameter(torch.eye(2))
    with pytest.raises(UnsupportedLayerError, match=name):
        fold_network(network, IMAGES)
    folded = fold_network(network, IMAGES, [f"{name}*"])
    assert folded.names == ("conv",)
    assert folded.is_traced is is_traced
    _check_same(network, folded)


@pytest.mark.parametrize("name", ["conv1.weight", "bn1.running_var"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_parameters_that_are_not_finite(name, value):
    network = tiny_network()
    network.state_dict()[name].view(-1)[1] = value
    with pytest.raises(NetworkError, match=f"'{name}' has 1 value"):
        fold_network(network, IMAGES)


def test_failing_forward_names_the_shape():
    with pytest.raises(NetworkError, match=r"fails on an input of shape \[3, 5, 8, 8\]"):
        fold_network(tiny_network(), torch.zeros(3, 5, 8, 8))


@pytest.mark.parametrize(
    "forward", [lambda s, x: (_pooled(s.conv(x)),), lambda s, x: s.conv(x), lambda s, x: _pooled(s.conv(x)).sum(0)]
)
def test_outputs_that_are_not_logits(forward):
    with pytest.raises(NetworkError, match="expected logits"):
        fold_network(Net(forward, conv=nn.Conv2d(2, 2, 3)), IMAGES)


def test_refuses_what_is_no_network():
    with pytest.raises(NetworkError, match="got type"):
        fold_network(TinyCnn, IMAGES)
