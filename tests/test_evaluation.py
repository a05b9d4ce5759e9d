import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import ConfigError, DataError, MultiplierError, ShapeError
from dse.evaluation import Evaluator, assignment_indices, build_evaluator, default_batch_size, even_batches
from dse.networks.convert import quantize_network
from dse.quantization.affine import scheme_for
from dse.recovery.operators import OperatorBank, Recovery
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


@pytest.fixture(scope="module")
def evaluator():
    return _evaluator(batch_size=30, recovery=Recovery(True, True))


def _one_by_one(evaluator, assignments, start, stop):
    """Whole runs of the network, on batches of their own."""
    network, split = evaluator.bank.network, SEARCH
    rows = []
    for assignment in assignments:
        for index, layer in enumerate(network.integer_layers):
            layer.operator = evaluator.bank.operator(index, int(assignment[index]))
        rows.append((network(split.batch(start, stop)).argmax(1) == split.labels[start:stop]).numpy())
    return np.array(rows)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.integers(1, 20), st.integers(1, 6), st.integers(0, 69), st.integers(1, 70))
def test_populations_equal_one_by_one(evaluator, seed, n, n_multipliers, start, n_images):
    assignments = np.random.default_rng(seed).integers(0, n_multipliers, (n, 4))
    stop = min(start + n_images, 70)
    hits = evaluator.correct(assignments, start, stop)
    assert np.array_equal(hits, _one_by_one(evaluator, assignments, start, stop))


def _count_calls(evaluator, monkeypatch):
    """A list that gets `(layer, multiplier)` of every layer run from now on."""
    calls, bank = [], evaluator.bank

    def counting(layer, multiplier, operator=bank.operator):
        def run(codes):
            calls.append((layer, multiplier))
            return operator(layer, multiplier)(codes)

        return run

    monkeypatch.setattr(bank, "operator", counting)
    return calls


def test_duplicates_are_computed_once(evaluator, monkeypatch):
    assignments = _assignments(5)[[3, 0, 3, 4, 0, 3]]
    expected = [evaluator.correct(row[None], 0, 30)[0] for row in assignments]
    calls = _count_calls(evaluator, monkeypatch)
    assert np.array_equal(evaluator.correct(assignments, 0, 30), expected)
    distinct = np.unique(assignments, axis=0)
    assert len(calls) == sum(len(np.unique(distinct[:, :n], axis=0)) for n in range(1, 5))


def test_a_sensitivity_sweep_runs_no_layer_twice(evaluator, monkeypatch):
    exact, multipliers = np.full(4, 5), (0, 2, 3)
    sweep = np.array([exact] + [np.where(np.arange(4) == layer, m, exact) for layer in range(4) for m in multipliers])
    calls = _count_calls(evaluator, monkeypatch)
    evaluator.correct(sweep, 0, 60)
    # for each of two batches: the exact network, and from each layer on as many times as there are multipliers
    assert len(calls) == 2 * (4 + len(multipliers) * (4 + 3 + 2 + 1))


def test_outcomes_come_in_parts(evaluator):
    assignments = _assignments(4)[[0, 1, 2, 3, 0]]
    whole = evaluator.correct(assignments, 5, 70)
    parts = list(evaluator.correct_in_parts(assignments, 5, 70))
    assert [row for row, _ in parts[:5]] == [row for row, _ in parts[5:10]] == [row for row, _ in parts[10:]]
    for row in range(5):
        mine = [hits for i, hits in parts if i == row]
        assert [len(hits) for hits in mine] == [21, 22, 22]
        assert np.array_equal(np.concatenate(mine), whole[row])
    assert list(evaluator.correct_in_parts(assignments, 5, 5)) == []
    with pytest.raises(ShapeError):
        evaluator.correct_in_parts(assignments, 5, 71)


def test_parts_of_two_evaluators_may_alternate():
    integer = quantize_network(tiny_network(), CALIBRATION, scheme=scheme_for(False))
    first, second = (
        build_evaluator(integer, tiny_library(), SEARCH, calibration=CALIBRATION, recovery=recovery, batch_size=20)
        for recovery in (Recovery(True), Recovery(False))
    )
    assignments = _assignments(6)
    expected = [e.correct(assignments, 0, 70) for e in (first, second)]
    parts = (first.correct_in_parts(assignments, 0, 70), second.correct_in_parts(assignments[::-1], 0, 70))
    hits = [[[] for _ in range(6)] for _ in range(2)]
    for (a, first_hits), (b, second_hits) in zip(*parts, strict=True):
        hits[0][a].append(first_hits)
        hits[1][5 - b].append(second_hits)
    got = [[np.concatenate(parts) for parts in rows] for rows in hits]
    assert np.array_equal(got, expected)


@given(st.integers(0, 50), st.integers(0, 300), st.integers(1, 70))
def test_even_batches(start, n, batch_size):
    batches = even_batches(start, start + n, batch_size)
    sizes = [stop - start for start, stop in batches]
    assert [i for a, b in batches for i in range(a, b)] == list(range(start, start + n))
    assert len(batches) == -(-n // batch_size)
    assert not sizes or (max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1)


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
        {"top": 2},
    ],
)
def test_fingerprint_follows_what_decides_the_accuracy(change):
    assert _evaluator(**change).fingerprint != _evaluator().fingerprint


@pytest.mark.parametrize("same", [{"backend": "reference"}, {"batch_size": 3}, {"recovery": Recovery()}, {"top": 1}])
def test_fingerprint_follows_nothing_else(same):
    assert _evaluator(**same).fingerprint == _evaluator().fingerprint


@pytest.mark.parametrize("top", [2, 3])
def test_top_counts_labels_among_the_best_classes(top):
    evaluator, assignment = _evaluator(top=top), _assignments(3)[2:]
    network = evaluator.bank.network
    found = evaluator.correct(assignment, 0, 70)[0]
    for index, layer in enumerate(network.integer_layers):
        layer.operator = evaluator.bank.operator(index, int(assignment[0, index]))
    best = network(SEARCH.batch(0, 70)).topk(top).indices
    assert np.array_equal(found, (best == SEARCH.labels[:, None]).any(1).numpy())
    assert (found >= _evaluator().correct(assignment, 0, 70)[0]).all()
    assert np.array_equal(
        evaluator.with_split(CALIBRATION)(assignment), _evaluator(search=CALIBRATION, top=top)(assignment)
    )


@pytest.mark.parametrize("top", [0, 4, 5])
def test_top_of_all_classes_is_refused(top):
    with pytest.raises(ConfigError, match=f"top is {top}: expected 1 to 3, fewer than the 4 classes"):
        _evaluator(top=top)


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
    assert default_batch_size(layers, torch.device("cuda", 0)) > default_batch_size(layers)


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


def _moved_evaluator(device, backend="auto", recovery=None):
    integer = quantize_network(tiny_network(), CALIBRATION, scheme=scheme_for(False))
    bank = OperatorBank(
        integer, tiny_library(), CALIBRATION, recovery=recovery or Recovery(), backend=backend, device=device
    )
    return Evaluator(bank, SEARCH)


@pytest.mark.parametrize("recovery", [Recovery(), Recovery(True, True)])
def test_device_does_not_matter(recovery):
    """As on a GPU, its matrix products on the CPU and a copy of the network included."""
    evaluator, moved = _evaluator(recovery=recovery), _moved_evaluator(torch.device("cpu", 0), "gpu", recovery)
    assert moved.fingerprint == evaluator.fingerprint
    expected = evaluator.correct(_assignments(), 0, 70)
    assert np.array_equal(moved.correct(_assignments(), 0, 70), expected)
    assert all(layer.operator is None for layer in moved.bank.network.integer_layers)
    copied = pickle.loads(pickle.dumps(moved))
    assert copied.bank.device == moved.bank.device
    assert np.array_equal(copied.with_split(SEARCH).correct(_assignments(), 0, 70), expected)


def test_devices_that_are_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="Use device 'auto' or 'cpu'"):
        _evaluator(device="cuda")
    with pytest.raises(ConfigError, match="backend 'gpu' needs a GPU"):
        _evaluator(backend="gpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_device():
    evaluator = _evaluator(device="cpu", recovery=Recovery(True, True))
    moved = _evaluator(device="cuda", recovery=Recovery(True, True))
    assert moved.fingerprint == evaluator.fingerprint
    assert np.array_equal(moved.correct(_assignments(), 0, 70), evaluator.correct(_assignments(), 0, 70))
