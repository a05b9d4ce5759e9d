"""Training images at random: mirrored, and shifted by up to an eighth of their size over a black border."""

import numpy as np

SHIFT = 8
"""The largest shift is the image's size over this: 4 pixels of 32, as is customary for CIFAR-10."""


def augment(images: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Images changed at random, each on its own.

    Args:
        images: as stored, `[n, C, H, W]`; not changed.
        kind: "none", "flip" (left and right), "crop" (shifts, zeros beyond the edge), or "crop-flip".
        rng: decides.

    Returns:
        Type and shape of `images`.
    """
    if "crop" in kind:
        images = _shifted(images, rng)
    if "flip" in kind:
        is_mirrored = rng.random(len(images)) < 0.5
        images = np.where(is_mirrored[:, None, None, None], images[..., ::-1], images)
    return images


def _shifted(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    n, channels, height, width = images.shape
    border = (height // SHIFT, width // SHIFT)
    padded = np.pad(images, ((0, 0), (0, 0), (border[0],) * 2, (border[1],) * 2))
    top = rng.integers(0, 2 * border[0] + 1, n)[:, None] + np.arange(height)
    left = rng.integers(0, 2 * border[1] + 1, n)[:, None] + np.arange(width)
    image, channel = np.arange(n)[:, None, None, None], np.arange(channels)[None, :, None, None]
    return padded[image, channel, top[:, None, :, None], left[:, None, None, :]]
