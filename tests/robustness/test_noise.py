"""dse.robustness.noise: noise of the right size, in a copy only."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dse.errors import NetworkError
from dse.multipliers.families import exact
from dse.networks.convert import quantize_network
from dse.networks.layers import LayerOperator
from dse.quantization.affine import scheme_for
from dse.robustness.noise import NoiseSource, add_noise, frozen_network, plain_state, trainable_network
from dse.simulation.ops import prepare
from dse.testing.tiny import TinyCnn, randomize, tiny_network, tiny_split

CPU = torch.device("cpu")
SPLIT = tiny_split(48)


pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")


class _Padded(nn.Module):
    """Same, reflected and uneven paddings, groups, and one layer called twice."""

    def __init__(self):
        super().__init__()
        self.same = nn.Conv2d(2, 4, 2, padding="same")
        self.reflected = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect", groups=2)
        self.dilated, self.linear = nn.Conv2d(4, 4, 3, dilation=2, stride=2), nn.Linear(4, 4)

    def forward(self, x):
        x = F.relu(self.reflected(F.relu(self.reflected(F.relu(self.same(x))))))
        return self.linear(input=self.dilated(x).mean((2, 3)))


def quantize(network, is_signed=False, **options):
    return quantize_network(network, SPLIT, scheme=scheme_for(is_signed), **options)


def frozen(integer, seed=0, *, is_mirrored=False):
    return frozen_network(integer, source=NoiseSource(seed, CPU, is_mirrored=is_mirrored), device=CPU)


def outputs_of(noisy, index, sigma):
    """Outputs of a layer with noise in it alone, and without any."""
    kept = []
    handle = noisy._layers[index].register_forward_hook(lambda _m, _x, y: kept.append(y))
    with torch.no_grad():
        for value in (sigma, 0.0):
            noisy.sigmas = [torch.tensor(value if i == index else 0.0) for i in range(len(noisy._layers))]
            noisy(SPLIT.images)
    handle.remove()
    noisy.sigmas = None
    return kept


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("sigma", [0.3, -0.3])
def test_noise_has_the_std_of_the_outputs_without_their_bias(sigma, per_channel):
    network = tiny_network()
    with torch.no_grad():
        network.pointwise.bias += 100.0
    noisy = frozen(quantize(network, per_channel=per_channel))
    with_noise, without = outputs_of(noisy, 2, sigma)
    expected = 0.3 * (without - noisy._layers[2].bias.view(-1, 1, 1)).std().item()
    assert (with_noise - without).std().item() == pytest.approx(expected, rel=0.03)
    assert (with_noise - without).mean().abs() < 0.05 * expected


def test_gradients_flow_through_the_std():
    y, noise, sigma = torch.randn(4, 3), torch.randn(4, 3), torch.tensor(0.2)
    for is_detached in (False, True):
        x = y.clone().requires_grad_()
        noisy = add_noise(x, sigma, noise, bias=None)
        reference = x + 0.2 * (x.detach() if is_detached else x).std(correction=0) * noise
        (gradient,), (expected,) = (torch.autograd.grad(v.pow(2).sum(), x, retain_graph=True)
                                    for v in (noisy, reference))  # fmt: skip
        assert torch.allclose(gradient, expected, atol=1e-5) != is_detached


def test_constant_outputs_have_a_gradient():
    y, sigma = torch.zeros(4, 3, requires_grad=True), torch.tensor(0.1, requires_grad=True)
    add_noise(y, sigma, torch.ones(4, 3), bias=None).sum().backward()
    assert torch.isfinite(y.grad).all()
    assert sigma.grad.abs() < 1e-12


def test_source_is_seeded_and_mirrors():
    draws = [NoiseSource(3, CPU).draw(torch.Size((4, 5))) for _ in range(2)]
    assert torch.equal(*draws)
    source = NoiseSource(3, CPU, is_mirrored=True)
    state = source.state
    first = source.draw(torch.Size((4, 5)))
    assert torch.equal(first[:2], -first[2:])
    assert source.draw(torch.Size((3, 5))).shape == (3, 5)
    source.state = state
    assert torch.equal(source.draw(torch.Size((4, 5))), first)


@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("network", [TinyCnn, _Padded])
def test_frozen_network_is_the_integer_network_in_floats(network, is_signed):
    integer = quantize(randomize(network()), is_signed)
    noisy = frozen(integer)
    for layer in integer.integer_layers:
        layer.operator = LayerOperator(prepare(layer.problem, exact(is_signed=is_signed)), layer.scale, layer.bias)
    expected = integer(SPLIT.images)
    # Sums of floats differ in their last bit, which now and then moves a code.
    assert (noisy(SPLIT.images) - expected).abs().max() < 0.02 * expected.std()
    assert not noisy.module.training
    assert not any(parameter.requires_grad for parameter in noisy.module.parameters())


@pytest.mark.parametrize("trains_weights", [False, True])
def test_originals_are_untouched(trains_weights):
    network = tiny_network().eval()
    before = copy.deepcopy(network.state_dict())
    integer = quantize(network)
    fingerprint = integer.fingerprint()
    source = NoiseSource(0, CPU)
    if trains_weights:
        noisy = trainable_network(network, integer, source=source, device=CPU)
    else:
        noisy = frozen_network(integer, source=source, device=CPU)
    noisy.sigmas = [torch.tensor(0.1)] * integer.n_layers
    noisy(SPLIT.images)
    assert all(noisy.is_reached)
    assert not network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert integer.fingerprint() == fingerprint
    for module in [*network.modules(), *integer.module.modules()]:
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not hasattr(module, "parametrizations")


@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
def test_trainable_network_quantizes_weights_straight_through(is_signed, per_channel):
    network = tiny_network()
    noisy = trainable_network(
        network, quantize(network, is_signed, per_channel=per_channel), source=NoiseSource(0, CPU), device=CPU
    )
    assert noisy.module.training
    layer = noisy.module.conv1
    n_values = [len(channel.unique()) for channel in layer.weight.detach()]
    assert max(n_values) <= 256
    assert (layer.weight - network.conv1.weight).abs().max() <= network.conv1.weight.abs().max() / 120
    F.cross_entropy(noisy(SPLIT.images), SPLIT.labels).backward()
    gradients = [parameter.grad for parameter in noisy.module.parameters()]
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)
    state = plain_state(noisy.module)
    assert state.keys() == network.state_dict().keys()
    assert torch.equal(state["conv1.weight"], network.conv1.weight)
    tiny_network().load_state_dict(state)


def test_a_network_that_is_itself_a_layer():
    network = nn.Linear(8, 4)
    wrapped = nn.Sequential(nn.Flatten(), nn.Linear(128, 4))
    noisy = trainable_network(wrapped, quantize(wrapped), source=NoiseSource(0, CPU), device=CPU)
    assert plain_state(noisy.module).keys() == wrapped.state_dict().keys()
    torch.nn.utils.parametrize.register_parametrization(network, "weight", nn.Identity())
    assert plain_state(network).keys() == {"weight", "bias"}


def test_refuses_what_cannot_be_trained():
    network = tiny_network().requires_grad_(False)
    with pytest.raises(NetworkError, match=r"requires a gradient.*requires_grad_\(True\)"):
        trainable_network(network, quantize(network), source=NoiseSource(0, CPU), device=CPU)
    network = tiny_network()
    integer = quantize(network)
    nn.utils.parametrizations.weight_norm(network.conv1)
    with pytest.raises(NetworkError, match="weight of layer 'conv1' is computed"):
        trainable_network(network, integer, source=NoiseSource(0, CPU), device=CPU)
