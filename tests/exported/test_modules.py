import json

import pytest
import torch
from torch import nn

from dse.errors import NetworkError
from dse.exported.modules import KINDS, WITHOUT_EFFECT, is_plain, make_module, settings_of
from dse.exported.values import decode, encode
from dse.testing.tiny import randomize

X = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=torch.channels_last)

EXAMPLES = [
    nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.GLU(1), nn.SiLU(), nn.Mish(), nn.SELU(), nn.Hardswish(),
    nn.Hardsigmoid(), nn.Hardtanh(-0.5, 2.0), nn.LeakyReLU(0.2), nn.ELU(0.5), nn.CELU(0.5), nn.PReLU(), nn.PReLU(4),
    nn.GELU("tanh"), nn.Sigmoid(), nn.LogSigmoid(), nn.Tanh(), nn.Softsign(), nn.Softplus(2.0), nn.LogSoftmax(1),
    nn.Softmax(1), nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1, 1, False, True), nn.AvgPool2d(3, 2, 1),
    nn.MaxPool2d((2, 3), dilation=2), nn.AvgPool2d(2, count_include_pad=False, divisor_override=3),
    nn.AdaptiveAvgPool2d((None, 2)), nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(2), nn.BatchNorm2d(4),
    nn.BatchNorm2d(4, affine=False), nn.BatchNorm2d(4, track_running_stats=False), nn.InstanceNorm2d(4),
    nn.InstanceNorm2d(4, affine=True), nn.LayerNorm((6, 6)), nn.LayerNorm(6, bias=False),
    nn.LayerNorm(6, elementwise_affine=False), nn.GroupNorm(2, 4),
    nn.GroupNorm(2, 4, affine=False), nn.RMSNorm(6), nn.LocalResponseNorm(2), nn.Flatten(), nn.Flatten(2, -1),
    nn.Unflatten(1, (2, 2)), nn.ZeroPad2d((0, 1, 0, 1)), nn.ConstantPad2d(1, 0.5), nn.ReflectionPad2d(1),
    nn.ReplicationPad2d(1), nn.CircularPad2d(1), nn.Upsample(scale_factor=2), nn.PixelShuffle(2), nn.PixelUnshuffle(2),
    nn.Upsample(size=(9, 9), mode="bilinear", align_corners=False), nn.ChannelShuffle(2), nn.Linear(6, 3),
    nn.Linear(6, 3, bias=False), nn.Conv2d(4, 6, 3, 2, 1, 1, 2), nn.Conv2d(4, 4, 3, padding="same", bias=False),
    nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), nn.Conv2d(4, 4, 1).to(memory_format=torch.channels_last),
]  # fmt: skip
ON_THREE_AXES = [
    nn.MaxPool1d(2), nn.AvgPool1d(2), nn.AdaptiveAvgPool1d(2), nn.BatchNorm1d(6), nn.Conv1d(6, 2, 3, padding=1),
]  # fmt: skip


def _copy(module, where="here"):
    kind, settings = settings_of(module, where)
    text = json.dumps({name: encode(value, {}, where) for name, value in settings.items()})
    decoded = {name: decode(value, where) for name, value in json.loads(text).items()}
    return make_module(kind, decoded, module.state_dict(), where)


def test_every_kind_has_an_example():
    assert {type(module).__name__ for module in EXAMPLES + ON_THREE_AXES} == set(KINDS)


@pytest.mark.parametrize("module", EXAMPLES + ON_THREE_AXES, ids=repr)
def test_round_trip(module):
    module, x = randomize(module), X[:, 0] if module in ON_THREE_AXES else X
    copy = _copy(module)
    assert type(copy) is type(module)
    assert copy.extra_repr() == module.extra_repr()
    assert not copy.training
    with torch.inference_mode():
        expected, found = module(x.clone()), copy(x.clone())
    assert torch.equal(expected, found)
    assert expected.stride() == found.stride()


def test_settings_are_those_that_the_module_has_now():
    module = nn.Conv2d(4, 4, 3).eval()
    module.stride, module.padding = (2, 2), (1, 1)
    module._reversed_padding_repeated_twice = [1, 1, 1, 1]
    assert _copy(module).stride == (2, 2)


def test_random_numbers_are_left_alone():
    before = torch.get_rng_state()
    _copy(nn.Conv2d(4, 4, 3).eval())  # which itself draws
    torch.set_rng_state(before)
    module = nn.Linear(2, 2, device="meta").eval()
    make_module("Linear", settings_of(module, "")[1], {"weight": torch.zeros(2, 2), "bias": torch.zeros(2)}, "")
    assert torch.equal(torch.get_rng_state(), before)


class _Own(nn.ReLU):
    def forward(self, x):
        return x


def _hooked():
    module = nn.ReLU().eval()
    module.register_forward_hook(lambda *_: None)
    return module


def _replaced():
    module = nn.ReLU().eval()
    module.forward = lambda x: x
    return module


@pytest.mark.parametrize("module", [_Own().eval(), nn.LSTM(2, 2).eval(), nn.Sequential(nn.ReLU()).eval()])
def test_other_modules(module):
    with pytest.raises(NetworkError, match=f"'act' is a .*{type(module).__name__}, which an export cannot hold"):
        settings_of(module, "'act'")


@pytest.mark.parametrize("module", [_hooked(), _replaced(), nn.BatchNorm2d(2).train()])
def test_modules_that_do_something_else(module):
    with pytest.raises(NetworkError, match="'act' has hooks"):
        settings_of(module, "'act'")


@pytest.mark.parametrize("kind", WITHOUT_EFFECT)
def test_modules_without_effect(kind):
    module = kind().eval()
    assert is_plain(module)
    x = X[0] if kind is nn.Dropout1d else X
    assert module(x).data_ptr() == x.data_ptr()


@pytest.mark.parametrize(
    ("kind", "settings", "tensors", "message"),
    [
        ("Linea", {}, {}, "unknown kind"),
        ("ReLU", {}, {}, r"settings \[\]: expected \['inplace'\]"),
        ("ReLU", {"inplace": False, "out": 1}, {}, "settings"),
        ("MaxPool2d", dict.fromkeys(KINDS["MaxPool2d"][1], "a") | {"dilation": []}, {"w": torch.ones(2)}, "do not fit"),
        ("GroupNorm", {"num_groups": 3, "num_channels": 4, "eps": 1e-5, "affine": False}, {}, "refuses its settings"),
        ("PReLU", {"num_parameters": 2}, {"weight": torch.ones(3)}, "do not fit a PReLU"),
        ("PReLU", {"num_parameters": 2}, {"weight": torch.ones(2, dtype=torch.float64)}, "do not fit a PReLU"),
        ("PReLU", {"num_parameters": 2}, {}, "got none, expected weight"),
    ],
)
def test_bad_content(kind, settings, tensors, message):
    with pytest.raises(NetworkError, match=message):
        make_module(kind, settings, tensors, "module 'm'")
