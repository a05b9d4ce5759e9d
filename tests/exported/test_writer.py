"""Networks go out to files and come back with the same bits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from networks.programs import Program, steps
from torch import nn
from torch.nn import functional as F

from dse.errors import NetworkError
from dse.exported.reader import load_exported
from dse.exported.schema import AccuracyRecord
from dse.exported.writer import write_exported
from dse.multipliers.library import Library
from dse.multipliers.multiplier import Cost, Multiplier, exact_table
from dse.networks.architectures.mobilenet import MobileNetV2
from dse.networks.architectures.resnet import CifarResNet
from dse.recovery.operators import Recovery
from dse.testing.tiny import tiny_network, tiny_split

from .networks import IMAGES, Net, assert_same_bits, conv, described, switchable


def _pooled(x):
    return x.mean((2, 3))


def _round_trip(model, path, images=IMAGES, **changes):
    write_exported(model, path / "net", images[:2], description=described(model, **changes))
    exported = load_exported(path / "net")
    assert_same_bits(model, exported, images)
    return exported


class _SamePadding(nn.Module):
    """As in networks from TensorFlow: resized, padded on two sides, ReLU6, a maximum, an affine."""

    def __init__(self):
        super().__init__()
        self.stem, self.expand = nn.Conv2d(2, 4, 3, 2), nn.Conv2d(4, 8, 1)
        self.depthwise, self.project = nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1)
        self.scale, self.offset = nn.Parameter(torch.ones(4)), nn.Parameter(torch.zeros(4))
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        x = F.interpolate(x, size=(12, 12), mode="bilinear", align_corners=False)
        x = F.relu6(self.stem(F.pad(x, (0, 1, 0, 1))))
        y = F.relu6(self.depthwise(F.pad(F.relu6(self.expand(x)), (1, 1, 1, 1))))
        x = x + self.project(y)
        return self.linear(x.amax((2, 3)) * self.scale + self.offset)


class _Tokens(nn.Module):
    """Linear layers on `[n, positions, channels]`."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm = nn.Conv2d(2, 6, 2, 2), nn.LayerNorm(6)
        self.up, self.act, self.down = nn.Linear(6, 12), nn.GELU(), nn.Linear(12, 6)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = x + self.down(self.act(self.up(self.norm(x))))
        return self.head(x.mean(1))


class _Views(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.pixels, self.linear = nn.Conv2d(2, 4, 3), nn.Linear(128, 4), nn.Linear(36, 4)

    def forward(self, x):
        y = F.max_pool2d(self.conv(x), 2)
        return self.linear(y.view(-1, 36)) + self.pixels(x.view((x.shape[0], 128)))


NETWORKS = {
    "tiny": tiny_network,
    "same padding": _SamePadding,
    "tokens": _Tokens,
    "views": _Views,
    "in place": lambda: Net(lambda s, x: _pooled(s.b(s.r(s.a(x.mul_(2))))), r=nn.ReLU(True), a=conv(), b=conv()),
    "called again": lambda: Net(lambda s, x: _pooled(s.b(s.a(s.b(s.a(x))))), a=conv(), b=conv()),
    "reflect": lambda: Net(lambda s, x: _pooled(s.a(x)), a=conv(2, 4, padding_mode="reflect")),
    "one side": lambda: Net(lambda s, x: _pooled(s.a(s.p(x))), p=nn.ZeroPad2d((0, 1, 0, 1)), a=nn.Conv2d(2, 2, 3, 2)),
    "dilated groups": lambda: Net(lambda s, x: _pooled(s.a(x)), a=nn.Conv2d(2, 6, 3, 1, "same", 2, 2, bias=False)),
    "norm that stays": lambda: Net(lambda s, x: _pooled(s.n(F.relu(s.a(x)))), a=conv(2, 4), n=nn.BatchNorm2d(4)),
    "attention": lambda: Net(lambda s, x: _pooled(s.a(x) * torch.sigmoid(s.b(_pooled(x)))[:, :, None, None]),
                             a=conv(), b=nn.Linear(2, 2)),
    "concatenated": lambda: Net(lambda s, x: _pooled(torch.cat([s.a(x), s.b(x).chunk(2, 1)[1]], 1)),
                                a=conv(), b=conv(2, 4)),
}  # fmt: skip


@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_same_bits(name, is_signed, tmp_path):
    _round_trip(switchable(NETWORKS[name](), is_signed=is_signed), tmp_path)


@pytest.mark.parametrize(
    "network", [CifarResNet(1, n_classes=4), MobileNetV2(n_classes=4)], ids=["resnet", "mobilenet"]
)
def test_architectures(network, tmp_path):
    split = tiny_split(2, channels=3)
    _round_trip(switchable(network, split=split), tmp_path, split.images)


@settings(max_examples=15, deadline=None)
@given(steps)
def test_any_program(tmp_path_factory, program):
    model = switchable(Program(program))
    _round_trip(model, tmp_path_factory.mktemp("export"))


@pytest.mark.parametrize("recovery", [
    Recovery(fold_bias=False), Recovery(sum_compensation=True), Recovery(weight_tuning="uniform"),
])  # fmt: skip
def test_recovery(recovery, tmp_path):
    model = switchable(tiny_network(), recovery=recovery, n_points=1 if recovery.weight_tuning != "off" else 3)
    exported = _round_trip(model, tmp_path)
    has_slopes = any("slope" in name for name in exported.document.arrays)
    assert has_slopes is recovery.sum_compensation


@pytest.mark.parametrize("exclude", [["conv1"], ["linear", "pointwise"]])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_layers_in_floating_point(exclude, memory_format, tmp_path):
    network = tiny_network().to(memory_format=memory_format)
    exported = _round_trip(switchable(network, exclude=exclude), tmp_path)
    assert set(exported.document.modules) == set(exclude)


def test_grey_images(tmp_path):
    split = tiny_split(6, channels=1)
    network = Net(lambda s, x: _pooled(s.a(x)), a=conv(1, 4))
    _round_trip(switchable(network, split=split), tmp_path, split.images)


def test_document(tmp_path):
    model = switchable(tiny_network(), assignments=np.array([[0, 2, 2, 5], [5, 5, 5, 5]]))
    accuracy = AccuracyRecord(accuracy=0.75, top=1, n_images=400, images="report")
    document = _round_trip(model, tmp_path, preprocessing="imagenet", accuracies=(accuracy, None)).document
    assert [m.name for m in document.multipliers] == [model.library[m].name for m in (0, 2, 5)]
    assert [m.hash for m in document.multipliers] == [model.library[m].key for m in (0, 2, 5)]
    assert [point.multipliers for point in document.points] == [(0, 1, 1, 2), (2, 2, 2, 2)]
    assert document.points[1].energy_rel == 1.0
    assert document.points[0].energy_rel == pytest.approx(0.43, abs=0.1)
    assert [point.accuracy for point in document.points] == [accuracy, None]
    assert (document.network, document.preprocessing, document.input_shape) == ("net", "imagenet", (2, 8, 8))


def test_unknown_costs_and_powers(tmp_path):
    table = exact_table(False)
    unknown = Library([Multiplier("e", table, is_signed=False), Multiplier("z", table & ~1, is_signed=False)])
    document = _round_trip(switchable(tiny_network(), library=unknown), tmp_path).document
    assert document.points[0].energy_rel is None
    cost = Cost(0.4, "mW", "45 nm", "here")
    known = Library([Multiplier("e", table, is_signed=False, cost=cost)])
    document = _round_trip(switchable(tiny_network(), library=known), tmp_path).document
    assert (document.multipliers[0].power_mw, document.multipliers[0].energy_rel) == (0.4, 1.0)


def test_equal_networks_give_equal_files(tmp_path):
    files = []
    for name in ("a", "b"):
        model = switchable(tiny_network())
        files.append(
            [f.read_bytes() for f in write_exported(model, tmp_path / name, IMAGES, description=described(model))]
        )
    assert files[0] == files[1]


def test_nothing_is_changed(tmp_path):
    model, images = switchable(NETWORKS["in place"]()), IMAGES.clone()
    model.set_operating_point(1)
    write_exported(model, tmp_path / "a", images, description=described(model))
    assert model.operating_point == 1
    assert torch.equal(images, IMAGES)


@pytest.mark.parametrize("forward", [
    lambda s, x: _pooled(s.a(x)) + F.dropout(_pooled(x), 0.5, True),
    lambda s, x: _pooled(s.a(x)) + s.counter.add_(_pooled(x).mean(0)),
])  # fmt: skip
def test_networks_that_do_not_repeat_themselves_are_refused(forward, tmp_path):
    network = Net(forward, a=conv())
    network.register_buffer("counter", torch.zeros(2))
    model = switchable(network)
    with pytest.raises(
        NetworkError, match="does not reproduce the network: at operating point 0, .* Nothing was written"
    ):
        write_exported(model, tmp_path / "a", IMAGES, description=described(model))
    assert not list(tmp_path.iterdir())
