"""Files written in one step, so that a crash at any moment leaves the old one or the new one."""

import contextlib
import errno
import os
from pathlib import Path

from dse.errors import RunError


def replace_file(path: Path, data: str | bytes) -> None:
    """Writes a file in one step: readers see the old one or the new one, a crash leaves one of them.

    Raises:
        RunError: the disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:  # a signal may end it anywhere
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(
                f"the disk is full: cannot write {path}. What was finished before is saved: free some space and repeat "
                "the same command to continue"
            ) from None
        raise RunError(f"cannot write {path}: {error.strerror}. Check the permissions of its folder") from None
