"""Settings of fine-tuning. No torch: runs and the command line read these."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from dse.errors import ConfigError, unknown_name

GRADIENTS = ("linear", "ste", "smoothed")
AUGMENTATIONS = ("none", "flip", "crop", "crop-flip")
PRIVATE = ("auto", "affine", "bias")


@dataclass(frozen=True)
class FinetuningSettings:
    """How a design learns.

    Attributes:
        epochs: passes over the training images, at most.
        batch_size: images a step; at most as many as there are.
        learning_rate: of Adam for the weights, in parts of a channel's range of weights; falls to 0 along a cosine.
        affine_learning_rate: likewise for gains (in parts of 1) and shifts (in standard deviations of the outputs).
        distillation: share of the loss that compares with the exact network, in [0, 1]; the rest is the cross entropy
            to the labels.
        temperature: of both softmaxes in that comparison.
        augmentation: of training images, "none", "flip", "crop" (shifts by up to an eighth) or "crop-flip".
        reconstruction: begin by choosing each layer's weights for its table, see `dse.recovery.reconstruction`.
        gradient: "linear", "ste" or "smoothed", see `dse.recovery.table_gradients`.
        private: what each operating point owns: "affine" (scale and bias per channel of every convolution), "bias", or
            "auto": affine where the network has BatchNorm.
        patience: epochs without a better accuracy on the validation images after which it stops; `None`: never.
        seed: decides the order of images and their augmentation.
        noise_epochs: before all that, passes over the training images through exact products under noise as large as
            the errors of the design; 0: none. See `dse.recovery.hardening`.
        noise_scale: of this noise, relative to the errors.
        noise_learning_rate: as `learning_rate`, in these passes.

    >>> FinetuningSettings(epochs=1).gradient
    'linear'
    """

    epochs: int = 3
    batch_size: int = 64
    learning_rate: float = 6e-5
    affine_learning_rate: float = 3e-4
    distillation: float = 0.5
    temperature: float = 2.0
    augmentation: str = "none"
    reconstruction: bool = True
    gradient: str = "linear"
    private: str = "auto"
    patience: int | None = 3
    seed: int = 0
    noise_epochs: int = 0
    noise_scale: float = 1.0
    noise_learning_rate: float = 2e-4

    def __post_init__(self) -> None:
        for name, known in (("gradient", GRADIENTS), ("augmentation", AUGMENTATIONS), ("private", PRIVATE)):
            if getattr(self, name) not in known:
                raise ConfigError(unknown_name(name, getattr(self, name), known))
        if not 0 <= self.distillation <= 1:
            raise ConfigError(f"distillation = {self.distillation!r}: expected a share from 0 to 1")
        for name, value in asdict(self).items():
            is_number = type(value) in (int, float) and name != "distillation"
            lowest = 0 if name in ("seed", "noise_epochs") else None
            if is_number and not (math.isfinite(value) and (value > 0 or value == lowest)):
                raise ConfigError(f"{name} = {value!r}: expected {'0 or ' if lowest == 0 else ''}a positive number")

    def has_gains(self, batch_norms: Sequence[str]) -> bool:
        """Whether scales learn, in a network with these BatchNorms."""
        return self.private == "affine" or (self.private == "auto" and len(batch_norms) > 0)
