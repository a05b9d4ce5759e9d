import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dse.errors import ConfigError, NetworkError
from dse.multipliers.families import exact
from dse.networks.convert import batches, quantize_network
from dse.networks.layers import IntegerLayer, LayerOperator
from dse.networks.segments import SegmentedNetwork
from dse.quantization.affine import scheme_for
from dse.quantization.observers import OBSERVERS
from dse.simulation.ops import prepare
from dse.testing.tiny import TinyCnn, randomize, tiny_network, tiny_split

SPLIT = tiny_split()


def _quantize(network, is_signed=False, **options):
    integer = quantize_network(network, SPLIT, scheme=scheme_for(is_signed), **options)
    for layer in integer.integer_layers:
        layer.operator = LayerOperator(prepare(layer.problem, exact(is_signed=is_signed)), layer.scale, layer.bias)
    return integer


def _signal_to_noise(network, integer):
    with torch.inference_mode():
        expected = network(SPLIT.images)
    return (expected.std() / (integer(SPLIT.images) - expected).std()).item()


@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("observer", sorted(OBSERVERS))
def test_is_close_to_the_float_network(is_signed, per_channel, observer):
    integer = _quantize(tiny_network(), is_signed, per_channel=per_channel, observer=observer)
    assert _signal_to_noise(tiny_network(), integer) > 10


def test_layer_table():
    integer = _quantize(tiny_network())
    table = [(i.name, i.kind, i.weight_shape, i.output_shape, i.groups, i.fan_in, i.n_weights, i.n_multiplications)
             for i in integer.layers]  # fmt: skip
    assert table == [
        ("conv1", "conv2d", (6, 2, 3, 3), (6, 8, 8), 1, 18, 108, 3 * 3 * 2 * 6 * 64),
        ("depthwise", "conv2d", (6, 1, 3, 3), (6, 4, 4), 6, 9, 54, 3 * 3 * 6 * 16),
        ("pointwise", "conv2d", (8, 6, 1, 1), (8, 4, 4), 1, 6, 48, 6 * 8 * 16),
        ("linear", "linear", (4, 8), (4,), 1, 8, 32, 32),
    ]
    assert integer.n_layers == 4
    assert [layer.kind for layer in integer.integer_layers] == ["conv2d", "conv2d", "conv2d", "linear"]


class _Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = self.again = nn.Conv2d(2, 2, 3)
        self.linear = nn.Linear(16, 4)

    def forward(self, x):
        x = self.again(self.conv(x))
        return self.linear(x.view(x.size(0), 2, -1).mean(1))


class _Branching(_Shared):
    def forward(self, x):
        return super().forward(x) if x.sum() < 1e9 else x


@pytest.mark.parametrize("kind", [_Shared, _Branching])
def test_a_layer_called_twice_adds_up(kind):
    """Also with two names, with `view` on its output, and where torch.fx cannot trace."""
    network = randomize(kind())
    integer = _quantize(network)
    assert integer.is_traced is (kind is _Shared)
    assert [info.n_multiplications for info in integer.layers] == [9 * 2 * 2 * (36 + 16), 16 * 4]
    assert sum(isinstance(m, IntegerLayer) for m in integer.module.modules()) == 2
    assert not any(isinstance(m, nn.Conv2d | nn.Linear) for m in integer.module.modules())
    assert _signal_to_noise(network, integer) > 10


class _Views(nn.Module):
    """Code that needs the usual memory format, of the image and of a layer's output."""

    def __init__(self, is_branching):
        super().__init__()
        self.is_branching = is_branching
        self.conv, self.pixels, self.linear = nn.Conv2d(2, 4, 3), nn.Linear(128, 4), nn.Linear(36, 4)

    def forward(self, x):
        if self.is_branching and x.sum() > 1e9:
            return x
        y = F.max_pool2d(self.conv(x), 2)
        return self.linear(y.view(-1, 36)) + self.pixels(x.view((x.shape[0], 128)))


@pytest.mark.parametrize("is_branching", [False, True])
def test_views(is_branching):
    network = randomize(_Views(is_branching))
    integer = _quantize(network)
    assert integer.is_traced is not is_branching
    assert _signal_to_noise(network, integer) > 10


def test_linear_on_three_axes_counts_every_position():
    network = randomize(nn.Sequential(nn.Flatten(2), nn.Linear(64, 5), nn.Flatten(), nn.Linear(10, 4)))
    integer = _quantize(network)
    assert integer.layers[0].n_multiplications == 2 * 64 * 5
    assert integer.layers[0].output_shape == (2, 5)
    assert _signal_to_noise(network, integer) > 10


def test_excluded_layers_stay_in_float():
    integer = _quantize(tiny_network(), exclude=["conv1", "linear"])
    assert [info.name for info in integer.layers] == ["depthwise", "pointwise"]
    assert type(integer.module.get_submodule("conv1")) is nn.Conv2d
    assert _signal_to_noise(tiny_network(), integer) > 10


def test_original_is_not_changed():
    network = tiny_network().train()
    state = copy.deepcopy(network.state_dict())
    _quantize(network)
    assert network.training
    assert not any(isinstance(m, IntegerLayer) for m in network.modules())
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())


def test_a_layer_of_zero_weights():
    network = tiny_network()
    with torch.no_grad():
        network.pointwise.weight.zero_()
        network.pointwise.bias.fill_(0.25)
    integer = _quantize(network)
    with torch.inference_mode():
        assert torch.allclose(integer(SPLIT.images), network(SPLIT.images), atol=0.01)


def test_bad_arguments():
    with pytest.raises(ConfigError, match="did you mean 'minmax'"):
        _quantize(tiny_network(), observer="minmx")
    with pytest.raises(NetworkError, match="matches no layer"):
        _quantize(tiny_network(), exclude=["conv7"])


def test_batches_cut_the_split():
    assert [len(b) for b in batches(SPLIT, batch_size=10)] == [10, 10, 4]
    assert [len(b) for b in batches(SPLIT, 12, batch_size=10)] == [10, 2]
    assert torch.equal(torch.cat(list(batches(SPLIT, 99, batch_size=7))), SPLIT.images)


def test_fingerprint_is_stable():
    first = _quantize(tiny_network()).fingerprint()
    assert _quantize(tiny_network()).fingerprint() == first
    used = _quantize(tiny_network())
    used(SPLIT.images)
    assert used.fingerprint() == first
    assert _quantize(tiny_network().train()).fingerprint() == first


def _other_weight(network):
    network.conv1.weight.data[0, 0, 0, 0] += 0.5


def _other_bias(network):
    network.linear.bias.data[0] += 0.01


def _other_stride(network):
    network.depthwise.dilation = (2, 2)
    network.depthwise.padding = (2, 2)


@pytest.mark.parametrize("change", [_other_weight, _other_bias, _other_stride])
def test_fingerprint_follows_the_network(change):
    network = tiny_network()
    change(network)
    assert _quantize(network).fingerprint() != _quantize(tiny_network()).fingerprint()


@pytest.mark.parametrize(
    "options", [{"per_channel": False}, {"observer": "mse"}, {"exclude": ["conv1"]}, {"is_signed": True}]
)
def test_fingerprint_follows_the_quantization(options):
    assert _quantize(tiny_network(), **options).fingerprint() != _quantize(tiny_network()).fingerprint()


@pytest.mark.parametrize("is_branching", [False, True])
@pytest.mark.parametrize("other", [nn.AvgPool2d(2), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2, dilation=1, ceil_mode=True)])
def test_fingerprint_follows_settings_without_parameters(other, is_branching):
    class Pooled(TinyCnn):
        def __init__(self, pool):
            super().__init__()
            self.pool = pool

        def forward(self, x):
            return super().forward(self.pool(x) if not is_branching or x.sum() < 1e9 else x)

    def fingerprint(pool):
        return _quantize(randomize(Pooled(pool))).fingerprint()

    assert fingerprint(nn.MaxPool2d(2)) == fingerprint(nn.MaxPool2d(2))
    assert fingerprint(nn.MaxPool2d(2)) != fingerprint(other)


class _MakesTensors(TinyCnn):
    """Adds constants of its own: a buffer, one made in `forward`, and an excluded layer's weights."""

    def __init__(self):
        super().__init__()
        self.register_buffer("offset", torch.full((4,), 0.5))
        self.last = nn.Linear(4, 4)

    def forward(self, x):
        return self.last(super().forward(x)) + self.offset + torch.linspace(0, 1, 4)


class _MakesTensorsUntraced(_MakesTensors):
    def forward(self, x):
        return super().forward(x if len(x) > 0 else x + 1)


@pytest.mark.parametrize("kind", [_MakesTensors, _MakesTensorsUntraced])
def test_on_another_device_no_tensor_is_left_behind(kind):
    """PyTorch computes nothing on the device `meta`, but refuses to mix its tensors with those of the CPU."""
    integer = _quantize(randomize(kind()), exclude=["last"])
    expected, fingerprint = integer(SPLIT.images), integer.fingerprint()
    meta = torch.device("meta")
    moved = integer.to(meta)
    for layer in moved.integer_layers:
        assert layer.operator is None
        conv, shape = layer.problem, layer.scale.shape

        def sums(x, conv=conv):
            assert x.device == meta
            return torch.empty(len(x), conv.n_outputs, *conv.output_size(*x.shape[2:]), dtype=torch.int32, device=meta)

        layer.operator = LayerOperator(sums, torch.empty(shape, device=meta), torch.empty(shape, device=meta))
    segmented = SegmentedNetwork(moved)
    state = segmented.begin(SPLIT.images)
    for segment in segmented.segments:
        state = segment(state)
    for logits in (moved(SPLIT.images), state[0]):
        assert (logits.device, logits.shape) == (meta, expected.shape)
    assert integer.fingerprint() == fingerprint
    assert torch.equal(integer(SPLIT.images), expected)
    assert torch.zeros(1).device.type == "cpu"


def test_moving_copies_only_where_there_is_another_device():
    integer = _quantize(tiny_network())
    assert integer.to(torch.device("cpu")) is integer
    moved = integer.to(torch.device("cpu", 0))  # the same device by another name
    assert moved.fingerprint() == integer.fingerprint()
    for layer, copied in zip(integer.integer_layers, moved.integer_layers, strict=True):
        assert copied is not layer
        copied.operator = layer.operator
    assert torch.equal(moved(SPLIT.images), integer(SPLIT.images))
