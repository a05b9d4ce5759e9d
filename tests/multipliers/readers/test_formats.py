import numpy as np
import pytest

from dse.errors import MultiplierError
from dse.multipliers.multiplier import exact_table
from dse.multipliers.readers import formats


def test_unknown_suffix_of_the_right_size_is_read_as_bin(tmp_path):
    path = tmp_path / "table.lut"
    path.write_bytes(exact_table(False).astype("<u2").tobytes())
    assert formats.read(path)[0].is_exact


def test_unknown_suffix_of_another_size(tmp_path):
    path = tmp_path / "table.lut"
    path.write_bytes(b"12345")
    with pytest.raises(MultiplierError, match=r"suffix '.lut' has no reader: expected one of .bin"):
        formats.read(path)


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(MultiplierError, match="does not exist"):
        formats.read(tmp_path / "none.bin")
    with pytest.raises(MultiplierError, match="is not a file"):
        formats.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "is_signed", "lowest", "expected"),
    [
        ("mul8s_X", False, 0, True),
        ("mul8u_X", True, -1, False),
        ("mul8x8s_X", None, 0, True),
        ("other", True, 0, True),
        ("other", False, -1, False),
        ("other", None, -1, True),
        ("other", None, 0, False),
    ],
)
def test_sign_rule(name, is_signed, lowest, expected):
    assert formats.resolve_sign(name, is_signed=is_signed, table=np.array([lowest, 5])) is expected


def test_natural_order():
    bytes_of = np.arange(256)
    table = np.broadcast_to(np.where(bytes_of < 128, bytes_of, bytes_of - 256), (256, 256))
    assert formats.natural_order(table)[0].tolist() == list(range(-128, 128))
