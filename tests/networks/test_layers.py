import pickle

import pytest
import torch
from torch import nn

from dse.multipliers.families import exact
from dse.networks.convert import quantize_network
from dse.networks.layers import LayerOperator
from dse.quantization.affine import quantize_affine, scheme_for
from dse.simulation.ops import prepare
from dse.testing.tiny import randomize, tiny_split


def _integer(network, is_signed=False, **options):
    """The integer copy of `network`, every layer through the exact multiplier."""
    integer = quantize_network(network, tiny_split(), scheme=scheme_for(is_signed), **options)
    for layer in integer.integer_layers:
        layer.operator = LayerOperator(prepare(layer.problem, exact(is_signed=is_signed)), layer.scale, layer.bias)
    return integer


def _dequantized(layer, x):
    """Input as the layer sees it, float64."""
    codes = layer.quantize(x).double()
    return (codes - layer.problem.x_zero_point) * layer.x_scale.double()


def _weight(layer):
    zero_points = layer.problem.w_zero_point.view(-1, 1, 1, 1)
    return (layer.problem.weight.double() - zero_points) * layer.w_scale.double().view(-1, 1, 1, 1)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "circular", "replicate"])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": (2, 4), "padding": "same"},
        {"kernel_size": (3, 1), "padding": (2, 1), "stride": (2, 1), "dilation": (1, 2)},
        {"kernel_size": 3, "padding": 2, "groups": 2, "bias": False},
    ],
)
@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
def test_conv_equals_float64_on_dequantized_operands(padding_mode, options, is_signed, per_channel):
    conv = nn.Conv2d(2, 6, padding_mode=padding_mode, **options)
    network = randomize(nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    (layer,) = _integer(network, is_signed, per_channel=per_channel).integer_layers
    x = tiny_split(5, seed=3).images * 1.3  # some beyond the calibrated range
    twin = nn.Conv2d(2, 6, padding_mode=padding_mode, **options).double()
    with torch.no_grad():
        if padding_mode == "zeros":
            inputs = _dequantized(layer, x)
        else:  # padded before it is quantized, which commutes with rounding
            bare = layer.padding_mode
            layer.padding_mode = "zeros"
            inputs = _dequantized(layer, x)
            layer.padding_mode = bare
        twin.weight.copy_(_weight(layer))
        if conv.bias is not None:
            twin.bias.copy_(conv.bias)
        result, expected = layer(x), twin(inputs)
        assert result.shape == conv(x).shape
        assert torch.allclose(result.double(), expected, atol=1e-5, rtol=1e-5)
        assert torch.allclose(_weight(layer).float(), conv.weight, atol=layer.w_scale.max().item() * 0.51)


@pytest.mark.parametrize("is_signed", [False, True])
def test_linear_on_any_number_of_axes(is_signed):
    network = randomize(nn.Sequential(nn.Flatten(2), nn.Linear(64, 5), nn.Flatten()))
    (layer,) = _integer(network, is_signed).integer_layers
    for shape in ((64,), (3, 64), (3, 2, 64), (2, 3, 2, 64), (0, 2, 64)):
        x = torch.rand(shape) * 2 - 1
        codes = layer.quantize(x).double().reshape(*shape)
        inputs = (codes - layer.problem.x_zero_point) * layer.x_scale.double()
        expected = inputs @ _weight(layer).flatten(1).T + layer.bias.double()
        assert layer(x).shape == (*shape[:-1], 5)
        assert torch.allclose(layer(x).double(), expected, atol=1e-5)


def test_padding_is_zero_in_real_numbers():
    network = randomize(nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    (layer,) = _integer(network).integer_layers
    assert layer.problem.x_zero_point != 0
    x = torch.zeros(1, 2, 8, 8)
    assert torch.allclose(layer(x), layer.bias.view(1, -1, 1, 1).expand(1, 3, 8, 8), atol=1e-6)


def test_operator_formula():
    problem = _integer(randomize(nn.Sequential(nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())))
    (layer,) = problem.integer_layers
    sums = prepare(layer.problem, exact())
    scale, bias, slope = torch.tensor([1.0, 2.0, 0.5]), torch.tensor([0.0, 1.0, -1.0]), torch.tensor([0.0, 0.5, 2.0])
    codes = layer.quantize(tiny_split(2).images)
    totals, inputs = sums(codes).float(), torch.full((2, 3, 6, 6), 7.0)
    result = LayerOperator(sums, scale, bias, slope=slope, input_sums=lambda codes: inputs)(codes)
    per_channel = (1, -1, 1, 1)
    expected = scale.view(per_channel) * (totals - slope.view(per_channel) * 7) + bias.view(per_channel)
    assert torch.equal(result, expected)
    assert torch.equal(sums(codes).float(), totals)


def test_pickled_without_packed_weights():
    network = randomize(nn.Sequential(nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    (layer,) = _integer(network).integer_layers
    copied = pickle.loads(pickle.dumps(layer))
    assert copied.operator is None
    assert layer.operator is not None
    copied.operator = layer.operator
    x = tiny_split(2).images
    assert torch.equal(copied(x), layer(x))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_input_of_other_float_types(dtype):
    (layer,) = _integer(randomize(nn.Sequential(nn.Flatten(), nn.Linear(128, 3)))).integer_layers
    x = (torch.rand(2, 128) * 2 - 1).to(dtype)
    codes = quantize_affine(x, layer.x_scale, torch.tensor(layer.problem.x_zero_point), torch.uint8)
    assert torch.equal(layer.quantize(x).flatten(1), codes)


def test_input_is_not_changed():
    (layer,) = _integer(randomize(nn.Sequential(nn.Flatten(), nn.Linear(128, 3)))).integer_layers
    x = torch.rand(2, 128)
    before = x.clone()
    layer(x)
    layer(input=x)
    assert torch.equal(x, before)
