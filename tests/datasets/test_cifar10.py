import logging
import pickle
import shutil

import numpy as np
import pytest

from dse.datasets import load_splits, read_dataset
from dse.datasets.cifar10 import read_cifar10
from dse.errors import DataError


def _records(n, seed=0):
    records = np.random.default_rng(seed).integers(0, 256, (n, 3073), dtype=np.uint8)
    records[:, 0] = np.arange(n) % 10
    return records


@pytest.fixture
def binary_folder(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for k, name in enumerate(["data_batch_1", "data_batch_3", "test_batch"]):
        _records(40, k).tofile(folder / f"{name}.bin")
    return folder


def _write_python(folder, name, records, *, bytes_keys=False):
    batch = {"data": records[:, 1:].copy(), "labels": records[:, 0].tolist(), "batch_label": name, "filenames": ["x"]}
    if bytes_keys:
        batch = {key.encode(): value for key, value in batch.items()}
    (folder / name).write_bytes(pickle.dumps(batch, protocol=2))


def test_binary(binary_folder, caplog):
    caplog.set_level(logging.INFO, logger="dse")
    dataset = read_cifar10(binary_folder)
    assert dataset.found == ("data_batch_1.bin", "data_batch_3.bin", "test_batch.bin")
    assert "data_batch_2.bin" in caplog.text
    assert (dataset.train.images.n_images, dataset.test.images.n_images) == (80, 40)
    np.testing.assert_array_equal(
        dataset.train.images.read(np.array([41, 0])).reshape(2, -1), [_records(40, 1)[1, 1:], _records(40, 0)[0, 1:]]
    )
    np.testing.assert_array_equal(dataset.test.labels, np.arange(40) % 10)


@pytest.mark.parametrize("bytes_keys", [False, True])
def test_python_format_equals_binary(binary_folder, tmp_path, bytes_keys):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for k, name in enumerate(["data_batch_1", "data_batch_3", "test_batch"]):
        _write_python(folder, name, _records(40, k), bytes_keys=bytes_keys)
    one, other = read_cifar10(folder), read_cifar10(binary_folder)
    for a, b in ((one.train, other.train), (one.test, other.test)):
        everything = np.arange(a.images.n_images)
        np.testing.assert_array_equal(a.images.read(everything), b.images.read(everything))
        np.testing.assert_array_equal(a.labels, b.labels)


# What cPickle of Python 2 wrote for numpy.arange(3072, dtype=uint8)[None] in a dictionary, shortened to its opcodes:
# old module name numpy.core.multiarray, pixels as a byte string.
def _python2_pickle(pixels, label):
    def text(value):
        return b"U" + bytes([len(value)]) + value

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b") + b"tR("
        b"K\x01(K\x01M\x00\x0ctcnumpy\ndtype\n(" + text(b"u1") + b"K\x00K\x01tR(K\x03" + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T" + len(pixels).to_bytes(4, "little") + pixels + b"tb"
    )  # fmt: skip
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + b"]K" + bytes([label]) + b"au."


def test_pickle_of_python_2(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, 3072, dtype=np.uint8)
    (tmp_path / "test_batch").write_bytes(_python2_pickle(pixels.tobytes(), 7))
    test = read_cifar10(tmp_path).test
    np.testing.assert_array_equal(test.images.read(np.array([0])).ravel(), pixels)
    assert test.labels.tolist() == [7]


class _Evil:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('evil').touch()",))


def test_pickles_cannot_run_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test_batch").write_bytes(pickle.dumps({"data": _Evil(), "labels": []}, protocol=2))
    with pytest.raises(DataError, match="asks for .*exec"):
        read_cifar10(tmp_path)
    assert not (tmp_path / "evil").exists()


def test_arrays_in_pickles_are_checked_and_nothing_of_numpy_is_built(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, 3072, dtype=np.uint8).tobytes()
    whole = _python2_pickle(pixels, 7)
    for damaged, told in (
        (whole.replace(b"K\x01M\x00\x0ct", b"K\x02M\x00\x0ct"), r"shape \[2, 3072\] with 3072 bytes"),
        (whole.replace(b"U\x02u1", b"U\x02O8"), "type 'O8': expected uint8"),
        (whole.replace(b"K\x01(K\x01M", b"K\x01(NM"), "cannot be read"),
    ):
        (tmp_path / "test_batch").write_bytes(damaged)
        with pytest.raises(DataError, match=told):
            read_cifar10(tmp_path)
    for names in ("numpy ndarray", "numpy.core.multiarray scalar", "_codecs decode", "builtins getattr"):
        module, name = names.split()
        content = f"c{module}\n{name}\n)R.".encode()
        (tmp_path / "test_batch").write_bytes(content)
        with pytest.raises(DataError, match="is no batch|cannot be read|holds a"):
            read_cifar10(tmp_path)


def test_rows_of_fortran_arrays(tmp_path):
    pixels = np.asfortranarray(np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8))
    (tmp_path / "test_batch").write_bytes(pickle.dumps({"data": pixels, "labels": [0, 1, 2, 3]}, protocol=2))
    test = read_cifar10(tmp_path).test
    np.testing.assert_array_equal(test.images.read(np.arange(4)).reshape(4, -1), pixels)


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", pickle.dumps([1]), pickle.dumps({"labels": [1]}), _python2_pickle(b"x" * 3072, 7)[:-500]],
)
def test_bad_python_batches(tmp_path, content):
    (tmp_path / "test_batch").write_bytes(content)
    with pytest.raises(DataError, match="test_batch"):
        read_cifar10(tmp_path)


@pytest.mark.parametrize("n_bytes", [0, 3072, 40 * 3073 - 1])
def test_truncated_binary(binary_folder, n_bytes):
    file = binary_folder / "data_batch_3.bin"
    file.write_bytes(file.read_bytes()[:n_bytes])
    with pytest.raises(DataError, match=r"data_batch_3\.bin has .* truncated"):
        read_cifar10(binary_folder)


def test_label_out_of_range(binary_folder):
    records = _records(3)
    records[1, 0] = 10
    records.tofile(binary_folder / "test_batch.bin")
    with pytest.raises(DataError, match="label outside 0..9"):
        read_cifar10(binary_folder)


def test_missing_test_batch(binary_folder):
    (binary_folder / "test_batch.bin").unlink()
    with pytest.raises(DataError, match=r"no test_batch\.bin"):
        read_cifar10(binary_folder)


def test_without_training_batches_the_test_images_are_cut_in_three(binary_folder, tmp_path):
    folder = tmp_path / "only_test"
    folder.mkdir()
    shutil.copy(binary_folder / "test_batch.bin", folder)
    splits = load_splits("cifar10", data_dir=folder)
    assert splits.calibration.part == "test"
    assert splits.calibration.n_images + splits.search.n_images + splits.report.n_images == 40


def test_real_files(shared_data):
    dataset = read_dataset("cifar10", data_dir=shared_data / "cifar10")
    assert dataset.class_names[3] == "cat"
    splits = load_splits("cifar10", data_dir=shared_data)
    assert set(np.bincount(splits.search.labels)) == set(np.bincount(splits.report.labels)) == {500}
    assert not set(splits.search.indices) & set(splits.report.indices)
