import pytest
import torch
from torch import nn

from dse.errors import DataError
from dse.networks import recording
from dse.networks.convert import quantize_network
from dse.networks.layers import LayerOperator
from dse.networks.recording import record_codes
from dse.quantization.affine import scheme_for
from dse.simulation.ops import prepare
from dse.testing.tiny import randomize, tiny_library, tiny_network, tiny_split

SPLIT = tiny_split(20)


def _integer(network=None, is_signed=False):
    return quantize_network(network or tiny_network(), SPLIT, scheme=scheme_for(is_signed))


def _exact(network):
    library = tiny_library(is_signed=network.scheme.dtype == torch.int8)
    exact = library[library.exact_index]
    return [LayerOperator(prepare(x.problem, exact), x.scale, x.bias) for x in network.integer_layers]


def _record(network, split=SPLIT):
    return record_codes(network, _exact(network), split)


@pytest.mark.parametrize("is_signed", [False, True])
def test_codes_are_the_inputs_of_each_layer(is_signed):
    network = _integer(is_signed=is_signed)
    codes = _record(network)
    assert torch.equal(codes[0], network.integer_layers[0].quantize(SPLIT.images))
    outputs = _exact(network)[2](codes[2])  # the 1x1 convolution; ReLU and mean lead to the linear layer
    assert torch.equal(codes[3], network.integer_layers[3].quantize(outputs.relu().mean((2, 3))))
    assert all(layer.operator is None for layer in network.integer_layers)


def test_few_images_of_large_layers(monkeypatch):
    monkeypatch.setattr(recording, "POSITIONS", 64 * 3)
    monkeypatch.setattr(recording, "MIN_IMAGES", 2)
    assert [len(codes) for codes in _record(_integer())] == [3, 12, 12, 20]
    monkeypatch.setattr(recording, "MIN_IMAGES", 5)
    assert [len(codes) for codes in _record(_integer())] == [5, 12, 12, 20]


def test_fewer_images_are_a_prefix():
    network = _integer()
    for few, all_ in zip(_record(network, SPLIT.subset(7)), _record(network), strict=True):
        assert torch.equal(few, all_[:7])


class _Branch(nn.Module):
    """`rare` runs only on images that are bright on average."""

    def __init__(self):
        super().__init__()
        self.conv, self.rare, self.linear = nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 1), nn.Linear(2, 4)

    def forward(self, x):
        y = self.conv(x)
        if x.mean() > 0.9:
            y = self.rare(y)
        return self.linear(y.mean((2, 3)))


def test_layer_that_is_never_reached():
    bright = torch.ones(4, 2, 8, 8)
    split = type(SPLIT).from_arrays(bright, torch.zeros(4, dtype=torch.int64), n_classes=4)
    network = quantize_network(randomize(_Branch()), split, scheme=scheme_for(False))
    assert len(_record(network, split)) == 3
    with pytest.raises(DataError, match="never reached by the 20 calibration images: rare.*use other images"):
        _record(network)
    assert all(layer.operator is None for layer in network.integer_layers)
