"""Files of compressed networks: lossless, and never wrong numbers from damaged ones."""

import io
import json

import numpy as np
import pytest

from dse.errors import NetworkError, RunError
from dse.networks.convert import quantize_network
from dse.quantization.affine import scheme_for
from dse.sparse import storage
from dse.sparse.matrices import compress, restore
from dse.sparse.storage import load_compressed, save_compressed
from dse.testing.tiny import tiny_network, tiny_split


@pytest.fixture(scope="module")
def network():
    return quantize_network(tiny_network(), tiny_split(), scheme=scheme_for(True))


@pytest.fixture
def path(network, tmp_path):
    return save_compressed(tmp_path / "net.npz", compress(network))


def test_lossless(network, path):
    assert restore(network, load_compressed(path)).fingerprint() == network.fingerprint()


def test_equal_networks_give_equal_files(network, path):
    other = save_compressed(path.parent / "other", compress(network))
    assert other.name == "other.npz"
    assert other.read_bytes() == path.read_bytes()


def test_no_layers(tmp_path):
    assert load_compressed(save_compressed(tmp_path / "none", [])) == ()


def test_truncated_anywhere(path):
    data = path.read_bytes()
    for size in [0, 1, 30, *range(100, len(data), 211), len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(NetworkError, match="net.npz"):
            load_compressed(path)


def test_damaged_anywhere(network, path):
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    messages = []
    for _ in range(300):
        position, bit = rng.integers(len(data)), 1 << rng.integers(8)
        data[position] ^= bit
        path.write_bytes(data)
        try:  # a bit of the archive that nobody reads, such as a date, does no harm
            assert restore(network, load_compressed(path)).fingerprint() == network.fingerprint()
        except NetworkError as error:
            messages.append(str(error))
        data[position] ^= bit
    assert len(messages) > 150
    assert all("net.npz" in message for message in messages)


def rewritten(path, change):
    """The file with arrays changed and the checksum made right: what only a program would do."""
    with np.load(path) as file:
        arrays = dict(file)
    header = json.loads(arrays["header"].tobytes())
    change(header, arrays)
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    del arrays["sha256"]
    buffer = io.BytesIO()
    np.savez(buffer, sha256=np.frombuffer(storage._digest(arrays), np.uint8), **arrays)
    path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header, arrays: header.update(version=2), "version 2"),
        (lambda header, arrays: header.update(schema="other"), "not a compressed network"),
        (lambda header, arrays: header["layers"][0].update(weight_shape=[6, 2, 9]), "four axes"),
        (lambda header, arrays: header["layers"][0].update(weight_shape=[6, 1, 3, 3]), "damaged"),
        (lambda header, arrays: header["layers"][0].update(w_dtype="int64"), "codes int64"),
        (lambda header, arrays: header["layers"][0]["lengths"].update(values=1), "not as its header says"),
        (lambda header, arrays: header["layers"][0].pop("lengths"), "cannot be used"),
        (lambda header, arrays: header.update(layers=3), "cannot be used"),
        (lambda header, arrays: arrays.update(values=arrays["values"].astype(float)), "not as its header says"),
        (lambda header, arrays: arrays["group_minimums"].fill(127), "damaged"),
    ],
)
def test_contradictions(path, change, message):
    rewritten(path, change)
    with pytest.raises(NetworkError, match=message):
        load_compressed(path)


def test_other_files(tmp_path):
    with pytest.raises(NetworkError, match="cannot read"):
        load_compressed(tmp_path / "missing.npz")
    np.savez(tmp_path / "other.npz", weight=np.zeros(3))
    with pytest.raises(NetworkError, match="not a compressed network"):
        load_compressed(tmp_path / "other.npz")
    np.savez(tmp_path / "pickle.npz", weight=np.array([{}], dtype=object))
    with pytest.raises(NetworkError, match="plain arrays"):
        load_compressed(tmp_path / "pickle.npz")


def test_a_folder_that_cannot_be_written(network, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        save_compressed(tmp_path / "file" / "net", compress(network))
