"""The run directory: plain files, written so that a crash at any moment leaves a run that can be continued.

    config.toml        the run file as given (absent where none was)
    resolved.toml      every default filled
    manifest.json      versions, host, seed, hashes, layers and multipliers
    evaluations.jsonl  the journal
    errors.csv         predicted error of every layer and multiplier (where the search asked for it)
    tolerances.csv     learned tolerance of every layer (likewise)
    initial.csv        designs the search started from, and where they came from
    predictions.csv    predicted and measured losses of the designs that were simulated (likewise)
    generations.csv    progress of the search
    front.csv          the result; its presence means that the run is finished
    front.png          its picture
    memory.png         picture of three objectives, where the weights' memory is one
    predictions.png    picture of predictions.csv

One process at a time writes: it holds a lock on `.dse-lock`. All files but the journal are written to a temporary
name and renamed, so that a reader sees the old content or the new.
"""

import contextlib
import errno
import fcntl
import io
import logging
import os
import socket
import time
from pathlib import Path

import pandas as pd

from dse.config import LOCATIONS, RunConfig, differences, load_config, to_toml
from dse.errors import ConfigError, RunError
from dse.files import replace_file

_log = logging.getLogger("dse")

LOCK_FILE = ".dse-lock"
SWEEP_FILE = "tolerances.toml"  # marks a directory of `dse tolerances`
PLAN_FILE = "sweep.csv"  # marks a directory of `dse sweep`, which holds runs
SET_FILE = "operating_points.json"
FINETUNING_FILE = "finetuning.json"
AXNN_FILE = "axnn.json"
MATCHING_FILE = "matching.json"
RUN_FILE = "resolved.toml"

_KINDS = {
    RUN_FILE: "a run of `dse explore`",
    SWEEP_FILE: "tolerances of `dse tolerances`",
    SET_FILE: "operating points of `dse operating-points`",
    FINETUNING_FILE: "points of `dse finetune`",
    AXNN_FILE: "a design of `dse axnn`",
    MATCHING_FILE: "designs of `dse match`",
    PLAN_FILE: "the runs of `dse sweep`",
}
"""What a directory holds, by the file that marks it."""

LOCK_PATIENCE_S = 0.25
"""How long a lock may be held by one that only looks whether it is held."""


def mark_of(path: Path) -> str | None:
    """The file that marks what a directory holds, as `RUN_FILE`; None where nothing of ours does."""
    return next((name for name in _KINDS if (path / name).exists()), None)


def refuse_other_kinds(path: Path, own: str) -> None:
    """Raises `RunError` where a directory holds what another command made.

    Args:
        path: the directory; it need not exist.
        own: file that marks the directories of this command.
    """
    for name, kind in _KINDS.items():
        if name != own and (path / name).exists():
            raise RunError(f"{path} holds {kind}: choose another directory with --out")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """A CSV file without index, written in one step; floats keep every digit."""
    text = io.StringIO()
    table.to_csv(text, index=False, lineterminator="\n")
    replace_file(path, text.getvalue())


class RunDirectory:
    """The paths of a run, and what state it is in."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @property
    def config(self) -> Path:
        return self.path / "config.toml"

    @property
    def resolved(self) -> Path:
        return self.path / RUN_FILE

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.json"

    @property
    def journal(self) -> Path:
        return self.path / "evaluations.jsonl"

    @property
    def errors(self) -> Path:
        return self.path / "errors.csv"

    @property
    def tolerances(self) -> Path:
        return self.path / "tolerances.csv"

    @property
    def predictions(self) -> Path:
        return self.path / "predictions.csv"

    @property
    def predictions_picture(self) -> Path:
        return self.path / "predictions.png"

    @property
    def initial(self) -> Path:
        return self.path / "initial.csv"

    @property
    def generations(self) -> Path:
        return self.path / "generations.csv"

    @property
    def front(self) -> Path:
        return self.path / "front.csv"

    @property
    def memory_picture(self) -> Path:
        """Front of three objectives and its projections."""
        return self.path / "memory.png"

    @property
    def picture(self) -> Path:
        return self.path / "front.png"

    @property
    def is_finished(self) -> bool:
        """Whether the search ended and its front was measured."""
        return self.front.exists()

    @property
    def is_run(self) -> bool:
        """Whether this directory was made by a run (a lock alone: one that was killed at its very start)."""
        return any((self.path / name).exists() for name in (RUN_FILE, LOCK_FILE, PLAN_FILE))

    def claim(self, config: RunConfig, config_text: str | None = None) -> None:
        """Makes the directory, or checks that it holds an earlier part of this very run.

        Call it while holding the lock (see `RunLock`).

        Args:
            config: what is going to run.
            config_text: the run file as given, kept for the record.

        Raises:
            RunError: the directory belongs to another configuration.
        """
        refuse_other_kinds(self.path, RUN_FILE)
        if self.resolved.exists():
            self.check_same(config, may_move=True)
            if not self.is_made_from(config):
                replace_file(self.resolved, to_toml(config))
            return
        if config_text is not None:
            replace_file(self.config, config_text)
        replace_file(self.resolved, to_toml(config))

    def stored_config(self) -> RunConfig:
        """What the run does.

        Raises:
            RunError: the file is damaged, or of a version with other keys; among many runs it says which.
        """
        try:
            return load_config(self.resolved)
        except ConfigError as error:
            raise RunError(
                f"{self.resolved} cannot be read ({str(error).splitlines()[0]}). Restore it from a copy, or choose "
                "another directory with --out"
            ) from None

    def is_made_from(self, config: RunConfig) -> bool:
        """Whether weights, data and library are still looked for where the stored configuration says."""
        return not any(key in LOCATIONS for key, _, _ in differences(self.stored_config(), config))

    def check_same(self, config: RunConfig, *, may_move: bool = False) -> None:
        """Raises `RunError` naming every key in which the stored configuration differs.

        Args:
            config: what is going to run.
            may_move: weights, data and library may lie elsewhere now, because their hashes are going to be compared.
        """
        found = differences(self.stored_config(), config, may_move=may_move)
        changed = [f"{key} was {old!r}, is now {new!r}" for key, old, new in found]
        if changed:
            state = "a finished" if self.is_finished else "an unfinished"
            raise RunError(
                f"{self.path} holds {state} run with another configuration: {'; '.join(changed)}. "
                "Choose another directory with --out, or repeat the command with the stored values"
            )


class RunLock:
    """Keeps a second process out of a run directory; the system drops it when this process ends in whatever way."""

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self._fd = -1

    def __enter__(self) -> "RunLock":
        path = self._directory.path
        _make_directory(self._directory)
        lock = path / LOCK_FILE
        try:
            self._fd = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunError(_unwritable(path, error)) from None
        try:
            _lock_patiently(self._fd)
        except OSError as error:
            holder = os.pread(self._fd, 200, 0).decode(errors="replace").strip() or "an unknown process"
            self.release()
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise RunError(f"cannot lock {lock}: {error.strerror}. Choose a directory on another disk") from None
            raise RunError(
                f"{path} is in use by {holder}. Wait until that process ends, or choose another directory with --out"
            ) from None
        self._warn_of_other_hosts()
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        except OSError as error:
            self.release()
            raise RunError(_unwritable(path, error)) from None
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)  # nobody holds it, and nobody was killed
        self.release()

    def _warn_of_other_hosts(self) -> None:
        """Some network file systems keep locks on each machine by itself: there the system lets everybody in."""
        before = os.pread(self._fd, 200, 0).decode(errors="replace").strip()
        if before and not before.endswith(f" on {socket.gethostname()}"):
            _log.warning(
                "%s was in use by %s, which did not end by itself. If it still runs, end one of the two",
                self._directory.path, before,
            )  # fmt: skip

    def release(self) -> None:
        """Lets go; the file stays, because removing a lock file races with the next process."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _lock_patiently(fd: int) -> None:
    end = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES) or time.monotonic() > end:
                raise
        time.sleep(0.05)


def lock_holder(path: Path) -> str | None:
    """Who holds the lock of a directory, as `process 12 on host`; `None` where nobody does. Changes nothing."""
    try:
        fd = os.open(Path(path) / LOCK_FILE, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        is_held = error.errno in (errno.EWOULDBLOCK, errno.EACCES)
        return (os.pread(fd, 200, 0).decode(errors="replace").strip() or "an unknown process") if is_held else None
    finally:
        os.close(fd)
    return None


def _make_directory(directory: RunDirectory) -> None:
    path = directory.path
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        pass  # it is a file, which is told next
    except OSError as error:
        raise RunError(_unwritable(path, error)) from None
    refuse_foreign(directory)


def refuse_foreign(directory: RunDirectory) -> None:
    """Raises `RunError` where a path is a file, or a directory with files that no command of ours made."""
    path = directory.path
    try:
        is_foreign = path.exists() and not directory.is_run and any(path.iterdir())
    except NotADirectoryError:
        raise RunError(f"{path} is a file: expected a directory, or a new name. Choose another with --out") from None
    except OSError as error:
        raise RunError(_unwritable(path, error)) from None
    if is_foreign:
        raise RunError(
            f"{path} is not empty and holds no run. Expected a new or empty directory, or one made by `dse explore`: "
            "choose another with --out"
        )


def _unwritable(path: Path, error: OSError) -> str:
    return f"cannot write to run directory {path}: {error.strerror}. Choose a writable one with --out"
