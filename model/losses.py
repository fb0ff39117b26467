"""What training minimises: the HDR loss of Santos et al. 2020, Eq. 5 to 12, and the inpainting loss of Liu et al. 2018.

Legend: B batch, S patch size in pixels; Y (B, 3, S, S) the network's log(radiance + 1), free of sign;
H (B, 3, S, S) true radiance, scene-linear, not negative; M (B, 3, S, S) mask in [0, 1], 1 = well exposed or valid;
P, I (B, 3, S, S) predicted and true photograph, display-encoded, I in [0, 1];
phi_l (B, C_l, S_l, S_l) features of VGG after pool l = 1, 2, 3.

The papers write l1 norms; as in the authors' code they are means, so that neither batch nor patch size shifts the
balance of the terms. All terms are taken in float32, autocast or not: log(H + 1) of a half float keeps three digits.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from model.unet import MAX_LOG_RADIANCE
from model.vgg import Features, Vgg

MU = 500.0  # of Eq. 10
MOST_RADIANCE = 50.0  # what VGG is shown is cut there, as in the authors' code, or one lamp would blacken the rest
LEAST_PEAK = 1e-3  # brightest radiance of a patch that is divided by: a black patch has none


class Loss(NamedTuple):
    """A loss and the terms it is made of, before their weights."""

    total: Tensor  # ()
    terms: dict[str, Tensor]  # name -> ()


@dataclass(frozen=True, slots=True)
class HdrWeights:
    """Weights of Eq. 5 and 7; the defaults are the paper's, and belong to the features of torchvision's VGG."""

    reconstruction: float = 6.0  # lambda_1
    perceptual: float = 1.0  # lambda_2
    vgg: float = 1.0  # lambda_3
    style: float = 120.0  # lambda_4


@dataclass(frozen=True, slots=True)
class InpaintingWeights:
    """Weights of Liu et al. 2018, Section 3.3, found by them with VGG-16."""

    valid: float = 1.0
    hole: float = 6.0
    perceptual: float = 0.05
    style: float = 120.0
    total_variation: float = 0.1


def in_float32(term: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let a term see float32 tensors and no autocast."""

    @functools.wraps(term)
    def computed(*tensors: Tensor) -> Tensor:
        with torch.autocast(tensors[0].device.type, enabled=False):
            return term(*(tensor.float() for tensor in tensors))

    return computed


@in_float32
def reconstruction_loss(Y: Tensor, H: Tensor, M: Tensor) -> Tensor:
    """Return L_r (), the mean of |(1 - M) (Y - log(H + 1))| over batch, channels and pixels (Eq. 6).

    The mean runs over all pixels, not the saturated ones alone: a patch with a larger saturated area weighs more.
    """
    return ((1.0 - M) * (Y - torch.log1p(H))).abs().mean()


@in_float32
def composed_prediction(Y: Tensor, H: Tensor, M: Tensor) -> Tensor:
    """Return H~ = M H + (1 - M) (exp(Y) - 1), (B, 3, S, S) scene-linear, not negative (Eq. 9).

    Eq. 9 prints Y itself, a logarithm, beside the linear H; what is blended here is linear on both sides. Y is held
    between 0 and MAX_LOG_RADIANCE, as in the picture made from it: beyond, Eq. 6 alone leads it back.
    """
    return M * H + (1.0 - M) * torch.expm1(Y.clamp(0.0, MAX_LOG_RADIANCE))


@in_float32
def peak_radiance(H: Tensor) -> Tensor:
    """Return the brightest radiance (B, 1, 1, 1) of each patch, within [LEAST_PEAK, MOST_RADIANCE]."""
    return H.amax(dim=(1, 2, 3), keepdim=True).clamp(LEAST_PEAK, MOST_RADIANCE)


@in_float32
def compress(H: Tensor, peak: Tensor) -> Tensor:
    """Return T(H) = log(1 + mu H') / log(1 + mu), H' = min(H, MOST_RADIANCE) / peak, (B, 3, S, S) (Eq. 10).

    `peak` (B, 1, 1, 1) is the brightest true radiance, which becomes 1. A prediction that is brighter still exceeds 1,
    so that it has a gradient which darkens it; up to MOST_RADIANCE, whence Eq. 6 alone leads it back.
    """
    return torch.log1p(MU * H.clamp(0.0, MOST_RADIANCE) / peak) / math.log1p(MU)


@in_float32
def gram(phi: Tensor) -> Tensor:
    """Return G = phi^T phi / (C S S), (B, C, C), of phi (B, C, S, S) as a matrix of S S rows and C columns (Eq. 12)."""
    rows = phi.flatten(2)  # (B, C, S S)
    return rows @ rows.transpose(1, 2) / rows[0].numel()


def vgg_loss(found: Features, true: Features) -> Tensor:
    """Return L_v (), the sum over l of the mean of |phi_l(found) - phi_l(true)| (Eq. 8)."""
    return torch.stack([F.l1_loss(a, b) for a, b in zip(found, true, strict=True)]).sum()


def style_loss(found: Features, true: Features) -> Tensor:
    """Return L_s (), the sum over l of the mean of |G_l(found) - G_l(true)| over batch and C_l x C_l (Eq. 11)."""
    return torch.stack([F.l1_loss(gram(a), gram(b)) for a, b in zip(found, true, strict=True)]).sum()


def hdr_loss(Y: Tensor, H: Tensor, M: Tensor, weights: HdrWeights, vgg: Vgg | None) -> Loss:
    """Return L = lambda_1 L_r + lambda_2 L_p (Eq. 5) with L_p = lambda_3 L_v + lambda_4 L_s (Eq. 7).

    Terms: `reconstruction`, and where a VGG is given `vgg` and `style`. Without one, L_p is left out.
    """
    terms = {"reconstruction": reconstruction_loss(Y, H, M)}
    total = weights.reconstruction * terms["reconstruction"]
    if vgg is None:
        return Loss(total, terms)
    peak = peak_radiance(H)
    with torch.no_grad():
        true = vgg(compress(H, peak))
    found = vgg(compress(composed_prediction(Y, H, M), peak))
    terms |= {"vgg": vgg_loss(found, true), "style": style_loss(found, true)}
    perceptual = weights.vgg * terms["vgg"] + weights.style * terms["style"]
    return Loss(total + weights.perceptual * perceptual, terms)


@in_float32
def valid_loss(P: Tensor, I: Tensor, M: Tensor) -> Tensor:  # noqa: E741 - the paper's name
    """Return the mean of |M (P - I)| over all pixels (Liu et al. 2018, Section 3.3)."""
    return (M * (P - I)).abs().mean()


@in_float32
def hole_loss(P: Tensor, I: Tensor, M: Tensor) -> Tensor:  # noqa: E741
    """Return the mean of |(1 - M) (P - I)| over all pixels (Liu et al. 2018, Section 3.3)."""
    return ((1.0 - M) * (P - I)).abs().mean()


@in_float32
def filled(P: Tensor, I: Tensor, M: Tensor) -> Tensor:  # noqa: E741
    """Return the true photograph with its holes filled by the prediction, M I + (1 - M) P, (B, 3, S, S)."""
    return M * I + (1.0 - M) * P


@in_float32
def total_variation_loss(X: Tensor, M: Tensor) -> Tensor:
    """Return the sum of |X_i - X_j| over neighbours i, j within the holes grown by a pixel, over the elements of X.

    X (B, 3, S, S) is the filled photograph, M (B, 3, S, S) is 0 or 1 (Liu et al. 2018, Section 3.3). A pair counts
    only where both pixels lie in the grown holes: the border of a hole is smoothed into its surroundings, no further.
    """
    R = F.max_pool2d(1.0 - M, kernel_size=3, stride=1, padding=1)  # 1 in the holes and on their rims
    across = R[..., :, 1:] * R[..., :, :-1] * (X[..., :, 1:] - X[..., :, :-1]).abs()
    down = R[..., 1:, :] * R[..., :-1, :] * (X[..., 1:, :] - X[..., :-1, :]).abs()
    return (across.sum() + down.sum()) / X.numel()


def inpainting_loss(
    P: Tensor,
    I: Tensor,  # noqa: E741
    M: Tensor,
    weights: InpaintingWeights,
    vgg: Vgg | None,
) -> Loss:
    """Return the weighted sum of Liu et al. 2018, Section 3.3; M is 0 in holes, 1 elsewhere.

    Terms: `valid`, `hole`, `total_variation`, and where a VGG is given `vgg` and `style`, each for the prediction as
    it is plus for the filled photograph.
    """
    X = filled(P, I, M)
    terms = {
        "valid": valid_loss(P, I, M),
        "hole": hole_loss(P, I, M),
        "total_variation": total_variation_loss(X, M),
    }
    total = weights.valid * terms["valid"] + weights.hole * terms["hole"]
    total = total + weights.total_variation * terms["total_variation"]
    if vgg is None:
        return Loss(total, terms)
    with torch.no_grad():
        true = vgg(I)
    found = (vgg(P), vgg(X))
    terms["vgg"] = vgg_loss(found[0], true) + vgg_loss(found[1], true)
    terms["style"] = style_loss(found[0], true) + style_loss(found[1], true)
    return Loss(total + weights.perceptual * terms["vgg"] + weights.style * terms["style"], terms)
