"""The two files of an exported network as bytes: packed, read back and checked, written and found."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from dse.errors import NetworkError
from dse.exported.schema import SCHEMA, VERSION, Document
from dse.files import replace_file

_SUFFIXES = (".npz", ".json")


def file_paths(path: str | Path) -> tuple[Path, Path]:
    """`NAME.npz` and `NAME.json`, for either of them or for `NAME`."""
    path = Path(path).expanduser()
    stem = path.name.removesuffix(path.suffix) if path.suffix in _SUFFIXES else path.name
    return path.with_name(f"{stem}.npz"), path.with_name(f"{stem}.json")


def pack(document: Document, arrays: dict[str, np.ndarray]) -> tuple[bytes, bytes]:
    """Content of the `.npz` and of the `.json` file; equal networks give equal bytes.

    Args:
        document: its `npz_sha256` is filled in here.
        arrays: those that the document lists.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    npz = buffer.getvalue()
    complete = document.model_copy(update={"npz_sha256": hashlib.sha256(npz).hexdigest()})
    return npz, _json_text(complete.model_dump(mode="json", by_alias=True)).encode()


def _json_text(content: dict[str, Any]) -> str:
    """A line for every layer, node and so on."""
    lines = []
    for key, value in content.items():
        text = json.dumps(value)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            text = "[\n  " + ",\n  ".join(json.dumps(part) for part in value) + "\n ]"
        elif isinstance(value, dict) and value:
            text = "{\n  " + ",\n  ".join(f"{json.dumps(k)}: {json.dumps(part)}" for k, part in value.items()) + "\n }"
        lines.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def write_files(path: str | Path, npz: bytes, text: bytes) -> tuple[Path, Path]:
    """Writes both files, each in one step; a crash between them leaves a pair that a reader refuses.

    Raises:
        RunError: they cannot be written.
    """
    paths = file_paths(path)
    for each, data in zip(paths, (npz, text), strict=True):
        replace_file(each, data)
    return paths


def read_files(path: str | Path) -> tuple[bytes, bytes]:
    """Content of the `.npz` and of the `.json` file.

    Raises:
        NetworkError: one of them is missing or cannot be read.
    """
    contents = []
    for each in file_paths(path):
        try:
            contents.append(each.read_bytes())
        except OSError as error:
            raise NetworkError(
                f"cannot read {each}: {error.strerror}. Expected the two files of an exported network side by side, "
                "NAME.npz and NAME.json, as `dse export` makes them"
            ) from None
    return contents[0], contents[1]


def unpack(npz: bytes, text: bytes, where: str) -> tuple[Document, dict[str, np.ndarray]]:
    """The document and its arrays, read-only.

    Args:
        npz, text: content of the two files.
        where: their name, for errors.

    Raises:
        NetworkError: not an exported network, of another version, damaged, or two files that do not belong together.
    """
    document = _document(text, where)
    found = hashlib.sha256(npz).hexdigest()
    if found != document.npz_sha256:
        raise NetworkError(
            f"{where}: the .npz file is not the one that the .json file was written with, or it is damaged (SHA-256 "
            f"{found[:12]}.., expected {document.npz_sha256[:12]}..). Copy both files again, or repeat `dse export`"
        )
    return document, _arrays(npz, document, where)


def _document(text: bytes, where: str) -> Document:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NetworkError(
            f"{where}: the .json file is truncated or not JSON ({error}). Expected the one that `dse export` wrote"
        ) from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise NetworkError(
            f'{where} is not an exported network: the .json file does not say "schema": {SCHEMA!r}. Expected files '
            "made by `dse export`"
        )
    if content.get("version") != VERSION:
        raise NetworkError(
            f"{where} has version {content.get('version')!r} of the schema: expected {VERSION}. Read it with the "
            f"version of dse that wrote it ({content.get('dse_version')}), or export the network again"
        )
    try:
        return Document.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise NetworkError(
            f"{where}: the .json file is wrong at {place}: {first['msg']} ({error.error_count()} such places). "
            "Expected what `dse.exported.schema` describes; export the network again"
        ) from None


def _arrays(npz: bytes, document: Document, where: str) -> dict[str, np.ndarray]:
    try:
        with np.load(io.BytesIO(npz), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # whatever zipfile, zlib and numpy find wrong with it
        raise NetworkError(
            f"{where}: the .npz file is not one of plain arrays ({type(error).__name__}: {error}). Export it again"
        ) from None
    differing = sorted(arrays.keys() ^ document.arrays.keys())
    if differing:
        raise NetworkError(
            f"{where}: array {differing[0]!r} is in one of the two files only ({len(differing)} such arrays): expected "
            "the same in both; export the network again"
        )
    for name, array in arrays.items():
        record = document.arrays[name]
        if array.shape != record.shape or array.dtype != np.dtype(record.dtype):
            raise NetworkError(
                f"{where}: array {name!r} is {array.dtype} {list(array.shape)}: expected {record.dtype} "
                f"{list(record.shape)} as the .json file says; export the network again"
            )
        array.setflags(write=False)
    return arrays
