"""Gamma correction, the encoding of the plain metrics."""

from __future__ import annotations

from torch import Tensor

GAMMA = 2.0  # Santos et al. 2020, Eq. 1: the one gamma that the paper states


def gamma_correct(linear: Tensor, gamma: float = GAMMA) -> Tensor:
    """Return V = max(L, 0)^(1 / gamma): values above 1 stay above 1, negative light counts as none."""
    return linear.clamp(min=0.0).pow(1.0 / gamma)


def encoding_name(gamma: float, peak: str) -> str:
    """Say what the encoding was, for a result's conditions."""
    return f"L^(1/{gamma:g}), {peak}"
