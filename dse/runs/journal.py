"""The journal of a run: what was measured, one JSON object per line, appended and synced.

What is not in the journal was not evaluated: there is no other state. A line that was torn by a crash is ignored by
readers, and cut off before the next writer appends, so it never ends up in the middle.

An assignment may have several lines, as more of its images are measured: every one holds the outcomes of all images so
far, and the one of most images stands for it. Format 1 had one line an assignment, for all images, without outcomes.
"""

import errno
import json
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dse.errors import RunError

FORMAT = 2
_log = logging.getLogger("dse")

Split = Literal["search", "confirm", "report"]
State = Literal["ok", "partial", "raced", "failed"]
Key = tuple[str, tuple[int, ...], str]
_SPLITS, _STATES = get_args(Split), get_args(State)


@dataclass(frozen=True)
class Evaluation:
    """What is known of one assignment.

    Attributes:
        split: the images it was measured on.
        assignment: multiplier index per layer.
        fingerprint: of the evaluator that measured it.
        accuracy: fraction correct of the `n_images` in [0, 1]; NaN where `state` is `failed`.
        state: `ok`: measured on all images; `partial`: on the first few; `raced`: on the first few, and beaten there;
            `failed`, with the reason in `message`.
        energy_rel: energy relative to the exact network.
        tiles: tile of each layer, for tiled accelerators.
        n_images: images measured, from the first; 0 where unknown: then `ok` stands for all images.
        hits: which of them were classified correctly, see `pack_hits`; empty where unknown.
    """

    split: Split
    assignment: tuple[int, ...]
    fingerprint: str
    accuracy: float
    state: State = "ok"
    message: str = ""
    energy_rel: float = float("nan")
    tiles: tuple[int, ...] | None = None
    n_images: int = 0
    hits: str = ""

    @property
    def key(self) -> Key:
        """What makes two evaluations the same one."""
        return self.split, self.assignment, self.fingerprint

    @property
    def is_final(self) -> bool:
        """Whether nothing is left to measure."""
        return self.state in ("ok", "failed")

    def first_hits(self, n: int) -> NDArray[np.bool_] | None:
        """Whether each of the first `n` images is classified correctly, bool [n]; `None` where that is unknown."""
        if not self.hits or self.n_images < n:
            return None
        return np.unpackbits(np.frombuffer(bytes.fromhex(self.hits), dtype=np.uint8), count=n).astype(np.bool_)

    def supersedes(self, other: "Evaluation") -> bool:
        """Whether it says more than another evaluation of the same key."""
        return self._rank > other._rank

    @property
    def _rank(self) -> tuple[bool, int, bool]:
        return self.is_final, self.n_images, self.state == "raced"

    def to_json(self) -> str:
        """One line without its end; what is NaN, empty or unknown is left out."""
        record = {"kind": "evaluation"} | asdict(self)
        for name in ("accuracy", "energy_rel"):
            record[name] = None if np.isnan(record[name]) else record[name]
        record["n_images"] = self.n_images or None
        return json.dumps({k: v for k, v in record.items() if v is not None and v != ""}, separators=(",", ":"))

    @staticmethod
    def from_record(record: dict) -> "Evaluation":
        """The inverse of `to_json`; fields of newer versions are ignored.

        Raises:
            ValueError: a field is missing or of another kind.
        """
        try:
            tiles = record.get("tiles")
            found = Evaluation(
                split=record["split"],
                assignment=tuple(record["assignment"]),
                fingerprint=record["fingerprint"],
                accuracy=float(record.get("accuracy", "nan")),
                state=record["state"],
                message=record.get("message", ""),
                energy_rel=float(record.get("energy_rel", "nan")),
                tiles=None if tiles is None else tuple(tiles),
                n_images=record.get("n_images", 0),
                hits=record.get("hits", ""),
            )
            is_right = found._is_right()
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"not an evaluation: {error!r}") from None
        if not is_right:
            raise ValueError("not an evaluation: a field is of another kind")
        return found

    def _is_right(self) -> bool:
        """Whether all fields are of the kinds that they should be, as files can hold anything."""
        texts, numbers = (self.fingerprint, self.message, self.hits), (*self.assignment, *(self.tiles or ()))
        return (
            self.split in _SPLITS
            and self.state in _STATES
            and all(isinstance(text, str) for text in texts)
            and all(type(number) is int for number in numbers)
            and type(self.n_images) is int
            and self.n_images >= 0
            and (not self.hits or 8 * len(bytes.fromhex(self.hits)) >= self.n_images)
        )


def pack_hits(hits: NDArray[np.bool_]) -> str:
    """Outcomes, bool [n], as hexadecimal digits: eight images a byte, the first in its highest bit.

    >>> pack_hits(np.array([True, False, False, True, True]))
    '98'
    """
    return np.packbits(hits).tobytes().hex()


def read_journal(path: Path) -> list[Evaluation]:
    """Every evaluation in a journal file, in the order of writing; torn lines are skipped."""
    return _read(Path(path))[1]


def longest(evaluations: Iterable[Evaluation]) -> dict[Key, Evaluation]:
    """The evaluation that says most of each key, in the order in which the keys came first."""
    known: dict[Key, Evaluation] = {}
    _absorb(known, evaluations)
    return known


def _absorb(known: dict[Key, Evaluation], evaluations: Iterable[Evaluation]) -> None:
    for evaluation in evaluations:
        if evaluation.supersedes(known.setdefault(evaluation.key, evaluation)):
            known[evaluation.key] = evaluation


def _read(path: Path) -> tuple[int, list[Evaluation]]:
    """The format (0 where there is no header) and all evaluations."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        lines = []
    except OSError as error:
        raise RunError(f"cannot read journal {path}: {error.strerror}. Check the permissions") from None
    newest, evaluations = 0, []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        record = _parse(line)
        if record is None:
            if number < len(lines):
                _log.warning("%s: line %d is damaged and was skipped", path, number)
        elif isinstance(record, Evaluation):
            evaluations.append(record)
        elif record.get("kind") == "header":
            newest = max(newest, record["format"])
            if newest > FORMAT:
                raise RunError(f"{path} has journal format {newest}, this dse reads up to {FORMAT}. Use a newer dse")
    return newest, evaluations


def _parse(line: bytes) -> Evaluation | dict | None:
    """An evaluation, a header, or what a newer version writes; `None` where the line is damaged."""
    try:
        record = json.loads(line)
        if not isinstance(record, dict):
            return None
        if record.get("kind") == "evaluation":
            return Evaluation.from_record(record)
        is_damaged = record.get("kind") == "header" and type(record.get("format")) is not int
        return None if is_damaged else record
    except (ValueError, RecursionError):
        return None


class Journal:
    """The single writer of a journal file, and a cache of everything in it.

    Use as a context manager. A record is on disk (fsync) when `append` returns.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        found_format, evaluations = _read(self.path)
        self._known = longest(evaluations)
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise RunError(f"cannot write journal {self.path}: {error.strerror}. Check the permissions") from None
        try:
            self._size = _mend_tail(self._fd)
            if found_format < FORMAT:  # an older dse must not take what follows for whole evaluations
                self._write(json.dumps({"kind": "header", "format": FORMAT}).encode() + b"\n")
        except OSError as error:
            self.close()
            raise RunError(_write_failure(self.path, error)) from None

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._known)

    def close(self) -> None:
        """Closes the file; the cache stays readable."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def find(self, split: Split, assignment: Sequence[int], fingerprint: str) -> Evaluation | None:
        """The stored evaluation of an assignment with most images, or `None`."""
        return self._known.get((split, tuple(int(m) for m in assignment), fingerprint))

    def append(self, evaluations: Iterable[Evaluation]) -> None:
        """Writes evaluations and waits until they are on disk.

        Raises:
            RunError: the disk is full or the file cannot be written; everything appended before is safe.
        """
        new = list(evaluations)
        if not new:
            return
        self._write(b"".join(e.to_json().encode() + b"\n" for e in new))
        _absorb(self._known, new)

    def _write(self, data: bytes) -> None:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
            os.fsync(self._fd)
        except OSError as error:
            self._cut_back()
            raise RunError(_write_failure(self.path, error)) from None
        self._size += len(data)

    def _cut_back(self) -> None:
        """Drops a half-written record; where even that fails, the next writer does it."""
        try:
            os.ftruncate(self._fd, self._size)
        except OSError:
            self.close()


def _mend_tail(fd: int) -> int:
    """Cuts a torn last line, or ends a whole one that lacks its newline; returns the size in bytes."""
    size = os.fstat(fd).st_size
    block = 1 << 16
    tail = b""
    start = size
    while start > 0 and b"\n" not in tail:
        step = min(block, start)
        start -= step
        tail = os.pread(fd, step, start) + tail
    last = tail[tail.rfind(b"\n") + 1 :]
    if not last:
        return size
    if _parse(last) is not None:
        os.write(fd, b"\n")
        return size + 1
    os.ftruncate(fd, size - len(last))
    return size - len(last)


def _write_failure(path: Path, error: OSError) -> str:
    safe = "Everything computed before is saved"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: cannot write {path}. {safe}: free some space and repeat the same command to continue"
    return f"cannot write {path}: {error.strerror}. {safe}: repeat the same command to continue"
