"""Settings of a tolerance search, and what it finds. No torch: searches and reports read these."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.errors import ConfigError, RunError

_FROZEN = {"steps": 120, "batch_size": 64, "learning_rate": 0.5}
_TRAINED = {"epochs": 3, "batch_size": 128, "learning_rate": 1e-3}


@dataclass(frozen=True)
class AgnSettings:
    """How tolerances are learned; `None` becomes the default of the variant.

    Attributes:
        coefficient: of the reward for noise, `lambda`, 0 or larger. Larger: more noise, less accuracy.
        sigma_init: start of every sigma, relative to the standard deviation of its layer's outputs.
        sigma_max: noise beyond this earns nothing.
        trains_weights: False, ours: weights stay and only sigmas learn, so they are the tolerances of the network as
            given. True, the paper's: both learn together (SGD, momentum 0.9).
        steps: gradient steps, frozen weights only (120).
        epochs: passes over the training images, trained weights only (3; published: 30, or 3 for large data). The
            learning rate falls to a tenth after each third.
        batch_size: images a step (64 frozen, 128 trained); at most as many as there are.
        learning_rate: frozen weights, part of the way to the fixed point that a step goes, on a log scale (0.5).
            Trained weights, of SGD for everything (1e-3, for a pretrained network; published: 0.1 and 5e-4).
        sigma_learning_rate: of the sigmas where weights are trained too. Default: as the weights, which is the paper's
            and needs its long schedules; a short one wants more.
        seed: decides noise and the order of images.
    """

    coefficient: float = 0.2
    sigma_init: float = 0.1
    sigma_max: float = 0.5
    trains_weights: bool = False
    steps: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    sigma_learning_rate: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        foreign = ("steps",) if self.trains_weights else ("epochs", "sigma_learning_rate")
        for name in foreign:
            if getattr(self, name) is not None:
                raise ConfigError(f"{name} has no effect on {self.method} weights: leave it out, or change the method")
        for name, value in (_TRAINED if self.trains_weights else _FROZEN).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        if self.trains_weights and self.sigma_learning_rate is None:
            object.__setattr__(self, "sigma_learning_rate", self.learning_rate)
        for name, value in asdict(self).items():
            lowest = 0 if name in ("coefficient", "seed", "trains_weights") else None
            if value is not None and not (math.isfinite(value) and (value > 0 or value == lowest)):
                expected = "0 or a positive number" if lowest == 0 else "a positive number"
                raise ConfigError(f"{name} = {value!r}: expected {expected}")

    @property
    def method(self) -> str:
        """ "trained" or "frozen"."""
        return "trained" if self.trains_weights else "frozen"


@dataclass(frozen=True, eq=False)
class Tolerances:
    """Noise that each layer's outputs bear.

    Attributes:
        layers: names of the layers that take a multiplier, in order of execution.
        n_multiplications: of each for one image, int64 [n_layers].
        sigma: tolerated standard deviation of the error relative to that of the outputs, float64 [n_layers], in
            [0, sigma_max].
        is_saturated: bool [n_layers], sigma means "at least".
        sensitivity: estimated change of the cross entropy per unit of sigma squared, float64 [n_layers], positive.
        coefficient: lambda.
        accuracy: top-1 on the training images without noise, in [0, 1].
        accuracy_with_noise: with noise of these sigmas in all layers.
        n_images: training images.
        n_steps: gradient steps.
        time_s: of the search.
        method: "frozen" or "trained" weights.
        key: sha256 of network, images and settings.
        weights: state dict of the trained network, by the names of the user's; not part of the JSON text.
    """

    layers: tuple[str, ...]
    n_multiplications: NDArray[np.int64]
    sigma: NDArray[np.float64]
    is_saturated: NDArray[np.bool_]
    sensitivity: NDArray[np.float64]
    coefficient: float
    accuracy: float
    accuracy_with_noise: float
    n_images: int
    n_steps: int
    time_s: float
    method: str
    key: str
    weights: Mapping[str, Any] | None = field(default=None, repr=False)

    def to_json(self) -> str:
        """JSON text; `from_json` gives the same numbers, bit for bit."""
        values = {name: value for name, value in vars(self).items() if name != "weights"}
        lists = {name: value.tolist() for name, value in values.items() if isinstance(value, np.ndarray)}
        return json.dumps(values | lists, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Tolerances":
        """Reads what `to_json` wrote.

        Raises:
            RunError: other text, as of a damaged file.
        """
        try:
            values = json.loads(text)
            types = {"n_multiplications": np.int64, "sigma": np.float64, "sensitivity": np.float64}
            for name, dtype in (types | {"is_saturated": np.bool_}).items():
                values[name] = np.array(values[name], dtype=dtype)
            found = cls(**values | {"layers": tuple(values["layers"])})
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise RunError(f"not the text of tolerances ({error}): delete the file to learn them again") from None
        if any(len(values[name]) != len(found.layers) for name in (*types, "is_saturated")):
            raise RunError("not the text of tolerances (lengths differ): delete the file to learn them again")
        return found
