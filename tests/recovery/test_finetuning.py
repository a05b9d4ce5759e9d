"""Fine-tuning: it helps, it is deterministic, it goes on where it stopped, and it says what it cannot do."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dse.datasets import load_splits
from dse.errors import ConfigError, NetworkError, RunError
from dse.multipliers.families import builtin_library
from dse.networks.convert import quantize_network
from dse.networks.zoo import create_network
from dse.quantization.affine import scheme_for
from dse.recovery import finetuning
from dse.recovery.finetuning import finetune, finetuning_key
from dse.recovery.finetuning_settings import GRADIENTS, FinetuningSettings
from dse.recovery.operators import OperatorBank, Recovery
from dse.recovery.switchable import switchable_network
from dse.recovery.table_layers import LearningNetwork
from dse.testing.tiny import randomize, tiny_split

from .learners import NETWORKS, Detached, Overwritten, make_bank, random_rows

NAMES = ["u8_bam_v8_h3", "u8_trunc7", "u8_drum3", "u8_exact"]
ROUGH = np.zeros((1, 5), dtype=np.int64)
SHORT = FinetuningSettings(epochs=2, batch_size=32, reconstruction=False)
TRAINING = tiny_split(40, seed=1)
VALIDATION = tiny_split(24, seed=2)


@pytest.fixture(scope="module")
def splits():
    return load_splits("digits", n_calibration=160, n_search=160)


@pytest.fixture(scope="module")
def bank(splits):
    integer = quantize_network(create_network("digits_cnn"), splits.calibration, scheme=scheme_for(False))
    library = builtin_library().select(names=NAMES).searchable()
    return OperatorBank(integer, library, splits.calibration, recovery=Recovery())


def tune(bank, splits, settings=SHORT, *, rows=ROUGH, **options):
    return finetune(bank, rows, splits.calibration, splits.search, settings, **options)


def assert_same_network(one, two):
    assert one.history[-1].epoch == two.history[-1].epoch
    assert [(e.epoch, e.accuracies) for e in one.history] == [(e.epoch, e.accuracies) for e in two.history]
    np.testing.assert_array_equal([e.loss for e in one.history], [e.loss for e in two.history])
    for a, b in zip(one.network.network.integer_layers, two.network.network.integer_layers, strict=True):
        assert torch.equal(a.problem.weight, b.problem.weight)
    for a, b in zip(one.network.points, two.network.points, strict=True):
        assert all(torch.equal(*pair) for pair in zip(a.scales + a.biases, b.scales + b.biases, strict=True))


def test_accuracy_comes_back(bank, splits):
    untuned = switchable_network(bank, ROUGH).hits(splits.search).mean()
    settings = replace(SHORT, epochs=4, learning_rate=1e-3, patience=None)
    tuned = tune(bank, splits, settings)
    assert untuned < 0.97
    assert tuned.network.hits(splits.search).mean() > untuned + 0.005
    assert tuned.history[tuned.best_epoch].accuracy == tuned.network.hits(splits.search).mean()
    assert [epoch.epoch for epoch in tuned.history] == list(range(5))
    assert math.isnan(tuned.history[0].loss)
    assert tuned.history[-1].loss < tuned.history[1].loss
    assert len(tuned.key) == 64


@pytest.mark.parametrize(
    "changes",
    [
        {"gradient": "ste"},
        {"gradient": "smoothed"},
        {"private": "affine"},
        {"augmentation": "crop"},
        {"distillation": 0.0},
        {"distillation": 1.0, "temperature": 1.0},
        {"reconstruction": True},
        {"learning_rate": 0.3},  # far too much
    ],
)
def test_never_worse_than_untuned_on_validation_images(bank, splits, changes):
    untuned = switchable_network(bank, ROUGH).hits(splits.search).mean()
    tuned = tune(bank, splits, replace(SHORT, epochs=1, **changes))
    assert tuned.network.hits(splits.search).mean() >= untuned
    assert tuned.network.hits(splits.search).mean() == max(epoch.accuracy for epoch in tuned.history)


@pytest.mark.parametrize("rows", [ROUGH, np.array([[3] * 5, [1] * 5, [0] * 5])])
def test_deterministic_and_continued_with_the_same_bits(bank, splits, tmp_path, rows, monkeypatch):
    monkeypatch.setattr(finetuning, "CHECKPOINT_S", 0.0)
    settings = replace(SHORT, augmentation="crop-flip", private="affine")
    whole, again = (tune(bank, splits, settings, rows=rows) for _ in range(2))
    assert_same_network(whole, again)

    class Stop(Exception):
        pass

    checkpoint, steps = tmp_path / "checkpoint.pt", []
    for stop_at in (3, 6, 8):

        def on_step(n_done, n_steps, loss, stop_at=stop_at):
            steps.append(n_done)
            assert n_steps == 10
            if n_done == stop_at:
                raise Stop

        with pytest.raises(Stop):
            tune(bank, splits, settings, rows=rows, checkpoint=checkpoint, on_step=on_step)
    epochs = []
    parts = tune(
        bank, splits, settings, rows=rows, checkpoint=checkpoint, on_epoch=lambda epoch: epochs.append(epoch.epoch)
    )
    assert_same_network(whole, parts)
    assert epochs == [0, 1, 2]
    assert steps == [1, 2, 3, 3, 4, 5, 6, 6, 7, 8]
    assert whole.key == parts.key
    other = tune(bank, splits, replace(settings, seed=1), rows=rows)
    assert other.key != whole.key
    assert other.history[1].loss != whole.history[1].loss


def test_loss_told_is_the_mean_of_the_epoch(bank, splits):
    told = {}
    tuned = tune(bank, splits, on_step=lambda n_done, n_steps, loss: told.__setitem__(n_done, loss))
    assert told[5] == pytest.approx(tuned.history[1].loss)
    assert told[10] == pytest.approx(tuned.history[2].loss)
    assert told[6] < 2 * told[10]


def test_stops_when_nothing_gets_better(bank, splits):
    settings = replace(SHORT, epochs=30, learning_rate=1e-9, affine_learning_rate=1e-9, patience=2)
    tuned = tune(bank, splits, settings)
    assert (tuned.history[-1].epoch, tuned.best_epoch) == (2, 0)
    assert tune(bank, splits, replace(settings, epochs=4, patience=None)).history[-1].epoch == 4


def test_distillation_looks_at_labels_or_at_the_exact_network(bank, splits):
    shuffled = replace(splits.calibration, labels=splits.calibration.labels.flip(0))

    def loss_of(training, share):
        settings = replace(SHORT, epochs=1, distillation=share)
        return finetune(bank, ROUGH, training, splits.search, settings).history[1].loss

    assert loss_of(splits.calibration, 1.0) == loss_of(shuffled, 1.0)
    assert loss_of(splits.calibration, 0.0) < loss_of(shuffled, 0.0) - 1


def test_points_learn_jointly(bank, splits):
    rows = np.array([[3] * 5, [1] * 5, [0] * 5])
    tuned = tune(bank, splits, replace(SHORT, private="affine"), rows=rows)
    untuned = switchable_network(bank, rows).hits(splits.search).mean()
    assert tuned.network.n_points == len(tuned.history[0].accuracies) == 3
    assert tuned.network.hits(splits.search).mean() > untuned  # or it would be the untuned network
    for index, info in enumerate(bank.network.layers):
        for vectors in ("scales", "biases"):
            first, second, _ = (getattr(point, vectors)[index] for point in tuned.network.points)
            assert torch.equal(first, second) == (info.kind == "linear")
    channels = [info.weight_shape[0] for info in bank.network.layers if info.kind == "conv2d"]
    assert tuned.network.n_private_parameters == 2 * 2 * sum(channels)
    assert tuned.network.overhead == 2 * 2 * sum(channels) / tuned.network.n_parameters


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_networks_of_all_kinds_learn(network, gradient):
    bank = make_bank(NETWORKS[network]())
    assert bank.network.is_traced == (network != "Undecided")
    for n_points in (1, 2):
        rows = random_rows(bank, n_points)
        settings = replace(SHORT, batch_size=16, learning_rate=3e-3, gradient=gradient)
        tuned = finetune(bank, rows, TRAINING, VALIDATION, settings)
        assert all(math.isfinite(epoch.loss) for epoch in tuned.history[1:])
        assert tuned.history[2].loss != tuned.history[1].loss


def test_recoveries():
    for recovery in ({"sum_compensation": True}, {"weight_tuning": "histogram"}, {"fold_bias": False}):
        bank = make_bank(**recovery)
        tuned = finetune(bank, random_rows(bank, 1), TRAINING, VALIDATION, SHORT)
        assert tuned.history[-1].epoch == 2
    bank = make_bank(weight_tuning="uniform")
    with pytest.raises(ConfigError, match="weight tuning"):
        finetune(bank, np.array([[0] * 4, [1] * 4]), TRAINING, VALIDATION, SHORT)


def test_networks_that_cannot_learn():
    bank = make_bank(randomize(Overwritten()))
    with pytest.raises(NetworkError, match=r"modified by an inplace operation.*write x = x \+ y for x \+= y"):
        finetune(bank, random_rows(bank, 1), TRAINING, VALIDATION, SHORT)
    bank = make_bank(randomize(Detached()))
    with pytest.raises(NetworkError, match="no gradient reaches a layer"):
        finetune(bank, random_rows(bank, 1), TRAINING, VALIDATION, SHORT)


def test_a_loss_that_is_not_finite(monkeypatch):
    bank, losses = make_bank(), []

    def broken(self, logits, labels, teacher):
        losses.append(logits.sum() * (math.nan if len(losses) == 1 else 0.0))
        return losses[-1]

    monkeypatch.setattr(finetuning.Learning, "_loss_of", broken)
    with pytest.raises(
        RunError, match=r"step 2 of 2: the loss is nan. Lower .* \(now 6e-05, and 0.0003 of scales and biases\)"
    ):
        finetune(bank, random_rows(bank, 1), TRAINING, VALIDATION, SHORT)


def test_weights_that_are_not_finite(monkeypatch):
    bank = make_bank()
    monkeypatch.setattr(LearningNetwork, "share_gradients", lambda self: self.layers[0].weight.grad.fill_(math.inf))
    with pytest.raises(RunError, match=r"step 1 of 2: weights, scales or biases are NaN or infinite. Lower"):
        finetune(bank, random_rows(bank, 1), TRAINING, VALIDATION, SHORT)


def test_checkpoints_of_something_else(bank, splits, tmp_path, monkeypatch):
    monkeypatch.setattr(finetuning, "CHECKPOINT_S", 0.0)
    checkpoint = tmp_path / "checkpoint.pt"
    tune(bank, splits, replace(SHORT, epochs=1), checkpoint=checkpoint)
    with pytest.raises(
        RunError, match="belongs to a fine-tuning with other settings, images"
    ):
        tune(bank, splits, checkpoint=checkpoint)
    with pytest.raises(RunError, match="other settings"):
        tune(bank, splits, replace(SHORT, epochs=1), rows=np.ones((1, 5), dtype=np.int64), checkpoint=checkpoint)
    checkpoint.write_bytes(b"nonsense")
    with pytest.raises(RunError, match="is not a checkpoint of a fine-tuning"):
        tune(bank, splits, checkpoint=checkpoint)


def test_the_key_tells_what_decides(bank, splits):
    def key(bank=bank, rows=ROUGH, training=splits.calibration, validation=splits.search, settings=SHORT):
        return finetuning_key(bank, rows, training, validation, settings)

    others = [
        key(rows=ROUGH + 1), key(training=splits.search), key(validation=splits.calibration),
        key(settings=replace(SHORT, seed=3)), key(bank=make_bank()),
    ]  # fmt: skip
    assert len({key(), *others}) == 6
    assert key() == key(rows=ROUGH.copy())


def test_fewer_images_than_a_batch(bank, splits):
    tuned = finetune(bank, ROUGH, splits.calibration.subset(5), splits.search, replace(SHORT, batch_size=1000))
    assert tuned.history[-1].epoch == 2


HARD = replace(SHORT, epochs=1, noise_epochs=2, noise_scale=1.5, reconstruction=True)


class _Stop(Exception):
    pass


def test_hardened_networks_bear_the_errors_better(bank, splits):
    told = []
    tuned = tune(
        bank, splits, replace(HARD, noise_epochs=6, noise_learning_rate=1e-3),
        on_hardening=lambda n_done, n_steps, loss: told.append((n_done, n_steps, loss)),
    )  # fmt: skip
    assert [n_done for n_done, _, _ in told] == list(range(1, 6 * 5 + 1))
    assert {n_steps for _, n_steps, _ in told} == {30}
    assert all(math.isfinite(loss) for _, _, loss in told)
    plain = tune(bank, splits, replace(HARD, noise_epochs=0))
    weights = [[layer.problem.weight for layer in found.network.network.integer_layers] for found in (tuned, plain)]
    assert not all(torch.equal(*pair) for pair in zip(*weights, strict=True))
    assert tuned.history[0].accuracy >= switchable_network(bank, ROUGH).hits(splits.search).mean()


@pytest.mark.parametrize("n_steps", [3, 7, 10])
def test_hardening_goes_on_where_it_stopped(bank, splits, tmp_path, monkeypatch, n_steps):
    monkeypatch.setattr(finetuning, "CHECKPOINT_S", 0.0)
    whole, checkpoint = tune(bank, splits, HARD), tmp_path / "checkpoint_3.pt"

    def stop(n_done, n_all, loss):
        if n_done == n_steps:
            raise _Stop

    with pytest.raises(_Stop):
        tune(bank, splits, HARD, checkpoint=checkpoint, on_hardening=stop)
    told = []
    again = tune(bank, splits, HARD, checkpoint=checkpoint, on_hardening=lambda n, *_: told.append(n))
    assert told == list(range(n_steps, 11))  # the step that was under way is done again
    assert_same_network(whole, again)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_3.pt"]


def test_hardening_goes_on_under_the_noise_it_began_with(bank, splits, tmp_path, monkeypatch):
    """Errors measured with another number of threads differ in their last bits."""
    monkeypatch.setattr(finetuning, "CHECKPOINT_S", 0.0)
    whole, measure, n_measured = tune(bank, splits, HARD), finetuning.residual_errors, []

    def measured(*arguments):
        n_measured.append(1)
        return [sigma * (1 + 1e-6 * len(n_measured)) for sigma in measure(*arguments)]

    def stop(n_done, n_all, loss):
        raise _Stop

    with pytest.raises(_Stop):
        tune(bank, splits, HARD, checkpoint=tmp_path / "checkpoint.pt", on_hardening=stop)
    monkeypatch.setattr(finetuning, "residual_errors", measured)
    assert_same_network(whole, tune(bank, splits, HARD, checkpoint=tmp_path / "checkpoint.pt"))
    assert len(n_measured) == 1


def test_without_hardening_keys_are_what_they_were():
    text = finetuning._described(SHORT)
    assert "noise" not in text
    assert text.endswith("seed=0)")
    assert "noise_epochs=2, noise_scale=1.5" in finetuning._described(HARD)
