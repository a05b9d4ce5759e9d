import numpy as np
import pytest

from dse.errors import MultiplierError
from dse.multipliers.library import load_library
from dse.multipliers.multiplier import exact_table
from dse.multipliers.readers import tf_approximate


def test_row_is_the_high_byte(tmp_path):
    path = tmp_path / "mul8u_rows.bin"
    a, b = np.meshgrid(np.arange(256), np.arange(256), indexing="ij")
    entries = np.zeros(65536, "<u2")
    entries[(a << 8 | b).ravel()] = (a * 200 + b).ravel()
    path.write_bytes(entries.tobytes())
    m = tf_approximate.read(path)
    assert m.name == "mul8u_rows"
    assert m.table[3, 4] == 604
    assert m.table[255, 255] == 51255  # above the range of int16
    assert m.cost is None


def test_signed_bytes(tmp_path):
    path = tmp_path / "mul8s_exact.bin"
    codes = np.arange(256).astype(np.uint8).view(np.int8).astype(np.int16)
    path.write_bytes(np.multiply.outer(codes, codes).astype("<i2").tobytes())
    assert tf_approximate.read(path).is_exact
    renamed = tmp_path / "other.bin"
    path.rename(renamed)
    assert tf_approximate.read(renamed, is_signed=True).is_exact
    assert not tf_approximate.read(renamed).is_signed


@pytest.mark.parametrize(("size", "state"), [(131070, "truncated"), (0, "truncated"), (131074, "too long")])
def test_wrong_size(tmp_path, size, state):
    path = tmp_path / "m.bin"
    path.write_bytes(bytes(size))
    with pytest.raises(MultiplierError, match=rf"has {size} bytes \({state}\): expected 131072"):
        tf_approximate.read(path)


def test_real_file(shared_data):
    tables = shared_data / "evoapprox" / "tables"
    assert (load_library(tables / "mul8u_1JFF.bin")[0].table == exact_table(False)).all()
    assert (load_library(tables / "mul8s_1KV8.bin")[0].table == exact_table(True)).all()
    assert load_library(tables / "mul8u_2AC.bin")[0].table[0, 0] == 32
