"""Re-estimated statistics: means and spreads of every channel come back."""

import numpy as np
import pytest
import torch

from dse.recovery.statistics import MAX_GAIN, exact_statistics, match_statistics
from dse.recovery.switchable import switchable_network
from dse.recovery.table_layers import LearningNetwork

from .learners import NETWORKS, SPLIT, make_bank, random_rows


def matched(bank, rows, *, has_gains=True, images=SPLIT):
    exact = switchable_network(bank, np.full((1, bank.network.n_layers), bank.library.exact_index))
    learner = LearningNetwork(bank, rows, has_gains=has_gains)
    match_statistics(learner, exact, images)
    return learner, exact


@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("has_gains", [False, True])
def test_means_and_spreads_are_those_of_the_exact_network(is_signed, has_gains):
    bank = make_bank(is_signed=is_signed)
    learner, exact = matched(bank, random_rows(bank, 3), has_gains=has_gains)
    wanted, model, n_checked = exact_statistics(exact, SPLIT), learner.frozen(), 0
    for k in range(3):
        model.set_operating_point(k)
        found = exact_statistics(model, SPLIT)
        for layer in range(3):  # convolutions
            (mean, std), (wanted_mean, wanted_std) = found[layer], wanted[layer]
            unit = learner.layers[layer].unit
            torch.testing.assert_close(mean, wanted_mean, rtol=0, atol=2e-4 * unit)
            gain = learner.layers[layer].gains[k].detach()
            is_free = (gain > 1 / MAX_GAIN) & (gain < MAX_GAIN) & (std > 0)
            if has_gains:
                torch.testing.assert_close(std[is_free], wanted_std[is_free], rtol=1e-3, atol=0)
                n_checked += int(is_free.sum())
            else:
                assert (gain == 1).all()
        assert (learner.layers[3].gains[k] == 1).all()
        assert not learner.layers[3].shifts[k].any()
    assert n_checked > 30 or not has_gains


def test_units_are_spreads_of_the_exact_outputs():
    bank = make_bank()
    learner, exact = matched(bank, random_rows(bank, 1))
    for layer, (_, std) in zip(learner.layers, exact_statistics(exact, SPLIT), strict=True):
        assert layer.unit == pytest.approx(float(std.square().mean().sqrt()))


def test_the_exact_design_stays():
    bank = make_bank()
    learner, exact = matched(bank, np.full((1, 4), 5))
    torch.testing.assert_close(learner.frozen()(SPLIT.images), exact(SPLIT.images), rtol=1e-3, atol=1e-4)


def test_layers_that_run_twice_are_left_alone():
    bank = make_bank(NETWORKS["Shared"]())
    learner, exact = matched(bank, random_rows(bank, 2))
    assert learner.layers[0].unit != 1
    for k in range(2):
        assert (learner.layers[0].gains[k] == 1).all()
        assert not learner.layers[0].shifts[k].any()


def test_one_image_and_no_hooks_left():
    bank = make_bank()
    learner, exact = matched(bank, random_rows(bank, 1), images=SPLIT.subset(1))
    assert torch.isfinite(learner.frozen()(SPLIT.images)).all()
    assert learner.is_finite
    for module in (*learner.module.modules(), *exact.network.module.modules()):
        assert not module._forward_hooks
