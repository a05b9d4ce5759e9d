"""scikit-learn's digits: 1797 grey images of 8x8 pixels, the embedded default.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
The data comes as one part. A fixed, class-balanced half of it is the training part (`digits_cnn` was trained on it and
on nothing else); the other half is the test part.
"""

import numpy as np

from dse.datasets.dataset import ArraySource, Dataset, Part
from dse.datasets.splits import balanced_halves

_TRAIN_TEST_SEED = 1998  # fixed for good: the embedded weights depend on it


def read_digits() -> Dataset:
    """Digits with pixels 0..16 divided by 16: float32 [n, 1, 8, 8] in [0, 1]."""
    from sklearn.datasets import load_digits  # takes a second to import, and only this reader needs it

    pixels, labels = load_digits(return_X_y=True)
    images = (pixels.reshape(-1, 1, 8, 8) / 16).astype(np.float32)
    labels = labels.astype(np.int64)
    train, test = (np.sort(half) for half in balanced_halves(labels, np.random.default_rng(_TRAIN_TEST_SEED)))
    return Dataset(
        name="digits",
        train=Part(ArraySource([images[train]]), labels[train]),
        test=Part(ArraySource([images[test]]), labels[test]),
        n_classes=10,
        class_names=tuple("0123456789"),
        found=("sklearn.datasets.load_digits",),
    )
