"""The layers of the network, one class for each way of masking (Santos et al. 2020, Section 3.1 and Table 2).

Legend: B batch, C channels, h, w height and width at this layer in pixels; X features, M mask in [0, 1], W weights;
Z = X * M, the masked features that a layer reads (Eq. 2).

An encoder layer is called as `X, M = layer(Z, M)`, a decoder layer, which reads [upsampled Z, skip], as
`X, M = layer(Z, M, skip_Z, skip_M)`. Where no mask is followed M is None; a skip_M of None beside an M stands for ones.
Another way of masking is another class with this call.

    class          Table 2        features                            mask
    MaskedConv2d   FMask          activation(W * Z + b)               |W| / (||W||_1 + eps) * M
    PlainConv2d    SConv, IMask   activation(W * Z + b)               none
    GatedConv2d    GConv          activation(W_f * Z + b_f)           none: the gate, which is learned, does its work
                                  times sigmoid(W_g * Z + b_g)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.convolution import convolve_joined, convolve_joined_to_ones

EPSILON = 1e-6  # Santos et al. 2020, Eq. 4


def masked(X: Tensor, M: Tensor | None) -> Tensor:
    """Return Z = X * M (Eq. 2) in the precision of X; X itself where no mask is followed."""
    return X if M is None else X * M.to(X.dtype)


def mask_kernel(W: Tensor, epsilon: float = EPSILON) -> Tensor:
    """Return |W| / (||W||_1 + epsilon), the filter of the masks (Santos et al. 2020, Eq. 4), float32, shaped as W.

    W is (C_out, C_in, k, k); the norm is taken over all that one output channel reads, (C_out, 1, 1, 1). Dividing the
    filter instead of its result is the same number for less work: W is smaller than the picture.
    """
    magnitude = W.detach().float().abs()
    return magnitude.div_(magnitude.sum(dim=(1, 2, 3), keepdim=True) + epsilon)


def convolve(conv: nn.Conv2d, Z: Tensor, skip: Tensor | None) -> Tensor:
    """Convolve Z as it is, or [upsampled Z, skip]."""
    convolved: Tensor = conv(Z) if skip is None else convolve_joined(Z, skip, conv.weight, conv.bias)
    return convolved


class PlainConv2d(nn.Module):
    """A convolution that knows of no mask (SConv; IMask, whose input was masked before).

    `activation` is phi of Eq. 3. Borders are padded with k // 2 zeros.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        stride: int = 1,
        bias: bool = True,
        activation: nn.Module,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=bias)
        self.activation = activation

    def forward(
        self, Z: Tensor, M: Tensor | None, skip_Z: Tensor | None = None, skip_M: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Features (B, C_in, h, w) -> (B, C_out, h / stride, w / stride); decoder: -> (B, C_out, 2h, 2w). No masks."""
        return self.activation(convolve(self.conv, Z, skip_Z)), None


class GatedConv2d(PlainConv2d):
    """A convolution whose features are weighed by a gate that it learns from what it reads (Yu et al. 2019, Eq. 3)."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        stride: int = 1,
        bias: bool = True,
        activation: nn.Module,
    ) -> None:
        super().__init__(channels_in, channels_out, kernel, stride=stride, bias=bias, activation=activation)
        self.gate = nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=bias)

    def forward(
        self, Z: Tensor, M: Tensor | None, skip_Z: Tensor | None = None, skip_M: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Features (B, C_in, h, w) -> (B, C_out, h / stride, w / stride); decoder: -> (B, C_out, 2h, 2w). No masks."""
        X: Tensor = self.activation(convolve(self.conv, Z, skip_Z))
        return X * convolve(self.gate, Z, skip_Z).sigmoid(), None


class MaskedConv2d(PlainConv2d):
    """A convolution that also tells how much of what it read was well exposed (FMask, Eq. 3 and 4).

    Borders are padded with k // 2 zeros, in the features and in the mask: what lies beyond the picture counts as
    invalid, exactly as if it were saturated.

    No gradient flows through the masks. They take their filters from W as it stands, but W is not trained to shape
    them: the paper sets its "automatic" update apart from masks that are learnable (Section 3.1, on Yu et al. 2019),
    and a loss that could lower itself by declaring pixels valid would be learning them. It also saves the
    backward pass of one convolution in two, and X need not be kept for Eq. 2.

    Masks are float32 whatever the precision of the features: in float16 epsilon would be a subnormal number and the
    sum of thousands of magnitudes could overflow.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        stride: int = 1,
        bias: bool = True,
        activation: nn.Module,
        epsilon: float = EPSILON,
    ) -> None:
        super().__init__(channels_in, channels_out, kernel, stride=stride, bias=bias, activation=activation)
        self.epsilon = epsilon

    def forward(
        self, Z: Tensor, M: Tensor | None, skip_Z: Tensor | None = None, skip_M: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Masked features and mask (B, C_in, h, w) each -> features, not yet masked, and their mask.

        (B, C_out, h / stride, w / stride) each; decoder: (B, C_out, 2h, 2w) each.
        """
        assert M is not None, "a masked convolution follows a mask"  # noqa: S101 - a fault of this program alone
        return self.activation(convolve(self.conv, Z, skip_Z)), self.update_mask(M, skip_M)

    @torch.no_grad()
    def update_mask(self, M: Tensor, skip_M: Tensor | None = None) -> Tensor:
        """Return the mask of this layer's features (Eq. 4), in [0, 1]: a weighted mean of the mask that was read."""
        kernel = mask_kernel(self.conv.weight, self.epsilon)
        with torch.autocast(M.device.type, enabled=False):
            if M.shape[1] == kernel.shape[1]:
                return functional.conv2d(M.float(), kernel, stride=self.conv.stride, padding=self.conv.padding)
            if skip_M is None:
                return convolve_joined_to_ones(M.float(), kernel)
            return convolve_joined(M.float(), skip_M.float(), kernel)
