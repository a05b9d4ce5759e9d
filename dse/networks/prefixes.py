"""A population through a network: what assignments have in common from the first layer on is computed once.

Sorted assignments are the leaves of a prefix tree, from left to right. They are visited depth first: each goes on from
the deepest kept state that it shares with the one before. A state is kept only where a later assignment branches off,
until the last of these has gone on from it. So memory grows with the depth of the network, not with the population.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from dse.networks.segments import SegmentedNetwork, State, count_bytes

KEPT_BYTES = 256 * 2**20
"""Kept states. Where that is not enough the deeper ones are left out, and what lies between is computed again."""

UseOperators = Callable[[NDArray[np.int64], tuple[int, ...]], None]


def walk_prefixes(
    network: SegmentedNetwork,
    assignments: NDArray[np.int64],
    images: torch.Tensor,
    *,
    use_operators: UseOperators,
    kept_bytes: int = KEPT_BYTES,
) -> Iterator[torch.Tensor]:
    """Logits, float32 `[n_images, n_classes]`, of each assignment; the same bits as from a run of its own.

    Args:
        network: in segments.
        assignments: int64 `[n, n_layers]`, sorted by rows, no two of them equal.
        images: float32 `[n_images, C, H, W]`.
        use_operators: sets the operators of an assignment (its first argument) in some of the layers (their indices).
        kept_bytes: what kept states may hold; that of the images comes on top.
    """
    shared = shared_segments(assignments, [segment.stop for segment in network.segments])
    below = _next_smaller(shared)
    kept: list[tuple[int, State]] = [(0, network.begin(images))]  # (segments done, state), the deepest one last
    for row, assignment in enumerate(assignments):
        while kept[-1][0] > shared[row]:
            kept.pop()
        depth, state = kept[-1]
        later = _branches(shared, below, row)
        kept = _needed(kept, later)
        to_run = network.segments[depth:]
        use_operators(assignment, tuple(sorted({layer for segment in to_run for layer in segment.layers})))
        for done, segment in enumerate(to_run, start=depth + 1):
            state = segment(state)
            if done in later and count_bytes([state, *(other for n, other in kept if n > 0)]) <= kept_bytes:
                kept = _needed([*kept, (done, state)], later)
        yield state[0]


def shared_segments(assignments: NDArray[np.int64], stops: list[int]) -> NDArray[np.int64]:
    """How many segments each sorted assignment has in common with the one before, int64 `[n]`; 0 for the first.

    Args:
        assignments: int64 `[n, n_layers]`.
        stops: the layers that each segment depends on: those below.

    >>> shared_segments(np.array([[0, 0, 1], [0, 0, 2], [0, 1, 0]]), [1, 2, 3]).tolist()
    [0, 2, 1]
    """
    shared = np.zeros(len(assignments), dtype=np.int64)
    n_same = (assignments[1:] != assignments[:-1]).argmax(axis=1)
    shared[1:] = np.searchsorted(stops, n_same, side="right")
    return shared


def count_segments(assignments: NDArray[np.int64], stops: list[int]) -> int:
    """Segments computed for one batch of images, where all states that help are kept; arguments as above."""
    return len(assignments) * len(stops) - int(shared_segments(assignments, stops).sum())


def _next_smaller(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of the next smaller value, int64 `[n]`; `n` where there is none."""
    following, open_ = np.full(len(values), len(values), dtype=np.int64), []
    for i, value in enumerate(values.tolist()):
        while open_ and values[open_[-1]] > value:
            following[open_.pop()] = i
        open_.append(i)
    return following


def _branches(shared: NDArray[np.int64], below: NDArray[np.int64], row: int) -> set[int]:
    """Numbers of segments after which a later assignment leaves the path of `row`."""
    found, i = set(), row + 1
    while i < len(shared):
        found.add(int(shared[i]))
        i = int(below[i])
    return found


def _needed(kept: list[tuple[int, State]], later: set[int]) -> list[tuple[int, State]]:
    """Those of the kept states that one of the `later` branches goes on from: the deepest one above each."""
    depths = {max(depth for depth, _ in kept if depth <= branch) for branch in later}
    return [(depth, state) for depth, state in kept if depth in depths]
