"""Designs with pruned layers: networks that compute what their bank does, and that learn with their zeros in place."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dse.cost.sparse_choices import SparseChoices
from dse.errors import ConfigError, NetworkError, RunError, ShapeError
from dse.evaluation import Evaluator, hits
from dse.networks.convert import quantize_network
from dse.quantization.affine import SCHEMES
from dse.recovery import finetuning
from dse.recovery.finetuning import finetune, finetuning_key
from dse.recovery.finetuning_settings import FinetuningSettings
from dse.recovery.operators import OperatorBank, Recovery
from dse.recovery.pruned import PrunedBank
from dse.recovery.pruned_network import PrunedDesign
from dse.recovery.reconstruction import reconstruct
from dse.recovery.statistics import match_statistics
from dse.recovery.switchable import SwitchableNetwork, switchable_network
from dse.recovery.table_layers import LearningNetwork
from dse.sparse.dcsr import encode
from dse.sparse.matrices import centered_matrix
from dse.sparse.pruning import is_zero, layer_mask, pruned_problem
from dse.testing.tiny import tiny_library, tiny_network, tiny_split

from .learners import shake, wide_network

SPLIT, MANY, OTHERS = tiny_split(20), tiny_split(200, seed=3), tiny_split(100, seed=4)
TRAINING, VALIDATION = tiny_split(40, seed=1), tiny_split(24, seed=2)
LEVELS = (0, 40, 70)
SHORT = FinetuningSettings(epochs=2, batch_size=16, learning_rate=3e-2)
EVERYTHING = {"sum_compensation": True, "weight_tuning": "histogram"}
ENGINES = ["multiplied", "skipped"]
DENSE_SCHEMES = ["unsigned-centered", "signed-symmetric"]


def make_bank(scheme="unsigned-centered", zero_weights="skipped", network=None, split=SPLIT, **recovery):
    network = quantize_network(network or tiny_network(), split, scheme=SCHEMES[scheme])
    library = tiny_library(is_signed=scheme == "signed-symmetric")
    plain = OperatorBank(network, library, split, recovery=Recovery(**recovery))
    layers = [
        [pruned_problem(layer.problem, layer_mask(layer, level / 100)) for level in LEVELS]
        for layer in network.integer_layers
    ]
    return PrunedBank(plain, SparseChoices(library, LEVELS, zero_weights=zero_weights), layers)


def some_assignment(bank, seed=0):
    """With an exact multiplier at a pruned layer and a rough one at a layer with all weights among them."""
    choices, exact = bank.library.choices, bank.whole.library.exact_index
    row = np.random.default_rng(seed).integers(0, len(choices), bank.network.n_layers)
    row[:3] = choices.position[exact, 2], choices.position[0, 0], choices.position[1, 1]
    return row


def assert_pattern(bank, assignment, model):
    """As the bank has it, and so the size in dCSR."""
    for layer, choice in enumerate(assignment):
        found, level = model.network.integer_layers[layer].problem, int(bank.library.choices.level[choice])
        assert torch.equal(is_zero(found), is_zero(bank.pruned(layer, level)))
        assert encode(centered_matrix(found)).n_bytes == encode(bank.matrix(layer, level)).n_bytes


@pytest.mark.parametrize("scheme", DENSE_SCHEMES)
@pytest.mark.parametrize("zero_weights", ENGINES)
@pytest.mark.parametrize("recovery", [{"fold_bias": False}, EVERYTHING])
def test_designs_compute_what_the_evaluator_measures(scheme, zero_weights, recovery):
    bank = make_bank(scheme, zero_weights, **recovery)
    for seed in range(2):
        row = some_assignment(bank, seed)
        design = PrunedDesign(bank, row)
        model = switchable_network(design, design.rows)
        logits = model(SPLIT.images)
        assert hits(logits, SPLIT.labels).double().mean() == Evaluator(bank, SPLIT)(row[None])[0]
        learner = LearningNetwork(design, design.rows)
        assert torch.equal(learner(SPLIT.images).detach(), logits)
        assert torch.equal(learner.frozen()(SPLIT.images), logits)
        assert_pattern(bank, row, model)


@pytest.mark.parametrize("scheme", DENSE_SCHEMES)
@pytest.mark.parametrize("recovery", [{}, EVERYTHING])
def test_learned_weights_keep_the_pattern(scheme, recovery):
    bank = make_bank(scheme, **recovery)
    row = some_assignment(bank)
    design = PrunedDesign(bank, row)
    learner = LearningNetwork(design, design.rows)
    before = learner.frozen()
    for seed in range(3):
        shake(learner, seed)
        assert_pattern(bank, row, learner.frozen())
    with torch.no_grad():
        for layer in learner.layers:
            layer.weight.copy_(layer._w_zero_point.to(torch.float32).expand_as(layer.weight))
    learner.pack()
    assert_pattern(bank, row, learner.frozen())
    assert not torch.equal(learner.frozen()(SPLIT.images), before(SPLIT.images))
    whole = LearningNetwork(bank.whole, np.zeros((1, bank.network.n_layers), dtype=np.int64))
    learner.begin_from(whole.state())
    assert_pattern(bank, row, learner.frozen())


def last_outputs(model):
    """Of the last convolution, on other images."""
    found = []
    with model.network.integer_layers[2].register_forward_hook(lambda _m, _x, y: found.append(y.clone())):
        model(OTHERS.images)
    return found[0]


@pytest.mark.parametrize("zero_weights", ENGINES)
@pytest.mark.parametrize("recovery", [{}, EVERYTHING])
def test_reconstruction_keeps_the_pattern_and_brings_outputs_closer(zero_weights, recovery):
    bank = make_bank(zero_weights=zero_weights, network=wide_network(), split=MANY, **recovery)
    choices = bank.library.choices
    row = np.full(bank.network.n_layers, choices.position[1, 1])
    row[0] = choices.position[bank.whole.library.exact_index, 1]
    design = PrunedDesign(bank, row)
    exact = switchable_network(bank.whole, np.full((1, bank.network.n_layers), bank.whole.library.exact_index))
    plain, learner = (LearningNetwork(design, design.rows) for _ in range(2))
    match_statistics(plain, exact, MANY)
    reconstruct(learner, exact, MANY)
    assert_pattern(bank, row, learner.frozen())
    assert all(not layer.is_mapped for layer in learner.layers if layer.is_convolution)
    wanted = last_outputs(exact)
    before, after = (float((last_outputs(m.frozen()) - wanted).square().mean()) for m in (plain, learner))
    assert after < 0.9 * before


def tune(bank, row, settings=SHORT, **options):
    design = PrunedDesign(bank, row)
    return finetune(design, design.rows, TRAINING, VALIDATION, settings, **options)


@pytest.mark.parametrize("zero_weights", ENGINES)
@pytest.mark.parametrize("settings", [SHORT, replace(SHORT, gradient="smoothed", reconstruction=False)])
def test_finetuning_keeps_the_pattern_and_goes_on_with_the_same_bits(zero_weights, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(finetuning, "CHECKPOINT_S", 0.0)
    monkeypatch.setattr(finetuning, "best", lambda history: replace(history[-1], accuracies=(-1.0,)))  # the last
    bank = make_bank(zero_weights=zero_weights)
    row = some_assignment(bank)
    whole = tune(bank, row, settings)
    assert_pattern(bank, row, whole.network)
    design = PrunedDesign(bank, row)
    untuned = switchable_network(design, design.rows)
    layers = zip(whole.network.network.integer_layers, untuned.network.integer_layers, strict=True)
    assert any(not torch.equal(one.problem.weight, other.problem.weight) for one, other in layers)
    checkpoint = tmp_path / "checkpoint.pt"

    class Stop(Exception):
        pass

    def on_step(n_done, n_steps, loss):
        if n_done == 3:
            raise Stop

    with pytest.raises(Stop):
        tune(bank, row, settings, checkpoint=checkpoint, on_step=on_step)
    parts = tune(bank, row, settings, checkpoint=checkpoint)
    assert parts.key == whole.key
    assert [epoch.accuracies for epoch in parts.history] == [epoch.accuracies for epoch in whole.history]
    assert torch.equal(parts.network(OTHERS.images), whole.network(OTHERS.images))
    path = tmp_path / "point.npz"
    whole.network.save(path)
    design = PrunedDesign(bank, row)
    loaded = SwitchableNetwork.load(path, design.network, design.library)
    assert torch.equal(loaded(OTHERS.images), whole.network(OTHERS.images))


def test_checkpoints_know_which_weights_are_zero(tmp_path):
    bank, checkpoint = make_bank(zero_weights="multiplied"), tmp_path / "checkpoint.pt"
    position, settings = bank.library.choices.position, replace(SHORT, epochs=1, reconstruction=False)
    tune(bank, position[1, [1, 1, 1, 1]], settings, checkpoint=checkpoint)
    with pytest.raises(RunError, match="belongs to a fine-tuning with other settings"):
        tune(bank, position[1, [1, 2, 1, 1]], settings, checkpoint=checkpoint)


def test_keys_tell_zeros_and_engines_apart():
    keys = []
    for zero_weights in ENGINES:
        bank = make_bank(zero_weights=zero_weights)
        for level in (0, 1):
            design = PrunedDesign(bank, np.full(bank.network.n_layers, bank.library.choices.position[1, level]))
            keys.append(finetuning_key(design, design.rows, TRAINING, VALIDATION, SHORT))
    again = make_bank(zero_weights="multiplied")
    design = PrunedDesign(again, again.library.choices.position[1, [0] * 4])
    plain = finetuning_key(bank.whole, np.ones((1, 4), dtype=np.int64), TRAINING, VALIDATION, SHORT)
    assert len({*keys, plain}) == 5
    assert finetuning_key(design, design.rows, TRAINING, VALIDATION, SHORT) == keys[0]


def test_what_pruned_designs_cannot_do():
    bank = make_bank()
    row = np.full(bank.network.n_layers, bank.library.choices.position[1, 1])
    with pytest.raises(ConfigError, match=r"--noise-epochs is 2: hardening knows layers with all their weights"):
        tune(bank, row, replace(SHORT, noise_epochs=2))
    design = PrunedDesign(bank, row)
    with pytest.raises(ShapeError, match=r"of this design has multiplier \d: expected that, not \d"):
        design.parameters(0, 1 - int(design.rows[0, 0]))
    affine = make_bank("unsigned-affine")
    with pytest.raises(NetworkError, match="skipping them is one table only"):
        PrunedDesign(affine, row)
    affine = make_bank("unsigned-affine", "multiplied")
    design = PrunedDesign(affine, row)
    with pytest.raises(NetworkError, match="different zero codes, and those that stay zero need one"):
        LearningNetwork(design, design.rows)
