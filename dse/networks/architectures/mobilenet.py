"""MobileNetV2 for images of 32x32 pixels.

Source: M. Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018. Its strides suit
224x224; here the first two reductions (stem and second stage) are left out, so that the last feature map is 4x4.
"""

import torch
from torch import nn

# expansion, output channels, blocks, stride of the first block
_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


class _InvertedResidual(nn.Module):
    def __init__(self, n_in: int, n_out: int, *, expansion: int, stride: int):
        super().__init__()
        n_hidden = n_in * expansion
        expand = _conv(n_in, n_hidden, 1) if expansion != 1 else ()
        depthwise = _conv(n_hidden, n_hidden, 3, stride=stride, groups=n_hidden)
        project = _conv(n_hidden, n_out, 1)[:2]  # linear bottleneck: no activation
        self.layers = nn.Sequential(*expand, *depthwise, *project)
        self.is_residual = stride == 1 and n_in == n_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.is_residual else self.layers(x)


class MobileNetV2(nn.Module):
    """MobileNetV2 with BatchNorm: float32 [n, 3, 32, 32] to logits [n, n_classes]."""

    def __init__(self, *, n_classes: int):
        """Make the network of width 1.0 with random weights."""
        super().__init__()
        blocks, n_in = [], 32
        for expansion, n_out, n_blocks, stride in _STAGES:
            for k in range(n_blocks):
                blocks.append(_InvertedResidual(n_in, n_out, expansion=expansion, stride=stride if k == 0 else 1))
                n_in = n_out
        self.stem = nn.Sequential(*_conv(3, 32, 3))
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(*_conv(n_in, 1280, 1))
        self.linear = nn.Linear(1280, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [n, n_classes] of images [n, 3, 32, 32]."""
        return self.linear(self.head(self.blocks(self.stem(x))).mean((2, 3)))


def _conv(n_in: int, n_out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(n_in, n_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return conv, nn.BatchNorm2d(n_out), nn.ReLU6()
