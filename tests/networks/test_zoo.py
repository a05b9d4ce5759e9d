import sys
import textwrap

import pytest
import torch

from dse.datasets import load_splits
from dse.errors import NetworkError
from dse.networks.zoo import create_network, default_preprocessing, network_names

_DIFFERENT = sorted(set(network_names()) - {"resnet32", "resnet44", "resnet56", "resnet110"})


def _input(name, n=2):
    shape = {"digits_cnn": (1, 8, 8), "lenet5": (1, 28, 28), "lenet5_32": (1, 32, 32)}.get(name, (3, 32, 32))
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def _accuracy(network, split):
    starts = range(0, split.n_images, 250)
    n_right = sum(int((network(split.batch(k, k + 250)).argmax(1) == split.labels[k : k + 250]).sum()) for k in starts)
    return n_right / split.n_images


@pytest.mark.parametrize("name", _DIFFERENT)
@torch.no_grad()
def test_networks_run_and_can_be_traced(name):
    network = create_network(name)
    x = _input(name)
    traced = torch.fx.symbolic_trace(network)
    assert not network.training
    assert network(x).shape == (2, 10)
    assert torch.equal(traced(x), network(x))


def test_number_of_layers_of_the_resnets():
    for name in network_names():
        if name.startswith("resnet"):
            layers = [m for m in create_network(name).modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
            assert f"resnet{len(layers)}" == name


def test_random_weights_are_fixed_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, other = create_network("lenet5"), create_network("lenet5")
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(one.linear.weight, other.linear.weight)


def test_shortcut_takes_every_second_pixel_and_pads_both_sides():
    shortcut = create_network("resnet20").layer2[0].shortcut
    x = torch.rand(1, 16, 32, 32)
    y = shortcut(x)
    assert y.shape == (1, 32, 16, 16)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()


def test_digits_cnn_is_good_on_unseen_images():
    splits = load_splits("digits")
    network = create_network("digits_cnn")
    assert _accuracy(network, splits.search) >= 0.97
    assert _accuracy(network, splits.report) >= 0.97


def test_both_lenets_take_the_same_weights(tmp_path):
    torch.save(create_network("lenet5").state_dict(), tmp_path / "w.pt")
    network = create_network("lenet5_32", weights=tmp_path / "w.pt")
    assert network(_input("lenet5_32")).shape == (2, 10)


def test_n_classes_comes_from_the_weights(tmp_path):
    torch.save(create_network("lenet5", n_classes=7).state_dict(), tmp_path / "w.pt")
    assert create_network("lenet5", weights=tmp_path / "w.pt").linear.out_features == 7
    with pytest.raises(NetworkError, match=r"linear\.weight \(7, 84\) instead of \(9, 84\)"):
        create_network("lenet5", weights=tmp_path / "w.pt", n_classes=9)
    assert create_network("digits_cnn", n_classes=4).linear.out_features == 4


def test_unknown_name():
    with pytest.raises(NetworkError, match="did you mean 'resnet20'"):
        create_network("resnet-20")
    with pytest.raises(NetworkError, match="did you mean 'resnet20'"):
        default_preprocessing("resnet-20")


def test_default_preprocessing():
    assert [default_preprocessing(n) for n in ("resnet32", "digits_cnn", "m:f")] == ["imagenet", "unit", None]


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path.copy())
    source = """
        import torch
        from torch import nn
        def net(): return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Dropout()).train()
        def poisoned():
            network = net()
            network[0].weight.data[0, 0, 0, 0] = float("nan")
            return network
        def number(): return 3
        def cls(): return nn.Linear
    """
    file = tmp_path / "my_zoo_networks.py"
    file.write_text(textwrap.dedent(source))
    yield str(file)
    sys.modules.pop(file.stem, None)


def test_entry_point(module, tmp_path):
    network = create_network(f"{module}:net")
    assert not network.training
    torch.save({"0.weight": torch.ones(2, 1, 3, 3), "0.bias": torch.zeros(2)}, tmp_path / "w.pt")
    assert create_network(f"{module}:net", weights=tmp_path / "w.pt")[0].weight.min() == 1


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("poisoned", r"parameter 0\.weight has 1 NaN"),
        ("number", "returned a int; expected a torch.nn.Module"),
        ("cls", "returned a type; expected"),
        ("nets", "did you mean 'net'"),
    ],
)
def test_bad_entry_points(module, function, message):
    with pytest.raises(NetworkError, match=message):
        create_network(f"{module}:{function}")


def test_n_classes_has_no_effect_on_entry_points(module):
    with pytest.raises(NetworkError, match="n_classes"):
        create_network(f"{module}:net", n_classes=3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "weights", "preprocessing", "published"),
    [
        ("resnet20", "cifar10_resnet20.pt", None, 0.9173),
        ("resnet32", "cifar10_resnet32.pt", None, 0.9263),
        ("example_networks.py:mlperf_tiny_resnet8", None, "raw", 0.8721),
        ("example_networks.py:cifar10_mobilenetv2", None, "unit", 0.9211),
    ],
)
def test_published_accuracy(shared_data, network, weights, preprocessing, published):
    name = f"{shared_data}/{network}" if ":" in network else network
    created = create_network(name, weights=None if weights is None else shared_data / "weights" / weights)
    search = load_splits("cifar10", data_dir=shared_data, n_search=400, preprocessing=preprocessing).search
    # three standard errors of 400 images
    assert abs(_accuracy(created, search) - published) < 3 * (published * (1 - published) / 400) ** 0.5
