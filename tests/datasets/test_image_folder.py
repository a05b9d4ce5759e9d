import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from dse.datasets import load_splits
from dse.datasets.image_folder import read_image_folder, read_tiny_imagenet
from dse.datasets.image_trees import TarTree
from dse.errors import DataError


def _pixels(seed, size=8):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def _write(file, pixels):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


@pytest.fixture
def folder(tmp_path):
    """Tiny ImageNet's layout with two classes, one grey image."""
    root = tmp_path / "tiny"
    for c, wnid in enumerate(["n02", "n01"]):
        for k in range(4):
            _write(root / "train" / wnid / "images" / f"{wnid}_{k}.png", _pixels(10 * c + k))
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
    for k in range(4):
        _write(root / "val" / "images" / f"val_{k}.png", _pixels(100 + k) if k else _pixels(100)[..., 0])
    rows = [f"val_{k}.png\t{'n01' if k % 2 else 'n02'}\t0\t0\t7\t7" for k in range(4)]
    (root / "val" / "val_annotations.txt").write_text("\n".join(rows) + "\n")
    (root / "wnids.txt").write_text("n02\nn01\n")
    return root


def _pack(folder, archive, mode="w"):
    with tarfile.open(archive, mode) as tar:
        tar.add(folder, arcname=folder.name)
    return archive


def _all(part):
    return part.images.read(np.arange(part.images.n_images)), part.labels


def test_tiny_imagenet_layout(folder):
    dataset = read_tiny_imagenet(folder)
    images, labels = _all(dataset.test)
    assert dataset.class_names == ("n02", "n01")
    assert labels.tolist() == [0, 1, 0, 1]
    np.testing.assert_array_equal(images[0], np.stack([_pixels(100)[..., 0]] * 3))
    np.testing.assert_array_equal(images[3], _pixels(103).transpose(2, 0, 1))
    assert (dataset.train.images.n_images, dataset.train.images.shape) == (8, (3, 8, 8))


@pytest.mark.parametrize(("suffix", "mode"), [(".tar", "w"), (".tar.gz", "w:gz")])
def test_archive_equals_folder(folder, tmp_path, suffix, mode):
    archive = _pack(folder, tmp_path / f"tiny{suffix}", mode)
    one, other = read_tiny_imagenet(archive), read_tiny_imagenet(folder)
    for a, b in ((one.test, other.test), (one.train, other.train)):
        for x, y in zip(_all(a), _all(b), strict=True):
            np.testing.assert_array_equal(x, y)
    backwards = np.array([3, 1, 2])
    np.testing.assert_array_equal(one.test.images.read(backwards), other.test.images.read(backwards))
    assert not (tmp_path / "val").exists()


def test_archive_in_a_folder(folder, tmp_path):
    (tmp_path / "data").mkdir()
    _pack(folder, tmp_path / "data" / "tiny.tar")
    assert load_splits("tinyimagenet", data_dir=tmp_path / "data").search.n_images == 2


def test_class_folders(tmp_path):
    for c, name in enumerate(["cat", "train"]):  # a class may be called so
        for k in range(3):
            _write(tmp_path / name / f"{k}.png", _pixels(10 * c + k))
    dataset = read_image_folder(tmp_path)
    assert (dataset.class_names, dataset.train, dataset.test.labels.tolist()) == (
        ("cat", "train"),
        None,
        [0, 0, 0, 1, 1, 1],
    )


def test_class_folders_in_two_parts(tmp_path):
    for part, n in (("train", 3), ("test", 2)):
        for name in ("cat", "dog"):
            for k in range(n):
                _write(tmp_path / part / name / f"{k}.png", _pixels(k))
    dataset = read_image_folder(tmp_path)
    assert (dataset.train.images.n_images, dataset.test.images.n_images, dataset.n_classes) == (6, 4, 2)


def test_other_sizes_and_broken_files(tmp_path):
    _write(tmp_path / "cat" / "0.png", _pixels(0))
    _write(tmp_path / "cat" / "1.png", _pixels(1, size=9))
    (tmp_path / "cat" / "2.png").write_bytes(b"no image")
    _write(tmp_path / "cat" / "3.png", _pixels(3, size=8))
    content = (tmp_path / "cat" / "3.png").read_bytes()
    (tmp_path / "cat" / "3.png").write_bytes(content[: len(content) // 2])
    images = read_image_folder(tmp_path).test.images
    for k, message in ((1, "9x9 pixels.*resize"), (2, "not a readable image"), (3, "cannot be decoded")):
        with pytest.raises(DataError, match=message):
            images.read(np.array([k]))


@pytest.mark.parametrize("missing", ["wnids.txt", "val/val_annotations.txt"])
def test_incomplete_tiny_imagenet(folder, tmp_path, missing):
    (folder / missing).unlink()
    with pytest.raises(DataError, match=f"no {missing}"):
        read_tiny_imagenet(_pack(folder, tmp_path / "tiny.tar"))


def test_unknown_class_in_annotations(folder):
    (folder / "val" / "val_annotations.txt").write_text("val_0.png\tn99\n")
    with pytest.raises(DataError, match="n99"):
        read_tiny_imagenet(folder)


def test_empty_folder(tmp_path):
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match="no images in class folders"):
        read_image_folder(tmp_path)


def _add(tar, name, content=b"x", **fields):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in fields.items():
        setattr(member, key, value)
    tar.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("name", ["../evil.png", "cat/../../evil.png", "/evil.png"])
def test_members_that_lead_outside(tmp_path, name):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        _add(tar, name)
    with pytest.raises(DataError, match="leads outside"):
        TarTree(tmp_path / "x.tar")


def test_links_are_left_out(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        _add(tar, "top/cat/1.png")
        _add(tar, "top/dog/2.png", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
    assert TarTree(tmp_path / "x.tar").names == ["cat/1.png"]


def test_truncated_archive(folder, tmp_path):
    archive = _pack(folder, tmp_path / "tiny.tar.gz", "w:gz")
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(DataError, match="cannot be read"):
        TarTree(archive)


def test_real_archive(shared_data):
    splits = load_splits("tinyimagenet", data_dir=shared_data, n_calibration=64, n_search=200, n_report=200)
    assert splits.search.shape == (3, 64, 64)
    assert set(np.bincount(splits.search.labels, minlength=200)) == {1}
