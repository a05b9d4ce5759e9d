import numpy as np
import pytest

from dse.errors import MultiplierError
from dse.multipliers.library import load_library
from dse.multipliers.multiplier import exact_table
from dse.multipliers.readers import plain


@pytest.mark.parametrize("is_signed", [False, True])
def test_npy_sign_from_negative_entries(tmp_path, is_signed):
    np.save(tmp_path / "m.npy", exact_table(is_signed).astype(np.float32))
    (m,) = plain.read_numpy(tmp_path / "m.npy")
    assert m.is_exact
    assert m.is_signed == is_signed
    assert m.cost is None


def test_npz_with_one_and_several_arrays(tmp_path):
    np.savez(tmp_path / "one.npz", exact_table(False))
    assert plain.read_numpy(tmp_path / "one.npz")[0].name == "one"
    np.savez_compressed(tmp_path / "two.npz", a=exact_table(False), mul8s_b=exact_table(True))
    assert [(m.name, m.is_signed) for m in plain.read_numpy(tmp_path / "two.npz")] == [("a", False), ("mul8s_b", True)]


def test_pickled_arrays_are_refused(tmp_path):
    np.save(tmp_path / "m.npy", np.array([{"code": "runs"}], dtype=object), allow_pickle=True)
    with pytest.raises(MultiplierError, match="not a readable NumPy file"):
        plain.read_numpy(tmp_path / "m.npy")


def test_damaged_numpy_files(tmp_path):
    np.save(tmp_path / "m.npy", exact_table(False))
    whole = (tmp_path / "m.npy").read_bytes()
    np.savez_compressed(tmp_path / "m.npz", exact_table(False))
    archive = (tmp_path / "m.npz").read_bytes()
    for name, content in {
        "short.npy": whole[:5000],
        "header.npy": whole[:20],
        "empty.npy": b"",
        "text.npy": b"1 2 3",
        "short.npz": archive[: len(archive) // 2],
        "flipped.npz": archive[:200] + bytes(200) + archive[400:],
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MultiplierError, match="not a readable NumPy file"):
            plain.read_numpy(tmp_path / name)


def test_archive_without_arrays(tmp_path):
    np.savez(tmp_path / "m.npz")
    with pytest.raises(MultiplierError, match="holds no array"):
        plain.read_numpy(tmp_path / "m.npz")


@pytest.mark.parametrize("delimiter", [",", " ", "\t", "; "])
@pytest.mark.parametrize("is_signed", [False, True])
def test_text(tmp_path, delimiter, is_signed):
    np.savetxt(tmp_path / "m.csv", exact_table(is_signed), fmt="%d", delimiter=delimiter, header="products")
    m = load_library(tmp_path / "m.csv")[0]
    assert m.is_exact
    assert m.is_signed == is_signed


def test_declared_sign(tmp_path):
    table = np.abs(exact_table(True))
    np.savetxt(tmp_path / "m.txt", table, fmt="%d")
    assert plain.read_text(tmp_path / "m.txt", is_signed=True).is_signed
    assert not plain.read_text(tmp_path / "m.txt").is_signed


def _lines(n_rows=256, n_columns=256):
    return [",".join(["1"] * n_columns) for _ in range(n_rows)]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (_lines(256, 255), "256 lines of 255 numbers: expected 256 lines of 256"),
        (_lines(255), "255 lines of 256 numbers"),
        (_lines(255) + _lines(1, 3), "256 lines of 3 to 256 numbers"),
        ([], "0 lines of 0 numbers"),
        (["a,b", *_lines()], "line 1: could not convert string to float: 'a'"),
        ([*_lines(255), ",".join(["1.5"] * 256)], r"entry \[255, 0\] is 1.5 \(256 such entries\)"),
        ([*_lines(255), ",".join(["nan"] * 256)], r"entry \[255, 0\] is nan"),
    ],
)
def test_bad_text(tmp_path, lines, message):
    (tmp_path / "m.csv").write_text("\n".join(lines))
    with pytest.raises(MultiplierError, match=message):
        plain.read_text(tmp_path / "m.csv")


def test_a_header_that_numpy_cannot_tokenize(tmp_path):
    np.save(tmp_path / "m.npy", exact_table(False))
    content = (tmp_path / "m.npy").read_bytes()
    (tmp_path / "m.npy").write_bytes(content.replace(b"'descr': '", b"'descr': \x83eg\xd7", 1))
    with pytest.raises(MultiplierError, match="not a readable NumPy file"):
        plain.read_numpy(tmp_path / "m.npy")


def test_binary_content_is_no_text(tmp_path):
    (tmp_path / "m.csv").write_bytes(bytes(range(128, 256)))
    with pytest.raises(MultiplierError, match="is not text"):
        plain.read_text(tmp_path / "m.csv")
