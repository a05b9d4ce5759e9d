"""Image folders: one folder per class, as directory or tar archive; and Tiny ImageNet's standard layout.

    CLASS/**/*.png                              one part, classes in alphabetical order
    train/CLASS/**/*.png  val|test/CLASS/**     two parts
    wnids.txt  train/WNID/images/*.JPEG  val/images/*.JPEG  val/val_annotations.txt      Tiny ImageNet

Tiny ImageNet: Y. Le and X. Yang, Stanford CS231N, 2015; classes in the order of wnids.txt, validation images as test
part. Files are decoded when a split picks them. Grey, palette and CMYK images become RGB; all must have one size.
"""

import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from dse.datasets.dataset import Dataset, Part
from dse.datasets.image_trees import Tree, is_tar, open_tree
from dse.errors import DataError

_SUFFIXES = {".jpeg", ".jpg", ".png", ".bmp", ".ppm", ".pgm"}
_FORMATS = ("JPEG", "PNG", "BMP", "PPM")


class ImageFiles:
    """Images in files, decoded on demand to RGB: uint8 [n, 3, H, W]."""

    def __init__(self, tree: Tree, names: Sequence[str]):
        """Take the file names, at least one; the first one's size is the size of all."""
        self._tree, self._names = tree, tuple(names)
        self.n_images = len(self._names)
        (_, content), *_ = tree.read(self._names[:1])
        with _open(content, f"{tree.where}: {self._names[0]}") as image:
            self.shape = (3, image.height, image.width)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Images at `indices`, decoded: uint8 [n, 3, H, W]."""
        images = np.empty((len(indices), *self.shape), dtype=np.uint8)
        for k, content in self._tree.read([self._names[i] for i in indices]):
            images[k] = self._decode(content, self._names[indices[k]])
        return images

    def _decode(self, content: bytes, name: str) -> np.ndarray:
        where = f"{self._tree.where}: {name}"
        with _open(content, where) as image:
            if (image.height, image.width) != self.shape[1:]:
                raise DataError(
                    f"{where} is {image.width}x{image.height} pixels, {self._names[0]} is "
                    f"{self.shape[2]}x{self.shape[1]}; expected one size: resize the images first"
                )
            try:
                return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
            except (OSError, SyntaxError, ValueError) as failure:
                raise DataError(f"{where} cannot be decoded ({failure}); it may be truncated") from failure


def is_image_place(path: Path) -> bool:
    """Whether the path is a tar archive, or a folder that has folders."""
    return is_tar(path) or (path.is_dir() and any(child.is_dir() for child in path.iterdir()))


def is_tiny_imagenet_place(path: Path) -> bool:
    """Whether the path is a tar archive, a folder with `wnids.txt`, or a folder with one tar archive."""
    return is_tar(path) or (path / "wnids.txt").is_file() or len(_archives(path)) == 1


def read_tiny_imagenet(path: Path) -> Dataset:
    """Tiny ImageNet from its folder, its archive, or a folder with the archive."""
    if path.is_dir() and not (path / "wnids.txt").is_file():
        path = _archives(path)[0]
    tree = open_tree(path)
    if "wnids.txt" not in tree.names:
        raise DataError(f"{path} has no wnids.txt: expected Tiny ImageNet; for class folders use 'image_folder'")
    return _tiny_imagenet(tree)


def read_image_folder(path: Path) -> Dataset:
    """Class folders, or any layout above, from a folder or an archive."""
    tree = open_tree(path)
    if "wnids.txt" in tree.names:
        return _tiny_imagenet(tree)
    files = _pictures(tree)
    by_part = {kind: _below(kind, files) for kind in ("train", "val", "test")}
    kinds = [kind for kind in by_part if by_part[kind]][:2] or [""]  # a second part is the test part
    if kinds == [""]:
        by_part[""] = [file for file in files if len(file.parts) > 1]
    class_names = sorted({file.parts[0] for kind in kinds for file in by_part[kind]})
    if not class_names:
        raise DataError(f"{path} has no images in class folders: expected CLASS/*.png (or .jpeg, .bmp, .ppm)")
    parts = [_class_folders(tree, by_part[kind], kind, class_names) for kind in kinds]
    return _dataset("image_folder", tree, parts[0] if len(parts) == 2 else None, parts[-1], class_names)


def _below(kind: str, files: list[PurePosixPath]) -> list[PurePosixPath]:
    """Files in class folders below the folder `kind`, relative to it (a class named `train` has its files directly)."""
    below = [file.relative_to(kind) for file in files if file.parts[0] == kind]
    return [file for file in below if len(file.parts) > 1]


def _class_folders(tree: Tree, files: list[PurePosixPath], kind: str, class_names: Sequence[str]) -> Part:
    index = {name: k for k, name in enumerate(class_names)}
    return _part(
        tree, [((PurePosixPath(kind) / f).as_posix(), index[f.parts[0]]) for f in files if f.parts[0] in index]
    )


def _tiny_imagenet(tree: Tree) -> Dataset:
    class_names = _read_text(tree, "wnids.txt").split()
    index = {name: k for k, name in enumerate(class_names)}
    rows = [line.split("\t") for line in _read_text(tree, "val/val_annotations.txt").splitlines() if line.strip()]
    bad = next((row for row in rows if len(row) < 2 or row[1] not in index), None)
    if bad is not None:
        raise DataError(f"{tree.where}: val_annotations.txt has a row {bad[:2]}; expected FILE, WNID, ...")
    present = set(tree.names)
    val = sorted((f"val/images/{row[0]}", index[row[1]]) for row in rows if f"val/images/{row[0]}" in present)
    if not val:
        raise DataError(f"{tree.where} has no images in val/images: expected those of val_annotations.txt")
    train_files = _below("train", _pictures(tree))
    train = _class_folders(tree, train_files, "train", class_names) if train_files else None
    return _dataset("tinyimagenet", tree, train, _part(tree, val), class_names)


def _pictures(tree: Tree) -> list[PurePosixPath]:
    return [PurePosixPath(name) for name in tree.names if PurePosixPath(name).suffix.lower() in _SUFFIXES]


def _read_text(tree: Tree, name: str) -> str:
    if name not in tree.names:
        raise DataError(f"{tree.where} has no {name}: expected Tiny ImageNet's standard layout")
    ((_, content),) = tree.read([name])
    return content.decode("utf-8", errors="replace")


def _part(tree: Tree, labeled: list[tuple[str, int]]) -> Part:
    names = [name for name, _ in labeled]
    return Part(ImageFiles(tree, names), np.array([label for _, label in labeled], dtype=np.int64))


def _dataset(name: str, tree: Tree, train: Part | None, test: Part, class_names: Sequence[str]) -> Dataset:
    return Dataset(
        name=name,
        train=train,
        test=test,
        n_classes=len(class_names),
        class_names=tuple(class_names),
        found=(tree.where,),
    )


def _open(content: bytes, where: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=_FORMATS)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as failure:
        raise DataError(f"{where} is not a readable image: expected {', '.join(_FORMATS)}") from failure


def _archives(path: Path) -> list[Path]:
    return [child for child in sorted(path.iterdir()) if is_tar(child)] if path.is_dir() else []
