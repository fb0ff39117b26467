"""The network written down step by step, in no form but the plain one: what the quick network must equal.

`published_forward` is what the authors' published network does (preset `official`), with their names of the tensors:
`enc_1` ... `enc_7` go down, `dec_7` ... `dec_1` go up; each has `.conv.input_conv.weight` and, for its masks, the
magnitudes of that as `.conv.mask_update_conv.weight`; `dec_1` alone has a bias. `paper_forward` is what the paper says.

Legend: B batch, H, W height and width, multiples of 128; T (B, 3, H, W) in [0, 1]; M (B, 3, H, W), 1 = well exposed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

ENCODER = ((1, 7), (2, 5), (4, 5), (8, 3), (8, 3), (8, 3), (8, 3))  # channels in units of the width, kernel; stride 2
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def published_weights(width: int = 64, seed: int = 0) -> dict[str, Tensor]:
    """Return random tensors of the names and shapes of the authors' checkpoint (width 64), 29 of them."""
    generator = torch.Generator().manual_seed(seed)
    channels = [3, *(width * factor for factor, _ in ENCODER)]
    shapes = {f"enc_{i + 1}": (channels[i + 1], channels[i], k, k) for i, (_, k) in enumerate(ENCODER)}
    for i in range(7, 0, -1):
        shapes[f"dec_{i}"] = (channels[i - 1], channels[i] + channels[i - 1], 3, 3)
    tensors = {}
    for name, shape in shapes.items():
        spread = math.sqrt(2.0) * math.sqrt(2.0 / ((shape[0] + shape[1]) * shape[2] ** 2))
        weight = torch.randn(shape, generator=generator) * spread
        tensors[f"{name}.conv.input_conv.weight"] = weight
        tensors[f"{name}.conv.mask_update_conv.weight"] = weight.abs()
    tensors["dec_1.conv.input_conv.bias"] = torch.randn(3, generator=generator) * 0.1
    return tensors


def published_forward(tensors: Mapping[str, Tensor], T: Tensor, M: Tensor) -> Tensor:
    """Return Y (B, 3, H, W), the log(radiance + 1) that the released network predicts."""
    mean, deviation = (torch.tensor(values, device=T.device)[:, None, None] for values in (MEAN, DEVIATION))
    X = (T - mean) / deviation
    features, skips = X, [X]
    for i in range(1, 8):
        features, M = layer(*published_layer(tensors, f"enc_{i}"), features, M, stride=2)
        features = functional.relu(features)
        skips.append(features)
    skips.pop()
    for i in range(7, 0, -1):
        skip = skips.pop()
        features = torch.cat([double(features), skip], dim=1)
        M = torch.cat([double(M), torch.ones_like(skip)], dim=1)
        features, M = layer(*published_layer(tensors, f"dec_{i}"), features, M, stride=1)
        if i > 1:
            features = functional.leaky_relu(features, 0.2)
    return features


def published_layer(tensors: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias, if there is one."""
    return tensors[f"{name}.conv.input_conv.weight"], tensors.get(f"{name}.conv.input_conv.bias")


def paper_forward(tensors: Mapping[str, Tensor], T: Tensor, M: Tensor) -> Tensor:
    """Return Y (B, 3, H, W) of preset `paper`, masking `feature`; the tensors have this project's names."""
    X, skips = T, []
    for i in range(7):
        skips.append((X, M))
        X, M = layer(tensors[f"encoder.{i}.conv.weight"], tensors[f"encoder.{i}.conv.bias"], X, M, stride=2)
        X = functional.leaky_relu(X, 0.2)
    for i in range(6):
        X, M = (torch.cat([double(x), skip], dim=1) for x, skip in zip((X, M), skips.pop(), strict=True))
        X, M = layer(tensors[f"decoder.{i}.conv.weight"], tensors[f"decoder.{i}.conv.bias"], X, M, stride=1)
        X = functional.relu(X)
    X, M = (torch.cat([double(x), skip], dim=1) for x, skip in zip((X, M), skips.pop(), strict=True))
    return layer(tensors["head.weight"], tensors["head.bias"], X, M, stride=1)[0]


def layer(W: Tensor, bias: Tensor | None, X: Tensor, M: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Features and mask in, features (before their activation) and mask out (Eq. 2 to 4)."""
    padding = W.shape[-1] // 2
    features = functional.conv2d(X * M, W, bias, stride, padding)
    with torch.no_grad():
        magnitude = W.abs()
        norm = magnitude.flatten(1).sum(dim=1)[:, None, None]
        return features, functional.conv2d(M, magnitude, None, stride, padding) / (norm + 1e-6)


def double(x: Tensor) -> Tensor:
    """Double height and width by repetition."""
    return functional.interpolate(x, scale_factor=2, mode="nearest")
