"""The journal of a run: what was measured, one JSON object per line, appended and synced.

What is not in the journal was not evaluated: there is no other state. A line that was torn by a crash is ignored by
readers, and cut off before the next writer appends, so it never ends up in the middle.
"""

import errno
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from dse.errors import RunError

FORMAT = 1
_log = logging.getLogger("dse")

Split = Literal["search", "confirm", "report"]
Key = tuple[str, tuple[int, ...], str]


@dataclass(frozen=True)
class Evaluation:
    """One measured assignment.

    Attributes:
        split: the images it was measured on.
        assignment: multiplier index per layer.
        fingerprint: of the evaluator that measured it.
        accuracy: fraction correct in [0, 1]; NaN where `state` is `failed`.
        state: `ok`, or `failed` with the reason in `message`.
        energy_rel: energy relative to the exact network.
        tiles: tile of each layer, for tiled accelerators.
    """

    split: Split
    assignment: tuple[int, ...]
    fingerprint: str
    accuracy: float
    state: Literal["ok", "failed"] = "ok"
    message: str = ""
    energy_rel: float = float("nan")
    tiles: tuple[int, ...] | None = None

    @property
    def key(self) -> Key:
        """What makes two evaluations the same one."""
        return self.split, self.assignment, self.fingerprint

    def to_json(self) -> str:
        """One line without its end; NaN is written as null, empty fields are left out."""
        record = {"kind": "evaluation"} | asdict(self)
        for name in ("accuracy", "energy_rel"):
            record[name] = None if np.isnan(record[name]) else record[name]
        return json.dumps({k: v for k, v in record.items() if v is not None and v != ""}, separators=(",", ":"))

    @staticmethod
    def from_record(record: dict) -> "Evaluation":
        """The inverse of `to_json`; fields of newer versions are ignored."""
        tiles = record.get("tiles")
        return Evaluation(
            split=record["split"],
            assignment=tuple(record["assignment"]),
            fingerprint=record["fingerprint"],
            accuracy=float(record.get("accuracy", "nan")),
            state=record["state"],
            message=record.get("message", ""),
            energy_rel=float(record.get("energy_rel", "nan")),
            tiles=None if tiles is None else tuple(tiles),
        )


def read_journal(path: Path) -> list[Evaluation]:
    """Every evaluation in a journal file, in the order of writing; torn lines are skipped."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        return []
    return list(_parse_lines(data.split(b"\n"), path))


def _parse_lines(lines: Sequence[bytes], path: Path) -> Iterator[Evaluation]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        record = _parse(line)
        if record is None:
            if number < len(lines):
                _log.warning("%s: line %d is damaged and was skipped", path, number)
        elif record.get("kind") == "header" and record.get("format", 0) > FORMAT:
            raise RunError(
                f"{path} has journal format {record['format']}, this dse reads up to {FORMAT}. Use a newer dse"
            )
        elif record.get("kind") == "evaluation":
            yield Evaluation.from_record(record)


def _parse(line: bytes) -> dict | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


class Journal:
    """The single writer of a journal file, and a cache of everything in it.

    Use as a context manager. A record is on disk (fsync) when `append` returns.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._known: dict[Key, Evaluation] = {}
        for evaluation in read_journal(self.path):
            self._known.setdefault(evaluation.key, evaluation)
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise RunError(f"cannot write journal {self.path}: {error.strerror}. Check the permissions") from None
        self._size = _mend_tail(self._fd)
        if self._size == 0:
            self._write(json.dumps({"kind": "header", "format": FORMAT}).encode() + b"\n")

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
        """The stored evaluation of an assignment, or `None`."""
        return self._known.get((split, tuple(int(m) for m in assignment), fingerprint))

    def append(self, evaluations: Iterable[Evaluation]) -> None:
        """Writes evaluations and waits until they are on disk.

        Raises:
            RunError: the disk is full or the file cannot be written; everything appended before is safe.
        """
        new = list(evaluations)
        self._write(b"".join(e.to_json().encode() + b"\n" for e in new))
        self._known.update((e.key, e) for e in new)

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
