"""The convolution with masked features, the one building block of the network (Santos et al. 2020, Section 3.1).

Legend: B batch, C channels, h, w height and width at this layer in pixels; X features, M mask in [0, 1], W weights.

The features handed from layer to layer are Z = X * M (Eq. 2): each is multiplied by its mask once, where it is made,
although the next layer and a skip connection both read it. A layer is called as `Z, M = layer(Z, M)`; another way of
masking is another class with that call.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-6  # Santos et al. 2020, Eq. 4


def mask_kernel(W: Tensor, epsilon: float = EPSILON) -> Tensor:
    """Return |W| / (||W||_1 + epsilon), the filter of the masks (Santos et al. 2020, Eq. 4), shaped as W.

    W is (C_out, C_in, k, k); the norm is taken over all that one output channel reads, (C_out, 1, 1, 1). Dividing the
    filter instead of its result is the same number for less work: W is smaller than the picture.
    """
    magnitude = W.abs()
    return magnitude / (magnitude.sum(dim=(1, 2, 3), keepdim=True) + epsilon)


def upsample(x: Tensor) -> Tensor:
    """Double height and width by repetition, (B, C, h, w) -> (B, C, 2h, 2w)."""
    return functional.interpolate(x, scale_factor=2, mode="nearest")


class MaskedConv2d(nn.Module):
    """A convolution whose features are weighed by how much of what they read was well exposed (Eq. 2 to 4).

    `activation` is phi of Eq. 3. Borders are padded with k // 2 zeros, in the features and in the mask: what lies
    beyond the picture counts as invalid, exactly as if it were saturated.

    No gradient flows through the masks. They take their filters from W as it stands, but W is not trained to shape
    them: the paper sets its "automatic" update apart from masks that are learnable (Section 3.1, on Yu et al. 2019),
    and a loss that could lower itself by declaring pixels valid would be learning them. It also saves the
    backward pass of one convolution in two, and X need not be kept for Eq. 2.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        stride: int = 1,
        activation: nn.Module,
        epsilon: float = EPSILON,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2)
        self.activation = activation
        self.epsilon = epsilon

    def forward(self, Z: Tensor, M: Tensor) -> tuple[Tensor, Tensor]:
        """Masked features and mask (B, C_in, h, w) each -> (B, C_out, h / stride, w / stride) each."""
        M = self.update_mask(M)  # Eq. 4
        X = self.activation(self.conv(Z))  # Eq. 3
        return X * M, M  # Eq. 2 of the layer to come

    @torch.no_grad()
    def update_mask(self, M: Tensor) -> Tensor:
        """Return the mask of this layer's features (Eq. 4), in [0, 1]: a weighted mean of the mask that was read."""
        kernel = mask_kernel(self.conv.weight, self.epsilon)
        return functional.conv2d(M, kernel, stride=self.conv.stride, padding=self.conv.padding)
