"""Networks with several operating points: what they compute, what they share, and what they are saved as."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from dse.errors import ConfigError, RunError, ShapeError
from dse.evaluation import Evaluator
from dse.multipliers.library import Library
from dse.recovery.switchable import SwitchableNetwork, switchable_network
from dse.recovery.table_layers import LearningNetwork

from .learners import NETWORKS, SPLIT, make_bank, random_rows, shake


@pytest.fixture(scope="module")
def bank():
    return make_bank()


def tuned(bank, n_points=3, *, has_gains=True):
    learner = LearningNetwork(bank, random_rows(bank, n_points), has_gains=has_gains)
    shake(learner)
    return learner.frozen()


def logits(model):
    found = []
    for k in range(model.n_points):
        model.set_operating_point(k)
        found.append(model(SPLIT.images))
    return found


@pytest.mark.parametrize("network", [*NETWORKS][:4])
@pytest.mark.parametrize("recovery", [{}, {"sum_compensation": True}])
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_untuned_is_what_the_evaluator_measures(network, recovery):
    bank = make_bank(NETWORKS[network](), **recovery)
    rows = random_rows(bank, 3)
    model = switchable_network(bank, rows)
    np.testing.assert_array_equal(model.hits(SPLIT), Evaluator(bank, SPLIT).correct(rows, 0, 20))
    np.testing.assert_array_equal(model.hits(SPLIT, top=2), Evaluator(bank, SPLIT, top=2).correct(rows, 0, 20))


def test_switching(bank):
    model = tuned(bank)
    assert (model.n_points, model.operating_point) == (3, 0)
    first, second, third = logits(model)
    assert model.operating_point == 2
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    model.set_operating_point(0)
    assert torch.equal(model(SPLIT.images), first)
    model.hits(SPLIT)
    assert model.operating_point == 0
    for k in (-1, 3):
        with pytest.raises(ShapeError, match=f"operating point {k} does not exist: expected 0 to 2"):
            model.set_operating_point(k)
    assert model.operating_point == 0


def test_two_models_do_not_disturb_each_other(bank):
    fingerprint = bank.network.fingerprint()
    one, two = switchable_network(bank, random_rows(bank, 1)), tuned(bank)
    before = one(SPLIT.images)
    logits(two)
    assert torch.equal(one(SPLIT.images), before)
    assert bank.network.fingerprint() == fingerprint


def test_overhead_counts_vectors_that_differ(bank):
    n_weights, channels = 6 * 2 * 9 + 6 * 9 + 8 * 6 + 4 * 8, np.array([6, 6, 8, 4])
    n_parameters = n_weights + 2 * channels.sum()
    untuned = switchable_network(bank, np.full((3, 4), 5))
    assert (untuned.n_parameters, untuned.n_private_parameters, untuned.overhead) == (n_parameters, 0, 0.0)
    convolutions = channels[:3].sum()
    for has_gains, n_vectors in ((True, 2), (False, 1)):
        learner = LearningNetwork(bank, np.full((3, 4), 5), has_gains=has_gains)
        shake(learner)
        model = learner.frozen()
        assert model.n_private_parameters == 2 * n_vectors * convolutions
        assert model.overhead == pytest.approx(2 * n_vectors * convolutions / n_parameters)
        assert model.n_parameters == n_parameters
    compensated = make_bank(sum_compensation=True)
    assert switchable_network(compensated, np.zeros((1, 4), dtype=int)).n_parameters > n_parameters


def test_learning_starts_from_one_bias_of_linear_layers(bank):
    rows = np.array([[0, 1, 2, 0], [1, 0, 3, 2]])
    untuned = [point.biases[3] for point in switchable_network(bank, rows).points]
    assert not torch.equal(*untuned)
    started = [point.biases[3] for point in LearningNetwork(bank, rows).frozen().points]
    assert torch.equal(started[0], torch.stack(untuned).mean(0))
    assert torch.equal(started[1], started[0])
    (alone,) = LearningNetwork(bank, rows[1:]).frozen().points
    assert torch.equal(alone.biases[3], untuned[1])


def test_points_under_weight_tuning():
    bank = make_bank(weight_tuning="uniform")
    rows = np.array([[0, 0, 0, 0], [1, 0, 0, 0]])
    np.testing.assert_array_equal(
        switchable_network(bank, rows[:1]).hits(SPLIT), Evaluator(bank, SPLIT).correct(rows[:1], 0, 20)
    )
    with pytest.raises(ConfigError, match="layer 'conv1' other weights at each operating point.*`off`"):
        switchable_network(bank, rows)


@pytest.mark.parametrize("recovery", [{}, {"sum_compensation": True}])
@pytest.mark.parametrize("is_signed", [False, True])
def test_saved_and_loaded(tmp_path, recovery, is_signed):
    bank = make_bank(is_signed=is_signed, **recovery)
    model, path = tuned(bank), tmp_path / "points.npz"
    model.save(path)
    loaded = SwitchableNetwork.load(path, bank.network, bank.library)
    assert all(torch.equal(a, b) for a, b in zip(logits(model), logits(loaded), strict=True))
    assert loaded.overhead == model.overhead
    assert loaded.origin == model.origin == bank.network.fingerprint()
    for a, b in zip(model.points, loaded.points, strict=True):
        np.testing.assert_array_equal(a.assignment, b.assignment)
    loaded.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()
    assert {file.name for file in tmp_path.iterdir()} == {"points.npz", "again.npz"}


def test_files_that_do_not_fit(tmp_path, bank):
    path = tmp_path / "points.npz"
    tuned(bank).save(path)
    other = make_bank(NETWORKS["tiny"](1))
    with pytest.raises(RunError, match="belongs to another network"):
        SwitchableNetwork.load(path, other.network, bank.library)
    fewer = Library([m for m in bank.library if m.name != bank.library.names[0]], name="fewer")
    with pytest.raises(RunError, match="belongs to another library"):
        SwitchableNetwork.load(path, bank.network, fewer)
    with pytest.raises(RunError, match="absent.npz does not exist: expected a file made by `dse finetune`"):
        SwitchableNetwork.load(tmp_path / "absent.npz", bank.network, bank.library)


@pytest.mark.parametrize("content", [b"", b"nonsense", "cut", "flipped", "header", "version", "missing"])
def test_damaged_files(tmp_path, bank, content):
    path = tmp_path / "points.npz"
    tuned(bank).save(path)
    whole = path.read_bytes()
    arrays = dict(np.load(path))
    if content == "missing":
        del arrays["scales_1_0"]
    elif content == "header":
        del arrays["header"]
    elif content == "version":
        header = json.loads(arrays["header"].tobytes()) | {"format": 99}
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    if content in ("missing", "header", "version"):
        np.savez(path, **arrays)
    else:
        damaged = {"cut": whole[: len(whole) // 2], "flipped": whole[:500] + bytes(200) + whole[700:]}
        path.write_bytes(damaged.get(content, content))
    with pytest.raises(RunError, match=r"points.npz is (not a file of operating points|damaged)"):
        SwitchableNetwork.load(path, bank.network, bank.library)


def test_points_that_do_not_fit(bank):
    (point,) = switchable_network(bank, random_rows(bank, 1)).points

    def make(**changes):
        SwitchableNetwork(bank.network, bank.library, [replace(point, **changes)])

    with pytest.raises(ShapeError, match=r"an assignment has shape \(3,\): expected \[4\]"):
        make(assignment=point.assignment[:3])
    with pytest.raises(ShapeError, match=r"multiplier indices in 0..5"):
        make(assignment=np.array([0, 0, 0, 6]))
    with pytest.raises(ShapeError, match=r"layer 'conv1': got torch.float64 \[6\], expected float32 \[6\]"):
        make(scales=tuple(scale.double() for scale in point.scales))
    with pytest.raises(ShapeError, match=r"layer 'conv1': got torch.float32 \[5\], expected float32 \[6\]"):
        make(biases=tuple(bias[:-1] for bias in point.biases))
    with pytest.raises(ConfigError, match="give at least one"):
        SwitchableNetwork(bank.network, bank.library, [])


def test_neurons_of_a_layer_that_differ_are_saved_too(bank, tmp_path):
    rows = np.random.default_rng(0).integers(0, len(bank.library), (2, 6 + 6 + 8 + 4))
    model = switchable_network(bank, rows)
    model.save(tmp_path / "points.npz")
    loaded = SwitchableNetwork.load(tmp_path / "points.npz", bank.network, bank.library)
    for before, after in zip(logits(model), logits(loaded), strict=True):
        assert torch.equal(before, after)
    with pytest.raises(ShapeError, match=r"expected \[4\], one multiplier a layer, or \[24\], one a"):
        switchable_network(bank, rows[:, :-1])
