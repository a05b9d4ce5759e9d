"""dse.robustness.resilience against gradients of one image at a time."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dse.errors import ConfigError, DataError, NetworkError
from dse.multipliers.families import builtin_library
from dse.networks.convert import quantize_network
from dse.networks.layers import LayerInfo
from dse.quantization.affine import scheme_for
from dse.recovery.operators import OperatorBank, Recovery
from dse.recovery.table_layers import LearningNetwork
from dse.robustness.noise import NoiseSource, frozen_network
from dse.robustness.resilience import characterize, characterize_network
from dse.simulation.devices import CPU
from dse.testing.tiny import randomize, tiny_network, tiny_split

SPLIT = tiny_split(20)


def info_of(name, layer, output_shape):
    kind = "linear" if isinstance(layer, nn.Linear) else "conv2d"
    return LayerInfo(name, kind, tuple(layer.weight.shape), output_shape, getattr(layer, "groups", 1), 1, 1, 1)


def quantized(network):
    return quantize_network(network, SPLIT, scheme=scheme_for(False))


def slopes_one_by_one(network, modules, split):
    """By layer the slopes at each call of each image: `[n_images][n_calls]` of tensors without batch axis."""
    found = [[] for _ in modules]
    for index in range(split.n_images):
        outputs = [[] for _ in modules]
        handles = [
            module.register_forward_hook(lambda _m, _x, y, kept=kept: kept.append(y.requires_grad_()))
            for module, kept in zip(modules, outputs, strict=True)
        ]
        loss = F.cross_entropy(network(split.batch(index, index + 1)), split.labels[index : index + 1])
        for kept, layer in zip(outputs, found, strict=True):
            layer.append([g[0] for g in torch.autograd.grad(loss, kept, retain_graph=True)])
        for handle in handles:
            handle.remove()
    return found


class Shared(nn.Module):
    """A grouped convolution, one that runs twice, and a Linear layer on several rows an image."""

    def __init__(self):
        super().__init__()
        self.first, self.twice = nn.Conv2d(2, 4, 3, groups=2), nn.Conv2d(4, 4, 3, padding=1)
        self.rows, self.last = nn.Linear(6, 5), nn.Linear(5, 4)

    def forward(self, x):
        x = F.relu(self.first(x))
        x = torch.tanh(self.twice(torch.tanh(self.twice(x))))
        return self.last(torch.tanh(self.rows(x)).mean((1, 2)))


SHAPES = {"first": (4, 6, 6), "twice": (4, 6, 6), "rows": (4, 6, 5), "last": (4,)}


def shared():
    network = randomize(Shared()).requires_grad_(False)
    modules = [network.get_submodule(name) for name in SHAPES]
    infos = [info_of(name, module, SHAPES[name]) for name, module in zip(SHAPES, modules, strict=True)]
    return network, modules, infos


def test_scores_are_those_of_images_by_themselves():
    network, modules, infos = shared()
    found = characterize(network, modules, infos, SPLIT, batch_size=7)
    for index, calls in enumerate(slopes_one_by_one(network, modules, SPLIT)):
        magnitudes = torch.stack([sum(g.abs().double() for g in image) for image in calls])
        is_linear = infos[index].kind == "linear"
        columns = magnitudes.reshape(-1, magnitudes.shape[-1]) if is_linear else magnitudes.transpose(0, 1).flatten(1).T
        np.testing.assert_allclose(found.scores[index], columns.mean(0).numpy(), rtol=1e-5)
        expected_map = magnitudes.mean().view(1, 1) if is_linear else magnitudes.mean((0, 1))
        np.testing.assert_allclose(found.layers[index].position_map, expected_map.numpy(), rtol=1e-5)


def test_standard_deviations_are_those_of_all_outputs():
    network, modules, infos = shared()
    kept = [[] for _ in modules]
    for module, outputs in zip(modules, kept, strict=True):
        module.register_forward_hook(lambda _m, _x, y, outputs=outputs: outputs.append(y))
    network(SPLIT.images)
    found = characterize(network, modules, infos, SPLIT, batch_size=6)
    for info, layer, outputs in zip(infos, found.layers, kept, strict=True):
        calls = outputs[: 2 if info.name == "twice" else 1]
        rows = torch.cat([y.movedim(-1 if info.kind == "linear" else 1, 0).flatten(1) for y in calls], 1)
        np.testing.assert_allclose(layer.output_std, rows.std(1, correction=0).numpy(), rtol=1e-4)
    assert [layer.n_positions for layer in found.layers] == [36, 36, 24, 1]


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_batch_size_does_not_matter(batch_size):
    integer = quantized(tiny_network())
    expected = characterize_network(integer, SPLIT, batch_size=20)
    found = characterize_network(integer, SPLIT, batch_size=batch_size)
    for a, b in zip(found.layers, expected.layers, strict=True):
        for name in ("scores", "output_std", "position_map"):
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-5)
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)
    assert (found.accuracy, found.n_images) == (expected.accuracy, 20)


def test_an_integer_network_is_characterized_by_its_layers():
    integer = quantized(tiny_network())
    found = characterize_network(integer, SPLIT)
    network = frozen_network(integer, source=NoiseSource(0, CPU), device=CPU)
    modules = [network.module.get_submodule(info.name) for info in integer.layers]
    slopes = slopes_one_by_one(network, modules, SPLIT)
    for layer, info, calls in zip(found.layers, integer.layers, slopes, strict=True):
        magnitudes = torch.stack([image[0].abs() for image in calls]).reshape(20, info.weight_shape[0], -1)
        assert layer.name == info.name
        np.testing.assert_allclose(layer.scores, magnitudes.mean((0, 2)).numpy(), rtol=1e-5)


def test_a_learning_network_is_characterized_and_left_as_it_was():
    integer, library = quantized(tiny_network()), builtin_library().select(is_signed=False)
    bank = OperatorBank(integer, library, SPLIT, recovery=Recovery())
    learner = LearningNetwork(bank, np.full((1, integer.n_layers), library.exact_index), gradient="ste")
    found = characterize(learner, learner.layers, integer.layers, SPLIT)
    expected = characterize_network(integer, SPLIT)
    for a, b in zip(found.layers, expected.layers, strict=True):
        np.testing.assert_allclose(a.scores, b.scores, rtol=0.05)  # backward in bfloat16 where there is hardware for it
    assert all(p.requires_grad and p.grad is None for group in learner.parameters() for p in group)
    assert all(not layer._forward_hooks for layer in learner.layers)


class Program(nn.Module):
    """A convolution, then what `then` makes of it, then a Linear layer."""

    def __init__(self, then):
        super().__init__()
        self.conv, self.linear, self.then = nn.Conv2d(2, 3, 8), nn.Linear(3, 4), then

    def forward(self, x):
        return self.linear(self.then(self.conv(x)).flatten(1))


def program(then, weight=None):
    network = randomize(Program(then)).requires_grad_(False)
    if weight is not None:
        network.conv.weight.fill_(weight)
    modules = [network.conv, network.linear]
    infos = [info_of("conv", network.conv, (3, 1, 1)), info_of("linear", network.linear, (4,))]
    return network, modules, infos


def test_outputs_may_be_overwritten():
    found, expected = (characterize(*program(then), SPLIT).scores for then in (torch.relu_, torch.relu))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("cut", [torch.round, torch.Tensor.detach, torch.sign])
def test_a_layer_without_gradient_that_matters_is_refused(cut):
    with pytest.raises(NetworkError, match="no gradient reaches layer 'conv'"):
        characterize(*program(cut), SPLIT)


def test_a_network_without_gradient_is_refused():
    network, modules, infos = program(torch.relu)
    with pytest.raises(NetworkError, match="no gradient reaches a layer: the forward pass cuts it off"):
        characterize(lambda images: network(images).detach(), modules, infos, SPLIT)


def test_a_gradient_that_autograd_cannot_compute_is_refused():
    def overwrite(x):
        y = torch.exp(x)
        y += y.detach()
        return y

    with pytest.raises(NetworkError, match="no gradient comes through the network as its forward pass is written"):
        characterize(*program(overwrite), SPLIT)


def test_a_layer_that_changes_nothing_has_scores_of_zero():
    network, modules, infos = program(torch.relu)
    spare = nn.Conv2d(2, 5, 3)
    found = characterize(network, [*modules, spare], [*infos, info_of("spare", spare, (5, 6, 6))], SPLIT)
    assert not found.scores[2].any()
    assert not found.layers[2].output_std.any()
    assert found.layers[2].position_map.shape == (6, 6)


def test_numbers_that_are_none_are_refused():
    with pytest.raises(DataError, match="the cross entropy is NaN or infinite"):
        characterize(*program(torch.relu, weight=float("nan")), SPLIT)
    with pytest.raises(DataError, match="outputs or gradients of layer 'conv' are NaN"):
        characterize(*program(lambda x: torch.sqrt(0 * x)), SPLIT)


def test_other_refusals():
    parts = program(torch.relu)
    with pytest.raises(ConfigError, match="batch_size is 0"):
        characterize(*parts, SPLIT, batch_size=0)
    with pytest.raises(DataError, match="label 8 has no output: the network has 4"):
        characterize(*parts, tiny_split(20, n_classes=9))


def test_progress_is_told():
    told = []
    characterize(*program(torch.relu), SPLIT, batch_size=8, on_batch=lambda *numbers: told.append(numbers))
    assert told == [(8, 20), (16, 20), (20, 20)]
