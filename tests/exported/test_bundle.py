import hashlib
import io
import json
import pickle

import numpy as np
import pytest

from dse.errors import NetworkError, RunError
from dse.exported.bundle import file_paths, pack, read_files, unpack, write_files
from dse.exported.schema import SCHEMA, Document
from dse.exported.writer import _document
from dse.testing.tiny import tiny_network

from .networks import described, switchable


@pytest.fixture(scope="module")
def packed():
    model = switchable(tiny_network())
    document, arrays = _document(model, (2, 8, 8), described(model))
    return document, arrays, *pack(document, arrays)


@pytest.mark.parametrize("name", ["a", "a.npz", "a.json"])
def test_paths(name, tmp_path):
    assert file_paths(tmp_path / name) == (tmp_path / "a.npz", tmp_path / "a.json")
    assert file_paths("point.v1")[0].name == "point.v1.npz"


def test_round_trip(packed, tmp_path):
    document, arrays, npz, text = packed
    assert write_files(tmp_path / "new" / "net.json", npz, text) == file_paths(tmp_path / "new" / "net")
    read, read_arrays = unpack(*read_files(tmp_path / "new" / "net"), "net")
    assert read.model_copy(update={"npz_sha256": document.npz_sha256}) == document
    assert all(np.array_equal(arrays[name], array) for name, array in read_arrays.items())
    assert arrays.keys() == read_arrays.keys()
    assert not any(array.flags.writeable for array in read_arrays.values())
    assert pack(document, arrays) == (npz, text)


def test_the_text_is_plain_json_with_a_line_a_node(packed):
    content = json.loads(packed[3])
    assert content["schema"] == SCHEMA
    assert len(packed[3].splitlines()) > len(content["program"]) + len(content["layers"]) + len(content["arrays"])
    assert Document.model_validate_json(packed[3]).program


def test_every_truncation_is_noticed(packed):
    *_, npz, text = packed
    for end in np.linspace(0, len(npz) - 1, 7).astype(int):
        with pytest.raises(NetworkError, match="net: the .npz file is not the one"):
            unpack(npz[:end], text, "net")
    for end in np.linspace(0, len(text) - 3, 7).astype(int):
        with pytest.raises(NetworkError, match="net: the .json file is truncated or not JSON"):
            unpack(npz, text[:end], "net")


@pytest.mark.parametrize("position", [10, -10, 1000])
def test_a_changed_byte_is_noticed(packed, position):
    *_, npz, text = packed
    changed = bytearray(npz)
    changed[position] ^= 1
    with pytest.raises(NetworkError, match="is not the one that the .json file was written with, or it is damaged"):
        unpack(bytes(changed), text, "net")


def _changed(packed, npz=None, **changes):
    """The document with other keys, its hash that of `npz`."""
    npz = packed[2] if npz is None else npz
    _, text = pack(packed[0], {})
    content = json.loads(text)
    content |= {"npz_sha256": hashlib.sha256(npz).hexdigest()} | changes
    return npz, json.dumps({key: value for key, value in content.items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "truncated or not JSON"),
        (b"\xff\xfe\x00", "truncated or not JSON"),
        (b"[" * 100_000, "truncated or not JSON"),
        (b"[]", "is not an exported network"),
        (b'{"epochs": 3}', "is not an exported network"),
    ],
)
def test_other_files(packed, text, message):
    with pytest.raises(NetworkError, match=message):
        unpack(packed[2], text, "net")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "other"}, "is not an exported network"),
        ({"version": 2}, "version 2 of the schema: expected 1.*0.1.0"),
        ({"version": ...}, "version None"),
        ({"layers": ...}, "wrong at layers: Field required"),
        ({"more": 1}, "wrong at more: Extra inputs"),
        ({"n_classes": "4"}, "wrong at n_classes"),
        ({"n_classes": 0}, "wrong at n_classes"),
        ({"program": [{"name": "x", "op": "exec"}]}, "wrong at program.0.op"),
        ({"multipliers": [{"name": "m"}]}, "wrong at multipliers.0.hash: Field required .4 such places"),
        ({"npz_sha256": "abc"}, "wrong at npz_sha256"),
        ({"input_shape": [3, 8]}, "wrong at input_shape"),
    ],
)
def test_other_documents(packed, changes, message):
    with pytest.raises(NetworkError, match=message):
        unpack(*_changed(packed, **changes), "net")


def _npz(arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_other_arrays(packed):
    document, arrays, *_ = packed
    first = next(iter(arrays))
    for changed, message in (
        ({name: array for name, array in arrays.items() if name != first}, f"array '{first}' is in one of the two"),
        (arrays | {"more": np.zeros(1)}, "array 'more' is in one of the two files only .1 such"),
        (arrays | {first: arrays[first][:1]}, f"array '{first}' is int32 .1, 256.: expected int32 .256, 256."),
        (arrays | {first: arrays[first].astype(">i4")}, f"array '{first}' is >i4"),
        (arrays | {first: arrays[first].astype(np.int64)}, "is int64"),
        (arrays | {first: np.array([object()])}, "is not one of plain arrays .ValueError"),
    ):
        with pytest.raises(NetworkError, match=message):
            unpack(*_changed(packed, _npz(changed)), "net")


@pytest.mark.parametrize("npz", [b"", b"PK\x03\x04abc", pickle.dumps([1]), b"\x93NUMPY\x01\x00"])
def test_no_npz(packed, npz):
    with pytest.raises(NetworkError, match="is not one of plain arrays"):
        unpack(*_changed(packed, npz), "net")


def test_missing_files(packed, tmp_path):
    with pytest.raises(NetworkError, match=r"cannot read .*a.npz: No such file.*NAME.npz and NAME.json"):
        read_files(tmp_path / "a")
    (tmp_path / "a.npz").write_bytes(packed[2])
    with pytest.raises(NetworkError, match="cannot read .*a.json"):
        read_files(tmp_path / "a.npz")
    with pytest.raises(NetworkError, match="cannot read"):
        read_files(tmp_path)


def test_where_nothing_can_be_written(packed, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        write_files(tmp_path / "file" / "a", packed[2], packed[3])
