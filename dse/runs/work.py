"""What workers are given: assignments, each with images to measure it on.

Where there are fewer assignments than workers, images are cut into blocks, so that several workers measure one
assignment. Outcomes of an image do not depend on the others, so blocks give the same bits.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

MIN_BLOCK = 64
"""Images a worker is given at least: with fewer, what it does once for a task would count."""


@dataclass(frozen=True, eq=False)
class Result:
    """The outcome of one assignment.

    Attributes:
        index: of the assignment in the batch.
        hits: whether each image asked for is classified correctly, bool [n_images], or the first of them where the rest
            is still being measured; `None` where that failed.
        message: the reason of the failure, else empty.
    """

    index: int
    hits: NDArray[np.bool_] | None
    message: str = ""

    @property
    def is_ok(self) -> bool:
        """Whether there are outcomes."""
        return self.hits is not None

    @property
    def accuracy(self) -> float:
        """Share of images classified correctly; NaN where it failed."""
        return float("nan") if self.hits is None else float(self.hits.mean())


@dataclass(frozen=True, eq=False)
class Work:
    """Assignments to measure, all on equally many images.

    Attributes:
        assignments: int64 [n, n_layers].
        starts: the first image of each, int64 [n].
        n_images: of each.
    """

    assignments: NDArray[np.int64]
    starts: NDArray[np.int64]
    n_images: int

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, rows: NDArray[np.int64] | list[int]) -> "Work":
        """Some of it."""
        return Work(self.assignments[rows], self.starts[rows], self.n_images)

    def by_images(self) -> Iterator[tuple[NDArray[np.int64], int, int]]:
        """Rows that have their images in common, the first of these and one past the last."""
        for start in np.unique(self.starts):
            yield np.flatnonzero(self.starts == start), int(start), int(start) + self.n_images

    def related_first(self) -> NDArray[np.int64]:
        """Rows in an order in which neighbors share images and leading layers, so that an evaluator may share their
        work; int64 [n]."""
        return np.lexsort([*self.assignments.T[::-1], self.starts]).astype(np.int64)


def cut_images(assignments: NDArray[np.int64], start: int, stop: int, *, jobs: int) -> Work:
    """Assignments on the images start..stop-1, in blocks where there are more jobs than assignments.

    Blocks are equally large; the last one begins earlier where they do not fit. Row `i * n_blocks + b` is block `b` of
    assignment `i`.
    """
    n, n_images = len(assignments), stop - start
    n_blocks = max(1, min(-(-jobs // n), n_images // MIN_BLOCK)) if n else 1
    size = -(-n_images // n_blocks)
    starts = np.minimum(start + size * np.arange(n_blocks), stop - size)
    return Work(np.repeat(assignments, n_blocks, axis=0), np.tile(starts, n).astype(np.int64), size)


@dataclass(eq=False)
class Joined:
    """Puts results of blocks together.

    Args:
        work: see `cut_images`.
        n_assignments: in it.
    """

    work: Work
    n_assignments: int
    _blocks: dict[int, list[Result]] = field(default_factory=dict)

    @property
    def n_blocks(self) -> int:
        """Of an assignment."""
        return len(self.work) // max(self.n_assignments, 1)

    def add(self, results: Iterable[Result]) -> list[Result]:
        """Those of assignments of which all blocks have come; all of them where nothing is cut."""
        if self.n_blocks <= 1:
            return list(results)
        done = []
        for result in results:
            index = result.index // self.n_blocks
            blocks = self._blocks.setdefault(index, [])
            blocks.append(result)
            if len(blocks) == self.n_blocks:
                done.append(self._whole(index, self._blocks.pop(index)))
        return done

    def _whole(self, index: int, blocks: list[Result]) -> Result:
        failed = [block for block in blocks if not block.is_ok]
        if failed:
            return Result(index, None, failed[0].message)
        starts = self.work.starts[: self.n_blocks] - self.work.starts[0]
        hits = np.empty(starts[-1] + self.work.n_images, dtype=np.bool_)
        for block in blocks:
            start = starts[block.index % self.n_blocks]
            hits[start : start + self.work.n_images] = block.hits
        return Result(index, hits)
