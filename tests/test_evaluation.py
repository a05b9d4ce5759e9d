import pickle

import numpy as np
import pytest
import torch

from dse.errors import DataError, MultiplierError, ShapeError
from dse.evaluation import assignment_indices, build_evaluator, default_batch_size
from dse.networks.convert import quantize_network
from dse.quantization.affine import scheme_for
from dse.recovery.operators import Recovery
from dse.testing.tiny import tiny_library, tiny_network, tiny_split

CALIBRATION, SEARCH = tiny_split(20), tiny_split(70, seed=1)


def _evaluator(is_signed=False, *, network=None, search=SEARCH, calibration=CALIBRATION, library=None, **options):
    recovery = options.pop("recovery", None)
    scheme, quantization = scheme_for(is_signed), options.pop("q", {})
    integer = quantize_network(network or tiny_network(), calibration, scheme=scheme, **quantization)
    library = library or tiny_library(is_signed=is_signed)
    return build_evaluator(integer, library, search, calibration=calibration, recovery=recovery, **options)


def _assignments(n=6, seed=0):
    assignments = np.random.default_rng(seed).integers(0, 6, (n, 4))
    assignments[0], assignments[1] = 5, 0
    return assignments


@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("recovery", [Recovery(), Recovery(False), Recovery(True, True, "histogram")])
def test_backends_agree_on_every_image(is_signed, recovery):
    first, second = (_evaluator(is_signed, backend=b, recovery=recovery) for b in ("factored", "reference"))
    assignments = _assignments(4)
    assert np.array_equal(first.correct(assignments, 0, 70), second.correct(assignments, 0, 70))


def test_accuracy_is_the_share_of_correct_images():
    evaluator = _evaluator()
    assignments = _assignments()
    accuracies = evaluator(assignments)
    assert accuracies.dtype == np.float64
    hits = evaluator.correct(assignments, 0, 70)
    assert (hits.shape, hits.dtype, evaluator.n_images) == ((6, 70), np.bool_, 70)
    assert accuracies.tolist() == [row.mean() for row in hits]
    assert (evaluator.n_layers, evaluator.n_multipliers) == (4, 6)
    assert [info.name for info in evaluator.layers] == ["conv1", "depthwise", "pointwise", "linear"]


def test_exact_assignment_is_close_to_float():
    with torch.inference_mode():
        predicted = tiny_network()(SEARCH.images).argmax(1)
    agree = _evaluator().correct(np.full((1, 4), 5), 0, 70)[0] == (predicted == SEARCH.labels).numpy()
    assert agree.mean() > 0.9


@pytest.mark.parametrize("batch_size", [1, 7, 70, 1000])
def test_batch_size_does_not_matter(batch_size):
    expected, evaluator, assignments = _evaluator(), _evaluator(batch_size=batch_size), _assignments(3)
    whole = expected.correct(assignments, 0, 70)
    assert np.array_equal(evaluator.correct(assignments, 0, 70), whole)
    assert evaluator.fingerprint == expected.fingerprint
    for start, stop in ((0, 9), (9, 70), (33, 34), (5, 5)):
        assert np.array_equal(evaluator.correct(assignments, start, stop), whole[:, start:stop])


def test_repeated_and_reordered_assignments():
    evaluator, assignments = _evaluator(), _assignments()
    first = evaluator(assignments)
    before = assignments.copy()
    assert np.array_equal(evaluator(assignments[::-1])[::-1], first)
    assert np.array_equal(_evaluator()(assignments), first)
    assert np.array_equal(assignments, before)
    assert evaluator(assignments[:0]).shape == (0,)
    assert evaluator(assignments.astype(np.uint8)).tolist() == first.tolist()


def test_pickled_before_and_after_use():
    evaluator, assignments = _evaluator(), _assignments(3)
    fresh = pickle.loads(pickle.dumps(evaluator))
    expected = evaluator(assignments)
    used = pickle.loads(pickle.dumps(evaluator))
    twice = pickle.loads(pickle.dumps(used))
    for copied in (fresh, used, twice):
        assert copied.fingerprint == evaluator.fingerprint
        assert np.array_equal(copied(assignments), expected)
    assert len(pickle.dumps(used)) < len(pickle.dumps(fresh)) * 2


def test_evaluators_may_share_a_network():
    integer = quantize_network(tiny_network(), CALIBRATION, scheme=scheme_for(False))
    first = build_evaluator(integer, tiny_library(), SEARCH, calibration=CALIBRATION)
    expected = first(_assignments())
    second = build_evaluator(integer, tiny_library(), SEARCH, calibration=CALIBRATION, recovery=Recovery(False))
    second(_assignments(2, seed=3))
    assert np.array_equal(first(_assignments()), expected)


def test_with_split():
    evaluator, report = _evaluator(), tiny_split(33, seed=5)
    other = evaluator.with_split(report)
    assert other.n_images == 33
    assert other.fingerprint != evaluator.fingerprint
    assert np.array_equal(other(_assignments()), _evaluator(search=report)(_assignments()))


@pytest.mark.parametrize(
    "change",
    [
        {"network": tiny_network(1)},
        {"is_signed": True},
        {"search": tiny_split(70, seed=2)},
        {"search": tiny_split(69, seed=1)},
        {"calibration": tiny_split(20, seed=9)},
        {"calibration": tiny_split(19)},
        {"recovery": Recovery(False)},
        {"recovery": Recovery(True, True)},
        {"recovery": Recovery(weight_tuning="uniform")},
        {"library": tiny_library()[1:]},
        {"q": {"per_channel": False}},
    ],
)
def test_fingerprint_follows_what_decides_the_accuracy(change):
    assert _evaluator(**change).fingerprint != _evaluator().fingerprint


@pytest.mark.parametrize("same", [{"backend": "reference"}, {"batch_size": 3}, {"recovery": Recovery()}])
def test_fingerprint_follows_nothing_else(same):
    assert _evaluator(**same).fingerprint == _evaluator().fingerprint


@pytest.mark.parametrize(
    "assignments",
    [
        np.zeros((2, 3), int),
        np.zeros(4, int),
        np.zeros((1, 4)),
        np.zeros((1, 1, 4), int),
        [[0, 0, 0, 6]],
        [[-1, 0, 0, 0]],
    ],
)
def test_refuses_bad_assignments(assignments):
    with pytest.raises(ShapeError):
        _evaluator()(np.asarray(assignments))


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (0, 71), (6, 5)])
def test_refuses_images_that_are_not_there(start, stop):
    with pytest.raises(ShapeError, match=r"expected a range within 0\.\.70"):
        _evaluator().correct(np.full((1, 4), 5), start, stop)


def test_refuses_labels_without_output():
    with pytest.raises(DataError, match="label 6"):
        _evaluator(search=tiny_split(40, n_classes=7))


def test_default_batch_size():
    layers = _evaluator().layers
    assert 1 <= default_batch_size(layers) <= 256


def test_assignment_indices():
    library = tiny_library()
    names = ["u8_exact", "u8_drum3", "u8_exact", "u8_trunc8"]
    indices = assignment_indices(library, ["u8_exact", names], 4)
    assert indices.dtype == np.int64
    assert indices.tolist() == [[5] * 4, [library.index(name) for name in names]]
    assert assignment_indices(library, [], 4).shape == (0, 4)
    with pytest.raises(ShapeError, match="names 3 multipliers, the network has 4"):
        assignment_indices(library, [names[:3]], 4)
    with pytest.raises(MultiplierError, match="u8_exact"):
        assignment_indices(library, ["u8_exat"], 4)
