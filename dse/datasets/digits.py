"""scikit-learn's digits: 1797 grey images of 8x8 pixels, the embedded default.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
The data comes as one part. Every second image of each class is in the training part (`digits_cnn` was trained on it and
on nothing else); the others are the test part. No random numbers are used, so that no release of NumPy moves the cut.
"""

import numpy as np

from dse.datasets.dataset import ArraySource, Dataset, Part


def read_digits() -> Dataset:
    """Digits with pixels 0..16 divided by 16: float32 [n, 1, 8, 8] in [0, 1]."""
    from sklearn.datasets import load_digits  # takes a second to import, and only this reader needs it

    pixels, labels = load_digits(return_X_y=True)
    images = (pixels.reshape(-1, 1, 8, 8) / 16).astype(np.float32)
    labels = labels.astype(np.int64)
    rank = np.empty_like(labels)  # of an image within its class
    for c in range(10):
        rank[labels == c] = np.arange((labels == c).sum())
    is_train = (rank + labels) % 2 == 0
    return Dataset(
        name="digits",
        train=Part(ArraySource([images[is_train]]), labels[is_train]),
        test=Part(ArraySource([images[~is_train]]), labels[~is_train]),
        n_classes=10,
        class_names=tuple("0123456789"),
        found=("sklearn.datasets.load_digits",),
    )
