"""dse.robustness.learning: a search goes on bit by bit, and stops where it cannot go on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dse.datasets import Split
from dse.errors import NetworkError, RunError
from dse.networks.convert import quantize_network
from dse.quantization.affine import scheme_for
from dse.robustness import learning
from dse.robustness.agn import search_tolerances
from dse.robustness.tolerances import AgnSettings
from dse.testing.tiny import randomize, tiny_split

SPLIT = tiny_split(32)
FROZEN = AgnSettings(steps=20, batch_size=16)
TRAINED = AgnSettings(trains_weights=True, epochs=3, batch_size=32, sigma_learning_rate=0.1)


class _Small(nn.Module):
    """Two layers; `change` happens between them."""

    def __init__(self, change):
        super().__init__()
        self.conv, self.dropout, self.linear = nn.Conv2d(2, 4, 3), nn.Dropout(0.2), nn.Linear(4, 4)
        self.change = change

    def forward(self, x):
        y = self.conv(x).relu()
        if y.sum() < 0:  # torch.fx cannot trace it
            y = -y
        return self.linear(self.dropout(self.change(y).mean((2, 3))))


def search(network, settings=FROZEN, **options):
    integer = quantize_network(network, SPLIT, scheme=scheme_for(False))
    return search_tolerances(network, integer, SPLIT, settings, **options)


class _Interrupt(Exception):
    pass


@pytest.mark.parametrize("settings", [FROZEN, TRAINED])
def test_an_interrupted_search_goes_on_bit_by_bit(digits, integer, training, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(learning, "CHECKPOINT_STEPS", 4)
    losses, path = {}, tmp_path / "state.pt"

    def note(step, n_steps, loss, sigmas):
        losses.setdefault(step, []).append((loss, sigmas.tolist()))
        if step == 11 and len(losses[1]) == 2 and len(losses[11]) == 2:
            raise _Interrupt

    options = {"on_step": note}
    whole = search_tolerances(digits, integer, training, settings, **options)
    with pytest.raises(_Interrupt):
        search_tolerances(digits, integer, training, settings, checkpoint=path, **options)
    rest = search_tolerances(digits, integer, training, settings, checkpoint=path, **options)
    assert len(losses[8]) == 2
    assert len(losses[9]) == 3
    assert all(len(set(map(str, values))) == 1 for values in losses.values())
    for name in ("sigma", "sensitivity", "is_saturated"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(rest, name))
    assert whole.accuracy_with_noise == rest.accuracy_with_noise
    if settings.trains_weights:
        assert all(torch.equal(value, rest.weights[name]) for name, value in whole.weights.items())


def test_dropout_follows_the_seed_and_leaves_the_callers_numbers_alone():
    network = randomize(_Small(nn.Identity()))
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, second = (search(network, TRAINED) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    np.testing.assert_array_equal(first.sigma, second.sigma)
    assert (search(network, replace(TRAINED, seed=1)).sigma != first.sigma).any()


def test_a_checkpoint_of_other_settings_is_refused(digits, integer, training, tmp_path):
    path = tmp_path / "state.pt"
    search_tolerances(digits, integer, training, FROZEN, checkpoint=path)
    with pytest.raises(RunError, match="belongs to a tolerance search with other settings"):
        search_tolerances(digits, integer, training, replace(FROZEN, coefficient=0.3), checkpoint=path)
    with pytest.raises(RunError, match="belongs to a tolerance search with other settings"):
        search_tolerances(digits, integer, training.subset(100), FROZEN, checkpoint=path)


def test_nan_stops_with_the_last_good_state(digits, integer, training, tmp_path, monkeypatch, caplog):
    """A learning rate that is far too high; with a lower one the search goes on."""
    monkeypatch.setattr(learning, "CHECKPOINT_STEPS", 1)
    path = tmp_path / "state.pt"
    high = AgnSettings(trains_weights=True, epochs=20, batch_size=64, learning_rate=1e18, sigma_learning_rate=1e-3)
    with pytest.raises(RunError, match=r"stopped at step \d of 80: ") as failure:
        search_tolerances(digits, integer, training, high, checkpoint=path)
    assert f"The last good state is kept in {path}" in str(failure.value)
    assert "Lower the learning rate (now 1e+18, of the sigmas 0.001)" in str(failure.value)
    state = torch.load(path, weights_only=True)
    assert all(torch.isfinite(value).all() for value in state["network"].values())
    search_tolerances(digits, integer, training, replace(high, learning_rate=1e-12), checkpoint=path)
    assert "so far with learning rate 1e+18, now 1e-12" in caplog.text


class _Late(nn.Module):
    """NaN from the second training batch on; not where the ranges are calibrated."""

    n_calls = 0

    def forward(self, y):
        self.n_calls += y.requires_grad
        return y * float("nan") if self.n_calls > 1 else y


@pytest.mark.parametrize("is_last", [False, True])
def test_nan_without_a_checkpoint(is_last):
    network = randomize(_Small(nn.Identity() if is_last else _Late()))
    network = nn.Sequential(network, _Late()).eval() if is_last else network
    what = "the loss is nan" if is_last else "gradients are NaN or infinite"
    with pytest.raises(RunError, match=rf"stopped at step 2 of 20: {what}\. Lower the learning rate \(now 0.5\)"):
        search(network)


def test_a_sigma_that_diverges_is_named(digits, integer, training):
    settings = replace(TRAINED, sigma_learning_rate=1e6)
    with pytest.raises(RunError, match=r"step 1 of \d+: sigma of layer '\S+' is \S+, beyond 20 times sigma_max = 10"):
        search_tolerances(digits, integer, training, settings)


CUTS = [torch.Tensor.detach, lambda y: (9 * y).round(), lambda y: y.argmax(1, keepdim=True) + 0 * y]


@pytest.mark.parametrize("change", CUTS)
def test_gradients_that_are_cut_off(change):
    with pytest.raises(NetworkError, match=r"noise of layer 'conv': .*--initial sensitivity"):
        search(randomize(_Small(change)))


def test_no_gradient_at_all():
    class Closed(_Small):
        @torch.no_grad()
        def forward(self, x):
            return super().forward(x)

    with pytest.raises(NetworkError, match="noise of the logits"):
        search(randomize(Closed(nn.Identity())))


def test_a_layer_that_changes_nothing_bears_anything():
    class Spare(_Small):
        def __init__(self):
            super().__init__(nn.Identity())
            self.spare = nn.Linear(4, 4)

        def forward(self, x):
            logits = super().forward(x)
            self.spare(logits)
            return logits

    found = search(randomize(Spare()))
    assert found.layers == ("conv", "linear", "spare")
    assert found.is_saturated.tolist()[2]


def test_a_layer_that_is_never_reached(training):
    class Rare(_Small):
        def __init__(self):
            super().__init__(nn.Identity())
            self.dark = nn.Linear(4, 4)

        def forward(self, x):
            logits = super().forward(x)
            return self.dark(logits) if x.mean() < -10 else logits

    network = randomize(Rare())
    dark = Split.from_arrays(SPLIT.images - 100, SPLIT.labels)
    integer = quantize_network(network, dark, scheme=scheme_for(False))
    with pytest.raises(NetworkError, match="layers never reached by the training images: dark. .*--exclude"):
        search_tolerances(network, integer, SPLIT, FROZEN)
