"""CIFAR ResNets: 6k+2 layers in three stages of 16, 32 and 64 channels.

Source: K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2. Option-A shortcuts have no
parameters: where a stage halves the image, the shortcut takes every second pixel and pads the channels with zeros,
equally on both sides. The parameter names are those of the widely used weights (`layer1.0.conv1`, ...).
"""

import torch
from torch import nn
from torch.nn import functional


class _Shortcut(nn.Module):
    """Option A: every second pixel, zero channels on both sides."""

    def __init__(self, n_added_channels: int):
        super().__init__()
        self.n_each_side = n_added_channels // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.n_each_side, self.n_each_side))


class _Block(nn.Module):
    def __init__(self, n_in: int, n_out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.shortcut = nn.Identity() if stride == 1 else _Shortcut(n_out - n_in)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class CifarResNet(nn.Module):
    """ResNet for images of 32x32 pixels: float32 [n, 3, 32, 32] to logits [n, n_classes]."""

    def __init__(self, n_blocks: int, *, n_classes: int):
        """Make a network of `6 * n_blocks + 2` layers: `n_blocks` residual blocks in each of the three stages."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _make_stage(16, 16, n_blocks, stride=1)
        self.layer2 = _make_stage(16, 32, n_blocks, stride=2)
        self.layer3 = _make_stage(32, 64, n_blocks, stride=2)
        self.linear = nn.Linear(64, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [n, n_classes] of images [n, 3, 32, 32]."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def _make_stage(n_in: int, n_out: int, n_blocks: int, *, stride: int) -> nn.Sequential:
    rest = (_Block(n_out, n_out, 1) for _ in range(n_blocks - 1))
    return nn.Sequential(_Block(n_in, n_out, stride), *rest)
