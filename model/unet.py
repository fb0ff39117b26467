"""The network of Santos et al. 2020, Fig. 6: a U-Net with masked features, and the picture made from its output.

Legend: B batch, H, W height and width of the picture in pixels, w channels of the first layer (64 in the paper);
T (B, 3, H, W) display-encoded RGB in [0, 1]; M (B, 3, H, W) mask in [0, 1], 1 = well exposed;
Y (B, 3, H, W) the network's log(radiance + 1), free of sign; radiance is scene-linear, the sensor clips at 1.0.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from model.color import ALPHA
from model.layers import EPSILON, MaskedConv2d, upsample

GAMMA = 2.0  # of Eq. 1
HALF_MAX = 65504.0  # largest radiance of a half float, in which a bank keeps its patches and an EXR its pixels
MAX_LOG_RADIANCE = math.log1p(HALF_MAX)  # 11.09, the largest log(radiance + 1) that training can ask for

KERNELS = (7, 5, 5, 3, 3, 3, 3)  # of the encoder, each with stride 2
WIDTHS = (1, 2, 4, 8, 8, 8, 8)  # channels of the encoder in units of w: 64, 128, 256, 512, 512, 512, 512
SIDE = 2 ** len(KERNELS)  # height and width are multiples of 128 pixels: they are halved seven times


class Architecture(BaseModel):
    """What weights do not say by themselves; stored beside them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    preset: Literal["paper"] = "paper"  # T as it is, LeakyReLU then ReLU, biases everywhere, masks in the skips too
    width: int = Field(default=64, ge=1, le=1024)  # w, channels of the first layer; paper: 64
    alpha: float = Field(default=ALPHA, ge=0.0, lt=1.0)  # start of the mask's slope, in units of T; paper: Fig. 2
    epsilon: float = Field(default=EPSILON, gt=0.0, le=1.0)  # of Eq. 4; paper: 1e-6


class MaskedUNet(nn.Module):
    """Seven masked convolutions down, six up, and a plain linear one: (T, M) -> Y."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        epsilon = architecture.epsilon
        c = [3, *(architecture.width * factor for factor in WIDTHS)]  # c[l]: channels after l layers
        self.encoder = nn.ModuleList(
            MaskedConv2d(c[i], c[i + 1], kernel, stride=2, activation=leaky_relu(), epsilon=epsilon)
            for i, kernel in enumerate(KERNELS)
        )
        self.decoder = nn.ModuleList(
            MaskedConv2d(c[i + 1] + c[i], c[i], 3, activation=nn.ReLU(inplace=True), epsilon=epsilon)
            for i in range(len(KERNELS) - 1, 0, -1)
        )
        self.head = nn.Conv2d(c[1] + c[0], 3, 3, padding=1)  # linear, and nothing reads a mask after it

    def forward(self, T: Tensor, M: Tensor) -> Tensor:
        """Predict Y (B, 3, H, W) from T and M; H and W are multiples of 128."""
        check_size(T.shape[-2], T.shape[-1])
        Z = T * M  # (B, 3, H, W), Eq. 2 of the first layer
        skips = []
        for layer in self.encoder:
            skips.append((Z, M))  # (B, c[l], H / 2^l, W / 2^l) each, l = 0 ... 6
            Z, M = layer(Z, M)  # (B, c[l + 1], H / 2^(l + 1), W / 2^(l + 1)) each; at last (B, 8w, H / 128, W / 128)
        for layer in self.decoder:
            skip_Z, skip_M = skips.pop()  # l = 6 ... 1
            Z = torch.cat([upsample(Z), skip_Z], dim=1)  # (B, c[l + 1] + c[l], H / 2^l, W / 2^l)
            M = torch.cat([upsample(M), skip_M], dim=1)  # the same, in the same order
            Z, M = layer(Z, M)  # (B, c[l], H / 2^l, W / 2^l) each; at last (B, w, H / 2, W / 2)
        Z = torch.cat([upsample(Z), skips.pop()[0]], dim=1)  # (B, w + 3, H, W)
        Y: Tensor = self.head(Z)  # (B, 3, H, W)
        return Y

    def initialise(self, seed: int) -> None:
        """Draw all weights anew: Xavier normal with gain sqrt(2), zero biases (Glorot and Bengio 2010)."""
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_normal_(module.weight, gain=math.sqrt(2.0), generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def leaky_relu() -> nn.Module:
    """Return the encoder's activation; in place, because nothing else reads what the convolution gave."""
    return nn.LeakyReLU(0.2, inplace=True)


def check_size(height: int, width: int) -> None:
    """Raise ValueError unless the network can halve both sides seven times."""
    if height % SIDE or width % SIDE or not height or not width:
        raise ValueError(f"{width}x{height} pixels do not fit the network: both sides must be multiples of {SIDE}")


def compose(T: Tensor, Y: Tensor, M: Tensor, gamma: float = GAMMA) -> Tensor:
    """Return the HDR picture M T^gamma + (1 - M) (exp(Y) - 1), scene-linear (Santos et al. 2020, Eq. 1).

    Y is free, so it is first held between 0 and MAX_LOG_RADIANCE: the result is never negative, and never infinite or,
    where M is 1, the NaN of zero times infinity.
    """
    radiance = torch.expm1(Y.clamp(0.0, MAX_LOG_RADIANCE))
    return M * T**gamma + (1.0 - M) * radiance
