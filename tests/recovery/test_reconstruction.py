"""Weights chosen for their tables: errors fall, on the sampled positions and beyond, and nothing else changes."""

import numpy as np
import pytest
import torch

from dse.recovery.reconstruction import (
    descend,
    distinct_columns,
    nearest_codes,
    reconstruct,
    sample_positions,
    sampled_patches,
    summed_as_products,
)
from dse.recovery.statistics import match_statistics
from dse.recovery.switchable import switchable_network
from dse.recovery.table_layers import LearningNetwork
from dse.testing.tiny import tiny_split

from .learners import NETWORKS, SPLIT, make_bank, random_rows, wide_network

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")

MANY = tiny_split(200, seed=3)
OTHERS = tiny_split(100, seed=4)
ROUGH = np.array([[0, 2, 1, 5]])


def exact_of(bank):
    return switchable_network(bank, np.full((1, bank.network.n_layers), bank.library.exact_index))


def reconstructed(bank, rows, images=MANY, **options):
    learner = LearningNetwork(bank, rows)
    reconstruct(learner, exact_of(bank), images, **options)
    return learner


def outputs(model, images):
    """Of the last convolution."""
    found = []
    hook = model.network.integer_layers[2].register_forward_hook(lambda _m, _x, y: found.append(y.clone()))
    model(images.images)
    hook.remove()
    return found[0]


def errors(model, exact, images=OTHERS):
    """Root mean square of the last convolution's errors, of every operating point, relative to its outputs."""
    wanted, found = outputs(exact, images), []
    for k in range(model.n_points):
        model.set_operating_point(k)
        found.append(float((outputs(model, images) - wanted).square().mean().sqrt() / wanted.std()))
    return found


@pytest.mark.parametrize("is_signed", [False, True])
def test_outputs_come_closer_than_by_statistics_alone_on_other_images(is_signed):
    bank = make_bank(wide_network(), is_signed=is_signed, split=MANY)
    exact, plain = exact_of(bank), LearningNetwork(bank, ROUGH)
    match_statistics(plain, exact, MANY)
    (before,) = errors(plain.frozen(), exact)
    (after,) = errors(reconstructed(bank, ROUGH).frozen(), exact)
    assert after < 0.92 * before


def test_points_share_what_is_chosen_and_none_gives_up_for_another():
    bank = make_bank(wide_network(), split=MANY)
    rows, exact = np.array([[2, 4, 3, 5], [0, 2, 1, 5]]), exact_of(bank)
    plain = LearningNetwork(bank, rows)
    match_statistics(plain, exact, MANY)
    learner = reconstructed(bank, rows)
    plain_errors, own_errors = (errors(network.frozen(), exact) for network in (plain, learner))
    assert all(after < 0.97 * before for after, before in zip(own_errors, plain_errors, strict=True))


@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_networks_of_all_kinds(network):
    bank = make_bank(NETWORKS[network]())
    rows, told = random_rows(bank, 2), []
    learner = reconstructed(bank, rows, SPLIT, on_layer=lambda *counts: told.append(counts))
    assert told[-1][1] == bank.network.n_layers
    model = learner.frozen()
    for k in range(2):
        learner.set_operating_point(k)
        model.set_operating_point(k)
        assert torch.equal(learner(SPLIT.images).detach(), model(SPLIT.images))


def test_the_exact_design_keeps_its_weights():
    bank = make_bank()
    learner = reconstructed(bank, np.full((1, bank.network.n_layers), bank.library.exact_index), SPLIT)
    for layer, integer in zip(learner.layers, bank.network.integer_layers, strict=True):
        assert torch.equal(layer.quantized().weight, integer.problem.weight)


def test_the_same_seed_chooses_the_same_and_state_goes_into_another_learner():
    bank = make_bank(weight_tuning="histogram", sum_compensation=True)
    first, second = reconstructed(bank, ROUGH), reconstructed(bank, ROUGH)
    other = LearningNetwork(bank, ROUGH)
    other.load_state(first.state())
    for one in (second, other):
        assert torch.equal(one.frozen()(OTHERS.images), first.frozen()(OTHERS.images))
    different = reconstructed(bank, ROUGH, seed=1)
    assert not torch.equal(different.frozen()(OTHERS.images), first.frozen()(OTHERS.images))


@pytest.mark.parametrize("network", ["tiny", "Varied"])
@pytest.mark.parametrize("is_signed", [False, True])
def test_patches_are_what_outputs_are_sums_over(network, is_signed):
    bank = make_bank(NETWORKS[network](), is_signed=is_signed)
    rng = np.random.default_rng(0)
    for index, layer in enumerate(bank.network.integer_layers):
        if layer.kind != "conv2d":
            continue
        problem, codes, multiplier = layer.problem, bank.codes[index], bank.library[0]
        sums = bank.exact_sums(index)(codes).to(torch.int64)
        positions = sample_positions(sums, 20, rng)
        patches = sampled_patches(problem, codes, positions) + problem.x_low
        weight = problem.weight.to(torch.int64).flatten(1).unflatten(0, (problem.groups, -1))
        zero_point = problem.w_zero_point.unflatten(0, (problem.groups, -1))
        found = torch.einsum("ngk,gok->ngo", patches, weight) - patches.sum(2)[:, :, None] * zero_point
        image, row, column = positions
        assert torch.equal(found.flatten(1) + problem.constant, sums[image, :, row, column])
        assert not multiplier.is_exact


def test_positions_are_different_ones():
    outputs = torch.zeros(2, 5, 3, 4)
    positions = sample_positions(outputs, 24, np.random.default_rng(0))
    assert len(set(zip(*(index.tolist() for index in positions), strict=True))) == 24


def test_one_weight_takes_the_best_column_of_all(monkeypatch):
    monkeypatch.setattr("dse.recovery.reconstruction.SHRINKAGE", 0.0)
    generator = torch.Generator().manual_seed(0)
    tables = torch.randn(2, 256, 7, generator=generator)
    patches = torch.randint(0, 256, (2, 50, 1), generator=generator)
    residual = torch.randn(2, 50, 3, generator=generator)
    residual -= residual.mean(1, keepdim=True)
    entries = torch.stack([table[index[:, 0]] for table, index in zip(tables, patches, strict=True)])
    entries = entries - entries.mean(1, keepdim=True)
    costs = torch.stack(
        [(residual + (entries[:, :, c] - entries[:, :, 0])[:, :, None]).square().sum((0, 1)) for c in range(7)]
    )
    found = descend(
        tables, patches, torch.zeros(3, 1, dtype=torch.int64), residual.clone(),
        products=torch.zeros(3, 1, dtype=torch.int64), units=torch.ones(2), codes=torch.arange(256.0),
        rng=np.random.default_rng(0),
    )  # fmt: skip
    assert torch.equal(found[:, 0], costs.argmin(0))


def test_residuals_are_kept_and_fall():
    """What is left after the descent is the table at the chosen columns, less the same target."""
    generator = torch.Generator().manual_seed(1)
    tables = torch.randint(-50, 50, (1, 256, 9), generator=generator).to(torch.float32)
    patches = torch.randint(0, 256, (1, 400, 6), generator=generator)
    start = torch.randint(0, 9, (4, 6), generator=generator)
    target = 40 * torch.randn(400, 4, generator=generator)

    def left(columns):
        sums = sum(tables[0][patches[0, :, k]][:, columns[:, k]] for k in range(6)) - target
        return sums - sums.mean(0)

    residual = left(start)[None].clone()
    found = descend(
        tables, patches, start.clone(), residual, products=torch.zeros(4, 6, dtype=torch.int64),
        units=torch.zeros(1), codes=torch.arange(256.0), rng=np.random.default_rng(0),
    )  # fmt: skip
    torch.testing.assert_close(residual[0], left(found), rtol=0, atol=1e-2)
    assert (left(found).square().mean(0) < left(start).square().mean(0)).all()


def test_residuals_of_equal_codes_are_added_up():
    generator = torch.Generator().manual_seed(2)
    index, residual = torch.randint(0, 256, (2, 600), generator=generator), torch.randn(2, 600, 3, generator=generator)
    expected = [torch.zeros(256, 3).index_add_(0, rows, part) for rows, part in zip(index, residual, strict=True)]
    torch.testing.assert_close(summed_as_products(residual, index), torch.stack(expected))


def test_columns_that_repeat_count_once_and_codes_stay_near():
    table = torch.arange(256.0)[:, None] * torch.tensor([0.0, 1.0, 1.0, 2.0]).repeat_interleave(64)
    tables, column_of = distinct_columns([table, 3 * table])
    assert tables.shape == (2, 256, 3)
    assert torch.equal(tables[0][:, column_of], table)
    assert torch.equal(tables[1], 3 * tables[0])
    nearest = nearest_codes(column_of)
    middle = int(column_of[100])
    assert [int(nearest[middle, code]) for code in (0, 70, 100, 255)] == [64, 70, 100, 191]


def test_a_code_may_have_a_column_of_its_own():
    table = torch.arange(256.0)[:, None] * torch.tensor([0.0, 1.0, 1.0, 2.0]).repeat_interleave(64)
    tables, column_of = distinct_columns([table, 3 * table], apart=100)
    assert tables.shape == (2, 256, 4)
    assert torch.equal(tables[0][:, column_of], table)
    assert torch.equal(tables[1][:, column_of], 3 * table)
    assert torch.nonzero(column_of == column_of[100]).tolist() == [[100]]
    assert int(nearest_codes(column_of)[column_of[99], 100]) == 99


def test_no_weight_leaves_or_enters_a_barred_column():
    generator = torch.Generator().manual_seed(3)
    tables, residual = torch.randn(1, 256, 3, generator=generator), torch.zeros(1, 300, 6)
    patches = torch.randint(0, 256, (1, 300, 8), generator=generator)
    start = torch.randint(0, 3, (6, 8), generator=generator)
    for k in range(8):  # sums of these columns, whose target is 0
        residual[0] += tables[0][patches[0, :, k]][:, start[:, k]]
    options = {"products": torch.zeros(6, 8, dtype=torch.int64), "units": torch.zeros(1), "codes": torch.arange(256.0)}
    free, bound = (
        descend(
            tables, patches, start.clone(), residual.clone(), **options, rng=np.random.default_rng(0), barred=barred
        )
        for barred in (None, 1)
    )  # fmt: skip
    assert torch.equal(bound == 1, start == 1)
    assert not torch.equal(free == 1, start == 1)
    assert not torch.equal(bound, start)


def test_neurons_of_a_layer_that_differ():
    bank = make_bank(wide_network())
    row = np.concatenate([np.resize([0, 2, 5], info.weight_shape[0]) for info in bank.network.layers])[None]
    exact, plain = exact_of(bank), LearningNetwork(bank, row)
    match_statistics(plain, exact, MANY)
    assert errors(reconstructed(bank, row).frozen(), exact)[0] < 0.9 * errors(plain.frozen(), exact)[0]
