"""What training minimises.

Legend: Y (B, 3, S, S) the network's log(radiance + 1); H (B, 3, S, S) true radiance, scene-linear, not negative;
M (B, 3, S, S) mask in [0, 1], 1 = well exposed.
"""

from __future__ import annotations

import torch
from torch import Tensor


def reconstruction_loss(Y: Tensor, H: Tensor, M: Tensor) -> Tensor:
    """Return the mean of |(1 - M) (Y - log(H + 1))| over batch, channels and pixels (Santos et al. 2020, Eq. 6).

    The paper writes an l1 norm; as in the authors' code it is a mean, so that neither batch nor patch size shifts the
    balance of the loss terms. The mean runs over all pixels, not the saturated ones alone: a patch with a larger
    saturated area weighs more. In float32, because log(H + 1) of a half float keeps three digits.
    """
    Y, H, M = Y.float(), H.float(), M.float()
    return ((1.0 - M) * (Y - torch.log1p(H))).abs().mean()
