"""A compressed network as one `.npz` file of plain arrays, checked by SHA-256 when it is read.

The arrays of all layers lie one after the other, so that small layers cost no more than their bytes. `header` is JSON
as bytes: schema, version, and for each layer its name, shape, type of codes and the lengths of its arrays. `sha256` is
the digest of the header and all other arrays in order of their names.
"""

import hashlib
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dse.errors import NetworkError
from dse.files import replace_file
from dse.sparse.dcsr import ARRAY_TYPES, DcsrMatrix
from dse.sparse.matrices import CompressedLayer, weight_codes

SCHEMA, VERSION = "dse-sparse-network", 1
_CHANNEL_TYPES = {"w_zero_point": np.int64, "w_scale": np.float32, "bias": np.float32}
_TYPES = {**ARRAY_TYPES, **_CHANNEL_TYPES}
_CODES = ("int8", "uint8")
_AXES = 4


def save_compressed(path: str | Path, layers: Sequence[CompressedLayer]) -> Path:
    """Writes layers in one step; equal ones give equal bytes.

    Args:
        path: of the file; gets the ending `.npz` if it has another.
        layers: as `dse.sparse.matrices.compress` gives them.

    Returns:
        The path that was written.

    Raises:
        RunError: it cannot be written.
    """
    path = Path(path).expanduser()
    path = path if path.suffix == ".npz" else path.with_name(path.name + ".npz")
    parts = [{**layer.matrix.arrays, **{name: getattr(layer, name) for name in _CHANNEL_TYPES}} for layer in layers]
    records = [
        {
            "name": layer.name,
            "weight_shape": list(layer.weight_shape),
            "w_dtype": layer.w_dtype,
            "lengths": {name: len(array) for name, array in part.items()},
        }
        for layer, part in zip(layers, parts, strict=True)
    ]
    header = json.dumps({"schema": SCHEMA, "version": VERSION, "layers": records}).encode()
    arrays = {
        name: np.concatenate([np.zeros(0, dtype), *(part[name] for part in parts)]).astype(dtype)
        for name, dtype in _TYPES.items()
    }
    arrays["header"] = np.frombuffer(header, np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, sha256=np.frombuffer(_digest(arrays), np.uint8), **arrays)
    replace_file(path, buffer.getvalue())
    return path


def load_compressed(path: str | Path) -> tuple[CompressedLayer, ...]:
    """The layers of a file that `save_compressed` wrote, all of them decodable.

    Raises:
        NetworkError: it is missing, truncated, damaged, or another file or version.
    """
    path = Path(path).expanduser()
    arrays = _read(path)
    try:
        layers = _layers(_header(arrays.pop("header")), arrays)
        for layer in layers:
            weight_codes(layer)  # raises if they cannot be decoded
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise NetworkError(f"{path} cannot be used: {error}. Compress the network again") from None
    return layers


def _header(data: np.ndarray) -> list[dict]:
    """Records of the layers."""
    header = json.loads(data.tobytes())
    if header["version"] != VERSION:
        raise NetworkError(f"it has version {header['version']!r} of {SCHEMA}, this dse reads version {VERSION}")
    return header["layers"]


def _read(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a file, `sha256` checked and left out."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except OSError as error:
        raise NetworkError(f"cannot read {path}: {error}. Expected a file that save_compressed wrote") from None
    except Exception as error:  # whatever zipfile and numpy find wrong with it
        raise NetworkError(
            f"{path} is truncated, damaged or not a .npz file of plain arrays ({type(error).__name__}: {error}). Copy "
            "it again, or compress the network again"
        ) from None
    expected = {"sha256", "header", *_TYPES}
    if arrays.keys() != expected or not arrays["header"].tobytes().startswith(f'{{"schema": "{SCHEMA}"'.encode()):
        raise NetworkError(f"{path} is not a compressed network: expected a file that save_compressed wrote")
    stored = arrays.pop("sha256").tobytes()
    if stored != _digest(arrays):
        raise NetworkError(
            f"{path} is damaged: its SHA-256 is {_digest(arrays).hex()[:12]}.., expected {stored.hex()[:12]}... Copy "
            "it again, or compress the network again"
        )
    return arrays


def _digest(arrays: dict[str, np.ndarray]) -> bytes:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.digest()


def _layers(records: list[dict], arrays: dict[str, np.ndarray]) -> tuple[CompressedLayer, ...]:
    for name, dtype in _TYPES.items():
        lengths = [record["lengths"][name] for record in records]
        if arrays[name].dtype != dtype or arrays[name].shape != (sum(lengths),) or min(lengths, default=0) < 0:
            raise NetworkError(f"{name} is {arrays[name].dtype} {list(arrays[name].shape)}, not as its header says")
    ends = {name: np.cumsum([record["lengths"][name] for record in records]) for name in _TYPES}
    return tuple(
        _layer(
            record,
            {name: arrays[name][ends[name][i] - record["lengths"][name] : ends[name][i]] for name in _TYPES},
        )
        for i, record in enumerate(records)
    )


def _layer(record: dict, parts: dict[str, np.ndarray]) -> CompressedLayer:
    shape = tuple(record["weight_shape"])
    if len(shape) != _AXES or not all(type(side) is int and side > 0 for side in shape):
        raise NetworkError(f"weights of {record['name']!r} have shape {list(shape)}, expected four axes")
    if record["w_dtype"] not in _CODES or {len(parts[name]) for name in _CHANNEL_TYPES} != {shape[0]}:
        raise NetworkError(f"layer {record['name']!r} has codes {record['w_dtype']} or channels that do not fit")
    return CompressedLayer(
        name=record["name"],
        weight_shape=shape,
        w_dtype=record["w_dtype"],
        matrix=DcsrMatrix(shape=(shape[0], math.prod(shape[1:])), **{name: parts[name] for name in ARRAY_TYPES}),
        **{name: parts[name] for name in _CHANNEL_TYPES},
    )
