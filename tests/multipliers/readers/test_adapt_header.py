import logging

import numpy as np
import pytest

from dse.errors import MultiplierError
from dse.multipliers.library import load_library
from dse.multipliers.readers import adapt_header


def _header(table, declaration="const int16_t lut [256][256]"):
    rows = ",\n".join("{" + ", ".join(str(x) for x in row) + "}" for row in table.tolist())
    return f"#include <stdint.h>\n\n{declaration} = {{{rows}}};\n"


def _signed_bytes():
    return np.arange(256).astype(np.uint8).view(np.int8).astype(np.int64)


def _write(tmp_path, text, name="mul.h"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_signed_header_is_indexed_by_bytes(tmp_path, caplog):
    codes = _signed_bytes()
    text = _header(np.multiply.outer(codes, codes) + codes[:, None])
    with caplog.at_level(logging.WARNING, logger="dse"):
        m = adapt_header.read(_write(tmp_path, text))
    assert m.name == "mul"
    assert m.is_signed
    assert m.table[128 + 5, 128 - 3] == -15 + 5  # the first index is the row
    assert not caplog.records


def test_unsigned_element_type(tmp_path):
    table = np.multiply.outer(np.arange(256), np.arange(256))
    m = load_library(_write(tmp_path, _header(table, "static const uint16_t products[256][256]")))[0]
    assert not m.is_signed
    assert m.is_exact


def test_comments_and_flat_initializers(tmp_path):
    codes = _signed_bytes()
    flat = ",".join(str(x) for x in np.multiply.outer(codes, codes).ravel())
    text = f"/* lut[256][256] = {{1}}; */\nconst int16_t lut[256][256] = {{ // row 0\n{flat}}};"
    assert adapt_header.read(_write(tmp_path, text)).is_exact


def test_mirrored_negative_quadrant_is_logged(tmp_path, caplog):
    codes = _signed_bytes()
    table = np.multiply.outer(codes & ~3, codes & ~3)
    table[129:, 129:] = table[1:128, 1:128][::-1, ::-1]
    with caplog.at_level(logging.WARNING, logger="dse"):
        adapt_header.read(_write(tmp_path, _header(table)))
    assert "not odd-symmetric" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("int x;", "holds no 256 x 256 array"),
        (_header(np.zeros((256, 255), int)), "255 numbers in row 0"),
        (_header(np.zeros((255, 256), int)), "255 rows"),
        (_header(np.zeros((256, 256), int))[:-9], "holds no 256 x 256 array"),
        (_header(np.zeros((2, 2), int)).replace("0}", "SIZE}"), "more than integers"),
        (_header(np.zeros((256, 256), int)).replace("0}", f"{10**20}}}", 1), "beyond 64 bits"),
    ],
)
def test_bad_headers(tmp_path, text, message):
    with pytest.raises(MultiplierError, match=message):
        adapt_header.read(_write(tmp_path, text))


def test_the_fault_of_the_shipped_mul8s_1l2h_is_recognized(tmp_path, caplog, shared_data):
    # AdaPT's header repeats the positive quadrant: 12,414 of 16,384 entries are wrong, 254 of them at operand -128
    right = load_library(shared_data / "evoapprox")["mul8s_1L2H"].table
    wrong = np.array(right)
    wrong[1:128, 1:128] = right[129:, 129:][::-1, ::-1]
    assert (wrong != right).sum() == 12414 - 254
    for table, n_warnings in ((right, 0), (wrong, 1)):
        with caplog.at_level(logging.WARNING, logger="dse"):
            m = adapt_header.read(_write(tmp_path, _header(np.roll(table, 128, axis=(0, 1)))))
        assert (m.table == table).all()
        assert len(caplog.records) == n_warnings
