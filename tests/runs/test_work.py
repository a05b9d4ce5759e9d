"""dse.runs.work: images cut into blocks give what whole assignments give."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.runs.execution import LocalExecutor, evaluate_batch
from dse.runs.work import MIN_BLOCK, Joined, Result, cut_images
from dse.testing.fakes import FakeEvaluator


@given(
    n=st.integers(1, 12), start=st.integers(0, 300), n_images=st.integers(0, 2000), jobs=st.integers(1, 60),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_blocks_cover_all_images_and_come_together(n, start, n_images, jobs, seed):
    rng = np.random.default_rng(seed)
    assignments, hits = rng.integers(0, 5, (n, 3)), rng.random((n, n_images)) < 0.5
    work = cut_images(assignments, start, start + n_images, jobs=jobs)
    joined = Joined(work, n)
    assert joined.n_blocks == 1 or work.n_images >= MIN_BLOCK
    assert joined.n_blocks == 1 or n < jobs
    blocks = []
    for row in rng.permutation(len(work)):
        i, first = row // joined.n_blocks, work.starts[row] - start
        np.testing.assert_array_equal(work.assignments[row], assignments[i])
        blocks.append(Result(int(row), hits[i, first : first + work.n_images]))
    cuts = np.sort(rng.integers(0, len(blocks) + 1, 3))
    parts = [blocks[a:b] for a, b in zip([0, *cuts], [*cuts, len(blocks)], strict=True)]
    whole = {r.index: r.hits for part in parts for r in joined.add(part)}
    assert sorted(whole) == list(range(n))
    for i in range(n):
        np.testing.assert_array_equal(whole[i], hits[i])


def test_a_failed_block_fails_its_assignment():
    work = cut_images(np.zeros((2, 3), dtype=np.int64), 0, 4 * MIN_BLOCK, jobs=4)
    joined, hits = Joined(work, 2), np.ones(work.n_images, dtype=bool)
    assert joined.n_blocks == 2
    assert joined.add([Result(0, hits), Result(2, None, "no such multiplier")]) == []
    done = joined.add([Result(3, hits), Result(1, hits)])
    assert [(r.index, r.is_ok, r.message) for r in done] == [(1, False, "no such multiplier"), (0, True, "")]


def test_rows_that_share_images_come_one_after_the_other():
    assignments = np.array([[1, 0], [0, 1], [0, 0]])
    work = cut_images(assignments, 0, 2 * MIN_BLOCK, jobs=6)
    order = work.related_first()
    assert work.starts[order].tolist() == [0, 0, 0, MIN_BLOCK, MIN_BLOCK, MIN_BLOCK]
    assert work.assignments[order[:3]].tolist() == [[0, 0], [0, 1], [1, 0]]
    assert [(start, stop, len(rows)) for rows, start, stop in work.by_images()] == [(0, 64, 3), (64, 128, 3)]


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_more_workers_than_assignments(backend):
    evaluator, seen = FakeEvaluator(n_images=1000), []
    assignments = np.random.default_rng(0).integers(0, 5, (2, 4))
    with LocalExecutor(5, 1, backend=backend) as executor:
        results = executor.run(evaluator, assignments, seen.extend, start=130, stop=963)
    expected = evaluate_batch(evaluator, assignments)
    assert sorted(r.index for r in seen) == [0, 1]
    for result, whole in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result.hits, whole.hits[130:963])
