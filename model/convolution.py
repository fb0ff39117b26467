"""The convolutions of the network in the forms that are quickest, each the same number as its plain form.

Legend: B batch, C channels, h, w height and width in pixels of x, W weights (C_out, C_in, 3, 3).

A decoder layer reads [upsampled x, skip], 3x3, with zeros beyond the border. Doubled pixels are equal in pairs, so
three taps in a row read two different pixels only: one 2x2 convolution on x itself, with an output for each of the four
places in a doubled pixel, does 4 multiplications where 9 were, and neither the doubled nor the joined features are ever
made.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# Pixels of x, over the batch, from which on the 2x2 form is quicker; below, the work is in summing the taps of W.
# Measured on a CPU at the paper's width, forward and backward: at 64 pixels it is 1.4 times as slow, at 256 pixels 1.1
# times and at 1024 pixels 1.5 times as fast.
ENOUGH = 256
PLACES = ((0, 0), (0, 1), (1, 0), (1, 1))  # row and column of the four outputs in a doubled pixel


def upsample(x: Tensor) -> Tensor:
    """Double height and width by repetition, (B, C, h, w) -> (B, C, 2h, 2w)."""
    return functional.interpolate(x, scale_factor=2, mode="nearest")


def convolve_joined(x: Tensor, skip: Tensor, W: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve [upsampled x, skip]: (B, C, h, w) and (B, C', 2h, 2w), W (C_out, C + C', 3, 3) -> (B, C_out, 2h, 2w)."""
    channels = x.shape[1]
    y = convolve_upsampled(x, W[:, :channels])
    return y.add_(functional.conv2d(skip, W[:, channels:], bias, padding=1))


def convolve_joined_to_ones(x: Tensor, W: Tensor) -> Tensor:
    """Convolve [upsampled x, ones]: as `convolve_joined` with a skip of ones. W decides how many channels those are.

    What the ones add depends on nothing but how many taps lie inside the picture: top, middle or bottom row, left,
    middle or right column. The middle, most of the picture, is a bias; the border is put right.
    """
    channels = x.shape[1]
    added = functional.conv2d(
        torch.ones_like(W[:1, :1]), W[:, channels:].sum(dim=1, keepdim=True), padding=1
    )  # (1, C_out, 3, 3)
    middle = added[:, :, 1:2, 1:2]
    y = convolve_upsampled(x, W[:, :channels], middle.flatten())
    border = added - middle
    places = (slice(None, 1), slice(1, -1), slice(-1, None))
    for i, rows in enumerate(places):
        for j, columns in enumerate(places):
            if (i, j) != (1, 1):
                y[..., rows, columns] += border[..., i : i + 1, j : j + 1]
    return y


def convolve_upsampled(x: Tensor, W: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve upsampled x: (B, C, h, w) and W (C_out, C, 3, 3) -> (B, C_out, 2h, 2w)."""
    if x.shape[0] * x.shape[2] * x.shape[3] < ENOUGH:
        return functional.conv2d(upsample(x), W, bias, padding=1)
    y = functional.conv2d(x, four_kernels(W), None if bias is None else bias.repeat(4), padding=1)
    return interleave(y)


def four_kernels(W: Tensor) -> Tensor:
    """Return the taps of 3x3 kernels on doubled pixels as 2x2 kernels on the pixels, (4 C_out, C, 2, 2).

    In the upper row of a doubled pixel the first tap reads the pixel above and the other two read the pixel; in the
    lower row the first two read the pixel and the last one reads the pixel below. Columns alike. Ordered by row of the
    output in its doubled pixel, then column, then output channel.
    """
    first, second, third = W.unbind(2)  # rows of taps, (C_out, C, 3) each
    upper, lower = (first, second + third), (first + second, third)
    kernels = []
    for row in (upper, lower):
        taps = [taps.unbind(2) for taps in row]  # three columns of taps, (C_out, C) each, for each of two rows
        left = [tap for first, second, third in taps for tap in (first, second + third)]
        right = [tap for first, second, third in taps for tap in (first + second, third)]
        kernels += [torch.stack(left, dim=1), torch.stack(right, dim=1)]  # (C_out, 4, C) each
    return torch.cat(kernels).reshape(4 * W.shape[0], 2, 2, W.shape[1]).permute(0, 3, 1, 2)  # channels-last


def interleave(y: Tensor) -> Tensor:
    """Put the four outputs of each pixel in their places, (B, 4 C, h + 1, w + 1) -> (B, C, 2h, 2w).

    y[..., i, j] has read pixels i - 1 and i, j - 1 and j: the upper row of doubled pixel i is in y's row i, its lower
    row in row i + 1.
    """
    result: Tensor = _Interleave.apply(y)  # type: ignore[no-untyped-call]
    return result


class _Interleave(torch.autograd.Function):
    """`interleave` with its gradient, which autograd would find by copying the whole picture four times."""

    @staticmethod
    def forward(_: Any, y: Tensor) -> Tensor:
        batch, channels, height, width = y.shape
        result = _empty(y, batch, channels // 4, 2 * height - 2, 2 * width - 2)
        for quarter, place in zip(_quarters(y), PLACES, strict=True):
            result[..., place[0] :: 2, place[1] :: 2] = quarter
        return result

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        batch, channels, height, width = gradient.shape
        y = _empty(gradient, batch, 4 * channels, height // 2 + 1, width // 2 + 1).zero_()
        for quarter, place in zip(_quarters(y), PLACES, strict=True):
            quarter.copy_(gradient[..., place[0] :: 2, place[1] :: 2])
        return y


def _quarters(y: Tensor) -> list[Tensor]:
    """Return the parts of y that end up at each of PLACES, (B, C, h, w) each, as views."""
    height, width = y.shape[2] - 1, y.shape[3] - 1
    parts = zip(y.chunk(4, dim=1), PLACES, strict=True)
    return [part[..., row : row + height, column : column + width] for part, (row, column) in parts]


def _empty(like: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def reflect(x: Tensor, side: int) -> Tensor:
    """Continue x to the right and below by its own reflection until both sides are multiples of `side`.

    (B, C, h, w) -> (B, C, H, W), H < h + side. The last row is repeated, then the one before it, and so on; where the
    picture is smaller than what it lacks it goes to and fro, so that one pixel is enough.
    """
    for dimension in (-2, -1):
        size = x.shape[dimension]
        if size % side:
            places = torch.arange(size + -size % side, device=x.device) % (2 * size)
            x = x.index_select(dimension, torch.minimum(places, 2 * size - 1 - places))
    return x
