"""Small convolutional networks: `DigitsCnn` for 8x8 digits, LeNet-5, and a VGG for 32x32.

Sources: Y. LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proc. IEEE 86(11), 1998; here with
ReLU and max pooling instead of sigmoids and trained subsampling, as is usual today. K. Simonyan and A. Zisserman, "Very
Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015; here with BatchNorm, six convolutions and two
linear layers.
"""

import torch
from torch import nn


class DigitsCnn(nn.Module):
    """Four 3x3 convolutions and a linear layer: float32 [n, 1, 8, 8] in [0, 1] to logits [n, n_classes]."""

    def __init__(self, *, n_classes: int):
        """Make the network with random weights; 0.25 M multiplications an image."""
        super().__init__()
        self.features = nn.Sequential(
            *_conv_block(1, 8), *_conv_block(8, 16), nn.MaxPool2d(2), *_conv_block(16, 24), *_conv_block(24, 32)
        )
        self.linear = nn.Linear(32, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [n, n_classes] of images [n, 1, 8, 8]."""
        return self.linear(self.features(x).mean((2, 3)))


class LeNet5(nn.Module):
    """LeNet-5: float32 [n, 1, 28, 28] (or [n, 1, 32, 32] when not padded) to logits [n, n_classes]."""

    def __init__(self, *, n_classes: int, is_padded: bool):
        """Make the network; `is_padded` brings images of 28x28 to the 32x32 of the paper. Weights fit both."""
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2 if is_padded else 0),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU())
        self.linear = nn.Linear(84, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [n, n_classes]."""
        return self.linear(self.hidden(self.features(x)))


class Vgg8(nn.Module):
    """VGG of six convolutions (64 to 256 channels) and two linear layers: float32 [n, 3, 32, 32] to logits."""

    def __init__(self, *, n_classes: int):
        """Make the network with random weights."""
        super().__init__()
        stages = []
        for n_in, n_out in ((3, 64), (64, 128), (128, 256)):
            stages += [*_conv_block(n_in, n_out), *_conv_block(n_out, n_out), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*stages)
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(256 * 4 * 4, 256), nn.ReLU())
        self.linear = nn.Linear(256, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [n, n_classes] of images [n, 3, 32, 32]."""
        return self.linear(self.hidden(self.features(x)))


def _conv_block(n_in: int, n_out: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()
