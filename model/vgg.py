"""VGG up to its third pooling, as the eye of the perceptual terms (Simonyan and Zisserman 2015): frozen features.

Legend: B batch, S height and width in pixels; X (B, 3, S, S) float32 display-like RGB in [0, 1];
phi_l (B, C_l, S_l, S_l) float32, l = 1, 2, 3, the features after pool1, pool2, pool3: C_l = 64, 128, 256 and
S_l = S / 2^l, rounded down.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

Depth = Literal[16, 19]  # layers with weights: those of Santos et al. 2020 are 19, those of the authors' code 16

# Convolutions before each pooling, and their channels: all that differs up to pool3 is the third block.
CONVOLUTIONS: dict[Depth, tuple[int, int, int]] = {16: (2, 2, 3), 19: (2, 2, 4)}
CHANNELS = (64, 128, 256)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, with which torchvision's VGG was trained


class Features(NamedTuple):
    """The features after each pooling."""

    pool1: Tensor  # (B, 64, S / 2, S / 2)
    pool2: Tensor  # (B, 128, S / 4, S / 4)
    pool3: Tensor  # (B, 256, S / 8, S / 8)


class Vgg(nn.Module):
    """VGG-16 or VGG-19 up to pool3 with torchvision's names, features.0 to features.14 or 16, frozen.

    A gradient flows through to the picture, none to the weights. `scale` holds a factor for each of the three features;
    `model.vgg_weights` says where it comes from.
    """

    mean: Tensor
    deviation: Tensor
    scale: Tensor

    def __init__(self, depth: Depth) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for count, channels in zip(CONVOLUTIONS[depth], CHANNELS, strict=True):
            for _ in range(count):
                layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU(inplace=True)]
                before = channels
            layers.append(nn.MaxPool2d(2))
        self.depth = depth
        self.features = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.ones(len(CHANNELS)), persistent=False)
        self.requires_grad_(False)

    def forward(self, X: Tensor) -> Features:
        """Return the scaled features of X (B, 3, S, S), S >= 8, in float32 whatever autocast says.

        In bfloat16 the difference of two nearly equal features would be mostly rounding.
        """
        taps: list[Tensor] = []
        with torch.autocast(X.device.type, enabled=False):
            x = (X.float() - self.mean) / self.deviation
            for layer in self.features:
                x = layer(x)
                if isinstance(layer, nn.MaxPool2d):
                    taps.append(x * self.scale[len(taps)])
        return Features(*taps)
