"""Preprocessing: from stored pixels to what a network was trained on, one affine map per channel.

    u = v / 255 for uint8 images,  u = v for float images (taken as already scaled);   x = (u - mean) / std

`unit` is x = u, `raw` is x = 255 u (0..255), `centered` is x = (255 u - 128) / 128, `imagenet` has the channel means
and deviations of ImageNet, which the CIFAR ResNets use too. Everything else is spelled `mean=M,M,M;std=S,S,S`.
"""

from dataclasses import dataclass

import numpy as np
import torch

from dse.errors import DataError, unknown_name

_NAMED = {
    "unit": ((0.0,), (1.0,)),
    "raw": ((0.0,), (1 / 255,)),
    "centered": ((128 / 255,), (128 / 255,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


def preprocessing_names() -> list[str]:
    """Names that `Preprocessing.parse` knows, besides the `mean=..;std=..` text."""
    return sorted(_NAMED)


@dataclass(frozen=True)
class Preprocessing:
    """An affine map per channel: `(u - mean) / std`.

    Attributes:
        text: the name or text it was made from; written to manifests and hashed into fingerprints.
        mean: one value per channel, or a single one for all; in units of u.
        std: likewise, positive.
    """

    text: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def parse(cls, text: str) -> "Preprocessing":
        """Preprocessing of a name (`unit`, `raw`, `centered`, `imagenet`) or of a `mean=..;std=..` text.

        >>> Preprocessing.parse("mean=0.5;std=0.25,0.25,0.5").std
        (0.25, 0.25, 0.5)
        """
        name = text.strip()
        if name in _NAMED:
            return cls(name, *_NAMED[name])
        if "=" not in name:
            raise DataError(unknown_name("preprocessing", name, _NAMED) + ", or text like 'mean=0.5;std=0.25'")
        values = {"mean": (0.0,), "std": (1.0,)}
        for item in filter(None, (item.strip() for item in name.split(";"))):
            key, _, numbers = item.partition("=")
            if key.strip() not in values:
                raise DataError(unknown_name("part of the preprocessing", key.strip(), values))
            values[key.strip()] = _parse_numbers(numbers, name)
        if min(values["std"]) <= 0:
            raise DataError(f"preprocessing {name!r} has a std <= 0: expected positive values")
        return cls(name, values["mean"], values["std"])

    def apply(self, images: np.ndarray) -> torch.Tensor:
        """Network input for stored images.

        Args:
            images: uint8 in 0..255 or float32 taken as unit range, shape [n, C, H, W]; not changed.

        Returns:
            float32 [n, C, H, W], freshly allocated.
        """
        self.check_channels(images.shape[1])
        per_unit = 1 / 255 if images.dtype == np.uint8 else 1.0
        mean = torch.tensor(self.mean, dtype=torch.float64)
        std = torch.tensor(self.std, dtype=torch.float64)
        # one multiplication and one addition in float32, with constants rounded once from float64
        factor = (per_unit / std).to(torch.float32).view(1, -1, 1, 1)
        offset = (mean / std).to(torch.float32).view(1, -1, 1, 1)
        x = torch.from_numpy(np.array(images, dtype=np.float32, order="C"))
        return x.mul_(factor).sub_(offset)

    def check_channels(self, n_channels: int) -> None:
        """Raise `DataError` unless the map has one value, or one per channel."""
        expected = "1" if n_channels == 1 else f"1 or {n_channels}"
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, n_channels):
                raise DataError(
                    f"preprocessing {self.text!r} has {len(values)} {name} values but the images have {n_channels} "
                    f"channels: expected {expected}; choose another, such as 'unit'"
                )


def _parse_numbers(text: str, whole: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(number) for number in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not np.isfinite(numbers).all():
        raise DataError(f"preprocessing {whole!r} is unreadable at {text!r}: expected numbers, as 'mean=0.5;std=0.25'")
    return numbers
