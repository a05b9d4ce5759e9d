"""Disks that fill up, permissions that vanish, processes that die in the middle of a write: made to happen on purpose.

Operations that change files below a folder are counted; one of them, and maybe those after it, fail as a real one
would, with half of a write done.
"""

import builtins
import errno
import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

KINDS = ("full", "permission", "device", "torn")
"""No space is left from then on; one operation is not permitted; one has an input/output error; the process dies."""

_ERRORS = {"full": errno.ENOSPC, "permission": errno.EACCES, "device": errno.EIO}
_HARMLESS_WHEN_FULL = {"unlink", "ftruncate"}


class Died(BaseException):
    """Stands for the end of the process: nothing is written from then on."""


class Faults:
    """What happens to a folder.

    Args:
        folder: the operations below it count.
        at: number of the operation that fails, from 0; `None`: none does.
        kind: one of `KINDS`.

    Attributes:
        n_done: operations so far.
        failed: the first operation that failed, for people; empty where none did.
    """

    def __init__(self, folder: Path, at: int | None = None, kind: str = "full") -> None:
        self._folder, self._at, self._kind = str(Path(folder).resolve()), at, kind
        self.n_done, self.failed = 0, ""

    def meet(self, name: str, target: Any, before_failing: Callable[[], object] = lambda: None) -> None:
        """One operation is about to happen; raises what it ends with, if it fails."""
        path = self._path(target)
        if path is None:
            return
        number, self.n_done = self.n_done, self.n_done + 1
        lasts = self._kind in ("full", "torn")
        if self._at is None or number < self._at or (number > self._at and not (lasts and self.failed)):
            return
        if self._kind == "full" and name in _HARMLESS_WHEN_FULL:
            self._at += not self.failed
            return
        if not self.failed:
            self.failed = f"{name} {Path(path).name}"
            before_failing()
        if self._kind == "torn":
            raise Died
        raise OSError(_ERRORS[self._kind], os.strerror(_ERRORS[self._kind]), path)

    def _path(self, target: Any) -> str | None:
        """Of a path or an open file; `None` where it is elsewhere."""
        if isinstance(target, int):
            target = os.readlink(f"/proc/self/fd/{target}")
        path = os.path.abspath(os.fsdecode(target))
        return path if path.startswith(self._folder) else None

    @contextmanager
    def happening(self) -> Iterator["Faults"]:
        """Patches what writes, for this process."""
        opened = self._open(io.open)
        with (
            mock.patch.multiple(os, **self._of_os()),
            mock.patch.object(io, "open", opened),
            mock.patch.object(builtins, "open", opened),
        ):
            yield self

    def _of_os(self) -> Mapping[str, Callable[..., Any]]:
        real_write, real_open = os.write, os.open

        def write(fd: int, data: Any) -> int:
            self.meet("write", fd, lambda: real_write(fd, bytes(data)[: len(data) // 2]))
            return real_write(fd, data)

        def opened(path: Any, flags: int, *args: Any, **options: Any) -> int:
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self.meet("open", path)
            return real_open(path, flags, *args, **options)

        names = ("fsync", "ftruncate", "replace", "unlink", "mkdir")
        return {"write": write, "open": opened} | {name: self._first_argument(name) for name in names}

    def _first_argument(self, name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(target: Any, *args: Any, **options: Any) -> Any:
            if name != "mkdir" or not os.path.isdir(target):  # which changes nothing
                self.meet(name, target)
            return real(target, *args, **options)

        return call

    def _open(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
            if not isinstance(file, int) and set(mode) & set("wax+"):
                self.meet("open", file)
            return real(file, mode, *args, **options)

        return call
