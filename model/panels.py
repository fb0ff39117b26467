"""Pictures to watch a run by: a row for each of a few patches, which are the same ones at each validation.

Legend: B patches, S patch size in pixels; T (B, 3, S, S) display-encoded in [0, 1]; M (B, 3, S, S) mask, 1 = known;
H (B, 3, S, S) scene-linear true radiance; Y (B, 3, S, S) the network's log(radiance + 1); in stage inpainting
I (B, 3, S, S) the photograph and P (B, 3, S, S) the network's own, both display-encoded.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from model.losses import composed_prediction, compress, filled, peak_radiance

SHOWN = 4  # patches
LARGEST = 256  # side of a patch in the panel, in pixels
GAP = 4  # between pictures, in pixels


def hdr_panel(T: Tensor, H: Tensor, M: Tensor, Y: Tensor) -> Tensor:
    """Return rows of input, mask, output and ground truth, (3, height, width) uint8 on the CPU.

    Radiance is shown after the range compression of Eq. 10, the output by the brightest radiance of the ground truth:
    what is brighter than the truth shows white.
    """
    peak = peak_radiance(H)
    return grid([T, M, compress(composed_prediction(Y, H, M), peak), compress(H, peak)])


def inpainting_panel(T: Tensor, I: Tensor, M: Tensor, P: Tensor) -> Tensor:  # noqa: E741 - the paper's name
    """Return rows of input, mask, the photograph with its holes filled by the network, and the photograph itself."""
    return grid([T, M, filled(P, I, M), I])


def grid(columns: Sequence[Tensor]) -> Tensor:
    """Lay pictures (B, 3, S, S) in [0, 1] out as columns of B rows, white gaps between; (3, height, width) uint8."""
    shrunk = []
    for pictures in columns:
        factor = -(-pictures.shape[-1] // LARGEST)  # a whole number: each pixel shown is the mean of equally many
        shrunk.append(functional.avg_pool2d(pictures.detach().float(), factor).clamp(0.0, 1.0))
    padded = [functional.pad(pictures, (0, GAP, 0, GAP), value=1.0) for pictures in shrunk]
    rows = torch.cat(padded, dim=3)  # (B, 3, S + GAP, columns (S + GAP))
    sheet = torch.cat(list(rows), dim=1)[:, :-GAP, :-GAP]
    return sheet.mul(255.0).round().to("cpu", torch.uint8)
