"""Eq. 6 in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from model.losses import reconstruction_loss


def full(value: float, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.full((2, 3, 4, 4), value, dtype=dtype)


def test_loss_is_a_mean_of_weighted_log_differences() -> None:
    loss = reconstruction_loss(full(1.5), full(math.e - 1), full(0.25))
    assert loss.item() == pytest.approx(0.75 * 0.5, rel=1e-6)


def test_loss_counts_all_pixels_not_the_saturated_ones_alone() -> None:
    M = torch.ones(1, 3, 2, 2)
    M[..., 0, 0] = 0.0
    assert reconstruction_loss(torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2), M).item() == pytest.approx(0.25)


def test_batch_size_does_not_change_the_loss() -> None:
    Y, H, M = (torch.rand(1, 3, 4, 4) for _ in range(3))
    once = reconstruction_loss(Y, H, M)
    torch.testing.assert_close(reconstruction_loss(*(x.repeat(5, 1, 1, 1) for x in (Y, H, M))), once)


def test_gradient_is_zero_where_the_picture_is_well_exposed() -> None:
    Y = torch.zeros(1, 3, 2, 2, requires_grad=True)
    M = torch.ones(1, 3, 2, 2)
    M[0, 1, 1, 1] = 0.0
    reconstruction_loss(Y, torch.ones(1, 3, 2, 2), M).backward()  # type: ignore[no-untyped-call]
    assert Y.grad is not None
    assert Y.grad[0, 1, 1, 1].item() == pytest.approx(-1 / 12)
    assert Y.grad.count_nonzero() == 1


def test_loss_is_taken_in_float32() -> None:
    H = full(60_000.0, torch.float16)
    loss = reconstruction_loss(full(0.0, torch.float16), H, full(0.0, torch.float16))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log1p(60_000.0), rel=1e-6)  # 11.002; in half floats 11.0
