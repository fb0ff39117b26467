"""Correction of the camera response before a metric is run (Hanji, Mantiuk, Eilertsen, Hajisharif and Unger 2022).

Single-image reconstruction leaves tone curve and colour of its result open. A cubic polynomial, fitted to the pair
itself, maps the test picture to the reference: luminance by its PQ code, chroma by the coordinates (u, v).

Legend: H, W height and width in pixels; N = H W; planes (3, H, W) float64 linear BT.709 RGB in cd/m2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.metrics.pair import Image, mix, planes

FLOOR = 0.005  # cd/m2 of RGB before the fit; of u, v and luminance after it
REGULARISATION = 0.01  # of the chroma fit, towards no change; luminance has none
XYZ_RANGE = (1e-4, 1e8)
TO_XYZ = ((0.412424, 0.357579, 0.180464), (0.212656, 0.715158, 0.072186), (0.019332, 0.119193, 0.950444))
UV_SCALE = 410 / 255

# PQ with the rounded constants of the authors' software, not the rationals of SMPTE ST 2084.
PQ_M, PQ_N, PQ_C1, PQ_C2, PQ_C3, PQ_MAX = 78.8438, 0.1593, 0.8359, 18.8516, 18.6875, 1e4

# Singular values below this share of the largest say nothing: pictures have 1e-5 and more, constant ones rounding.
RANK_TOLERANCE = 1e-12


def crf_correct(test: Image, reference: Image) -> Tensor:
    """Return the test picture mapped to the reference, (H, W, 3) float64 in cd/m2; zeros may occur.

    Both pictures are (H, W, 3) linear RGB in cd/m2. The result depends on the reference and is not symmetric: a metric
    of it is another score than one of the test picture, and may be lower too.
    """
    (Y_T, uv_T), (Y_R, uv_R) = (to_yuv(image.clamp(min=FLOOR)) for image in planes(test, reference))
    Y = fit_luminance(Y_T, Y_R)
    uv = fit_polynomial(uv_T, uv_R, REGULARISATION).clamp(min=FLOOR)
    return to_rgb(Y, uv).movedim(0, 2)


def fit_luminance(test: Tensor, reference: Tensor) -> Tensor:
    """Return the luminance (H, W) of the test picture, fitted in PQ to that of the reference, in cd/m2.

    The fit is held below the code of 10^8 cd/m2, where XYZ ends: further up the inverse of PQ is not real.
    """
    fitted = fit_polynomial(pq_encode(test)[None], pq_encode(reference)[None], 0.0)[0]
    lowest, highest = pq_encode(test.new_tensor([FLOOR, XYZ_RANGE[1]])).tolist()
    return pq_decode(fitted.clamp(lowest, highest))


def fit_polynomial(test: Tensor, reference: Tensor, regularisation: float) -> Tensor:
    """Return the cubic of the test channels (M, H, W), M 1 or 2, that is nearest to those of the reference.

    Least squares over the pixels; `regularisation`, times N over the number of terms, draws the coefficients to those
    of no change. Where pixels do not determine them (constant or tiny pictures) the smallest ones are taken.
    """
    A, W_0 = terms(test.flatten(1))
    weight = (regularisation * A.shape[0] / A.shape[1]) ** 0.5
    ridge = weight * torch.eye(A.shape[1], dtype=A.dtype, device=A.device)
    targets = torch.cat([reference.flatten(1).T, weight * W_0])
    return (A @ least_squares(torch.cat([A, ridge]), targets)).T.reshape(test.shape)


def terms(channels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the design matrix (N, K) of channels (M, N), and the coefficients (K, M) that change nothing.

    Columns: t, t^2, t^3 of each channel, the products of two channels, and ones: K is 4 for M = 1, 8 for M = 2.
    """
    M = channels.shape[0]
    products = [channels[i] * channels[j] for i in range(M) for j in range(i + 1, M)]
    columns = [*channels, *channels**2, *channels**3, *products, torch.ones_like(channels[0])]
    return torch.stack(columns, dim=1), torch.eye(len(columns), M, dtype=channels.dtype, device=channels.device)


def least_squares(A: Tensor, b: Tensor) -> Tensor:
    """Return the smallest W that minimises |A W - b|, by QR and the pseudo-inverse of the small factor.

    The normal equations would square the condition of A, which is up to 10^4 for the luminance of pictures.
    """
    Q, R = torch.linalg.qr(A)
    solution: Tensor = torch.linalg.pinv(R, rtol=RANK_TOLERANCE) @ (Q.T @ b)
    return solution


def to_yuv(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Return luminance (H, W) in cd/m2 and chroma (2, H, W) of planes (3, H, W)."""
    X, Y, Z = mix(TO_XYZ, rgb).clamp(*XYZ_RANGE)
    total = X + Y + Z
    x, y = X / total, Y / total
    return Y, UV_SCALE * torch.stack([4 * x, 9 * y]) / (-2 * x + 12 * y + 3)


def to_rgb(Y: Tensor, uv: Tensor) -> Tensor:
    """Return planes (3, H, W), never negative, of luminance (H, W) in cd/m2 and chroma (2, H, W)."""
    u, v = uv / UV_SCALE
    denominator = 6 * u - 16 * v + 12
    x, y = 9 * u / denominator, 4 * v / denominator
    XYZ = torch.stack([x / y * Y, Y, (1 - x - y) / y * Y]).clamp(*XYZ_RANGE)
    return mix(torch.linalg.inv(torch.tensor(TO_XYZ, dtype=XYZ.dtype)).tolist(), XYZ).clamp(min=0.0)


def pq_encode(Y: Tensor) -> Tensor:
    """Return the PQ code of luminance in cd/m2; above 10^4 cd/m2 it passes 1."""
    level = (Y / PQ_MAX).pow(PQ_N)
    return ((PQ_C1 + PQ_C2 * level) / (1 + PQ_C3 * level)).pow(PQ_M)


def pq_decode(z: Tensor) -> Tensor:
    """Return the luminance in cd/m2 of a PQ code, the inverse of `pq_encode`."""
    root = z.pow(1 / PQ_M)
    return PQ_MAX * ((PQ_C1 - root) / (PQ_C3 * root - PQ_C2)).clamp(min=0.0).pow(1 / PQ_N)
