"""Files below a folder or inside a tar archive, addressed by relative name. An archive is never unpacked to disk."""

import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from dse.errors import DataError

_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class Tree(Protocol):
    """Files by relative name, with `/` between the parts."""

    where: str
    names: Sequence[str]

    def read(self, names: Sequence[str]) -> Iterator[tuple[int, bytes]]:
        """Contents of the files, as (position in `names`, bytes), in the order that is fastest to read."""
        ...


def is_tar(path: Path) -> bool:
    """Whether the path is a file named like a tar archive."""
    return path.is_file() and path.name.endswith(_TAR_SUFFIXES)


def open_tree(path: Path) -> Tree:
    """The files of a folder or of a tar archive."""
    return TarTree(path) if is_tar(path) else FolderTree(path)


class FolderTree:
    """Files below a folder; hidden ones are left out."""

    def __init__(self, folder: Path):
        """List the files below `folder`."""
        self._folder = folder
        self.where = str(folder)
        files = (file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
        self.names = sorted(file.as_posix() for file in files if not any(part.startswith(".") for part in file.parts))

    def read(self, names: Sequence[str]) -> Iterator[tuple[int, bytes]]:
        """Contents of the files, in the order of `names`."""
        for k, name in enumerate(names):
            yield k, (self._folder / name).read_bytes()


class TarTree:
    """Regular files of a tar archive, plain or compressed; names leave out a single folder around everything."""

    def __init__(self, path: Path):
        """List the members; links and special files are left out, names that lead outside are an error."""
        self._path = path
        self.where = str(path)
        try:
            with tarfile.open(path) as archive:
                places = {m.name: (m.offset_data, m.size) for m in archive if m.isreg() and not m.issparse()}
        except (tarfile.TarError, EOFError, OSError) as failure:
            raise DataError(f"{path} cannot be read ({failure}): expected a tar archive, not truncated") from failure
        for name in places:
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise DataError(f"{path} has a member {name!r} that leads outside the archive; not read")
        named = {PurePosixPath(name): place for name, place in places.items()}
        tops = {name.parts[0] for name in named}
        if len(tops) == 1:
            named = {name.relative_to(name.parts[0]): place for name, place in named.items()}
        self._places = {
            name.as_posix(): place
            for name, place in named.items()
            if not any(part.startswith(".") for part in name.parts)
        }
        self.names = sorted(self._places)

    def read(self, names: Sequence[str]) -> Iterator[tuple[int, bytes]]:
        """Contents of the files, in the order of the archive (a compressed one can only be read forward)."""
        with tarfile.open(self._path) as archive:
            for k in sorted(range(len(names)), key=lambda k: self._places[names[k]]):
                offset, size = self._places[names[k]]
                archive.fileobj.seek(offset)
                content = archive.fileobj.read(size)
                if len(content) != size:
                    raise DataError(f"{self._path} ends within {names[k]}; it is truncated: copy or download it again")
                yield k, content
