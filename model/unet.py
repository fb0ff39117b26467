"""The network of Santos et al. 2020, Fig. 6: a U-Net with masked features, and the picture made from its output.

Legend: B batch, H, W height and width of the picture in pixels, w channels of the first layer (64 in the paper);
T (B, 3, H, W) display-encoded RGB in [0, 1]; M (B, 3, H, W) mask in [0, 1], 1 = well exposed;
Y (B, 3, H, W) the network's log(radiance + 1), free of sign; radiance is scene-linear, the sensor clips at 1.0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from model.color import ALPHA
from model.convolution import convolve_joined, reflect
from model.layers import EPSILON, GatedConv2d, MaskedConv2d, PlainConv2d, masked

GAMMA = 2.0  # of Eq. 1
HALF_MAX = 65504.0  # largest radiance of a half float, in which a bank keeps its patches and an EXR its pixels
MAX_LOG_RADIANCE = math.log1p(HALF_MAX)  # 11.09, the largest log(radiance + 1) that training can ask for

KERNELS = (7, 5, 5, 3, 3, 3, 3)  # of the encoder, each with stride 2
WIDTHS = (1, 2, 4, 8, 8, 8, 8)  # channels of the encoder in units of w: 64, 128, 256, 512, 512, 512, 512
SIDE: int = 2 ** len(KERNELS)  # the picture is halved seven times: its sides are continued to multiples of 128 pixels

PresetName = Literal["paper", "official"]
Masking = Literal["feature", "input", "none", "gated"]  # FMask, IMask, SConv and GConv of Table 2


@dataclass(frozen=True, slots=True)
class Preset:
    """What the paper and the authors' released code do differently."""

    encoder_slope: float  # of the activation below 0: 0 is ReLU, 0.2 LeakyReLU
    decoder_slope: float
    bias: bool  # in every layer; the last one has it in any case
    imagenet: bool  # T is normalised by the mean and deviation of ImageNet, before it is masked
    skip_masks: bool  # the decoder reads the encoder's features masked, with their masks; else as they are, with ones
    alpha: float  # start of the mask's slope, in units of T


PRESETS: dict[PresetName, Preset] = {
    "paper": Preset(0.2, 0.0, bias=True, imagenet=False, skip_masks=True, alpha=ALPHA),
    "official": Preset(0.0, 0.2, bias=False, imagenet=True, skip_masks=False, alpha=0.95),
}
IMAGENET = ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))  # mean and deviation of T's red, green, blue


class Architecture(BaseModel):
    """What weights do not say by themselves; stored beside them. What a file does not name has its default."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    preset: PresetName = "paper"
    masking: Masking = "feature"
    width: int = Field(default=64, ge=1, le=1024)  # w, channels of the first layer; paper: 64
    alpha: float = Field(default=ALPHA, ge=0.0, lt=1.0)  # the preset's where it is not given
    epsilon: float = Field(default=EPSILON, gt=0.0, le=1.0)  # of Eq. 4; paper: 1e-6

    @model_validator(mode="before")
    @classmethod
    def _take_alpha_from_preset(cls, values: Any) -> Any:
        return with_preset(values)


def with_preset(values: Any) -> Any:
    """Return settings of a network with the alpha of their preset, if they name none themselves."""
    if not isinstance(values, dict) or "alpha" in values:
        return values
    found = [preset.alpha for name, preset in PRESETS.items() if name == values.get("preset")]
    return {**values, "alpha": found[0]} if found else values


class MaskedUNet(nn.Module):
    """Seven convolutions down, six up, and a plain linear one: (T, M) -> Y."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.preset = PRESETS[architecture.preset]
        down, up = self.preset.encoder_slope, self.preset.decoder_slope
        c = [3, *(architecture.width * factor for factor in WIDTHS)]  # c[l]: channels after l layers
        self.encoder = nn.ModuleList(
            make_layer(architecture, c[i], c[i + 1], kernel, 2, down) for i, kernel in enumerate(KERNELS)
        )
        self.decoder = nn.ModuleList(
            make_layer(architecture, c[i + 1] + c[i], c[i], 3, 1, up) for i in range(len(KERNELS) - 1, 0, -1)
        )
        self.head = nn.Conv2d(c[1] + c[0], 3, 3, padding=1)  # linear, and nothing reads a mask after it

    def forward(self, T: Tensor, M: Tensor) -> Tensor:
        """Predict Y (B, 3, H, W) from T and M of any size; a pixel may reach 384 pixels to the right and down.

        Inside, H and W are multiples of 128: T and M are continued to the right and below by their own reflection.
        """
        height, width = check_size(T, M)
        X, M_ = self.read(reflect(T, SIDE), reflect(M, SIDE))  # (B, 3, H, W) each
        skips = []
        for layer in self.encoder:
            Z = masked(X, M_)  # (B, c[l], H / 2^l, W / 2^l), l = 0 ... 6, Eq. 2
            skips.append((Z, M_) if self.preset.skip_masks else (X, None))  # the same
            X, M_ = layer(Z, M_)  # (B, c[l + 1], H / 2^(l + 1), W / 2^(l + 1)) each; at last (B, 8w, H / 128, W / 128)
        for layer in self.decoder:
            Z = masked(X, M_)  # (B, c[l + 1], H / 2^(l + 1), W / 2^(l + 1)), l = 6 ... 1
            X, M_ = layer(Z, M_, *skips.pop())  # (B, c[l], H / 2^l, W / 2^l) each; at last (B, w, H / 2, W / 2)
        Z, (skip, _) = masked(X, M_), skips.pop()  # (B, w, H / 2, W / 2) and (B, 3, H, W)
        with torch.autocast(Z.device.type, enabled=False):  # a radiance in bfloat16 would have steps of one per cent
            Y = convolve_joined(Z.float(), skip.float(), self.head.weight, self.head.bias)  # (B, 3, H, W)
        return Y[..., :height, :width]

    def read(self, T: Tensor, M: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the features (B, 3, H, W) and the mask, None if it is not followed, that the first layer begins with.

        Channels-last is the quicker layout for convolutions on CPUs and GPUs alike, and all that follows keeps it.
        """
        if self.preset.imagenet:
            T = torch.stack([(T[:, i] - mean) / deviation for i, (mean, deviation) in enumerate(IMAGENET)], dim=1)
        T, M = (x.contiguous(memory_format=torch.channels_last) for x in (T, M))
        if self.architecture.masking == "feature":
            return T, M
        return (masked(T, M) if self.architecture.masking == "input" else T), None

    def initialise(self, seed: int) -> None:
        """Draw all weights anew: Xavier normal with gain sqrt(2), zero biases (Glorot and Bengio 2010)."""
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_normal_(module.weight, gain=math.sqrt(2.0), generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def make_layer(
    architecture: Architecture, channels_in: int, channels_out: int, kernel: int, stride: int, slope: float
) -> PlainConv2d:
    """Return a layer that masks as the architecture says; `slope` is that of its activation below 0."""
    # In place, because nothing else reads what the convolution gave.
    activation = nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)
    sizes, bias = (channels_in, channels_out, kernel), PRESETS[architecture.preset].bias
    if architecture.masking == "feature":
        return MaskedConv2d(*sizes, stride=stride, bias=bias, activation=activation, epsilon=architecture.epsilon)
    layer = GatedConv2d if architecture.masking == "gated" else PlainConv2d
    return layer(*sizes, stride=stride, bias=bias, activation=activation)


def check_size(T: Tensor, M: Tensor) -> tuple[int, int]:
    """Return height and width of the picture. Raises ValueError if it has no pixels, or a mask of another size."""
    if T.shape != M.shape:
        raise ValueError(f"the picture is {tuple(T.shape)} and its mask {tuple(M.shape)}: they must be of one size")
    height, width = T.shape[-2:]
    if not height or not width:
        raise ValueError(f"a picture of {width}x{height} pixels has nothing to reconstruct")
    return height, width


def compose(T: Tensor, Y: Tensor, M: Tensor, gamma: float = GAMMA) -> Tensor:
    """Return the HDR picture M T^gamma + (1 - M) (exp(Y) - 1), scene-linear (Santos et al. 2020, Eq. 1).

    Y is free, so it is first held between 0 and MAX_LOG_RADIANCE: the result is never negative, and never infinite or,
    where M is 1, the NaN of zero times infinity.
    """
    radiance = torch.expm1(Y.clamp(0.0, MAX_LOG_RADIANCE))
    return M * T**gamma + (1.0 - M) * radiance
