"""Layers and masks worked out by hand (Eq. 2 to 4)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from model.layers import GatedConv2d, MaskedConv2d, PlainConv2d, mask_kernel, masked


def layer(weight: torch.Tensor, bias: float = 0.0, stride: int = 1, epsilon: float = 1e-6) -> MaskedConv2d:
    channels_out, channels_in, kernel, _ = weight.shape
    made = MaskedConv2d(channels_in, channels_out, kernel, stride=stride, activation=nn.LeakyReLU(0.5), epsilon=epsilon)
    nn.init.constant_(made.conv.bias, bias)  # type: ignore[arg-type]
    made.conv.weight.data.copy_(weight)
    return made


def test_mask_of_a_1x1_convolution_is_the_mean_weighted_by_magnitude() -> None:
    made = layer(torch.tensor([3.0, -1.0]).reshape(1, 2, 1, 1))
    M = torch.tensor([1.0, 0.2]).reshape(1, 2, 1, 1)
    assert made.update_mask(M).item() == pytest.approx((3 * 1.0 + 1 * 0.2) / 4)


def test_each_output_channel_is_normalised_by_itself() -> None:
    kernel = mask_kernel(torch.tensor([[1.0, 1.0], [100.0, -300.0]]).reshape(2, 2, 1, 1))
    assert kernel.flatten().tolist() == pytest.approx([0.5, 0.5, 0.25, 0.75])


def test_epsilon_is_added_to_the_norm() -> None:
    assert mask_kernel(torch.full((1, 1, 1, 1), 2.0), epsilon=6.0).item() == 0.25
    assert mask_kernel(torch.zeros(1, 1, 3, 3)).abs().sum() == 0.0  # and not 0 / 0


def test_what_lies_beyond_the_border_counts_as_invalid() -> None:
    made = layer(torch.ones(1, 1, 3, 3))
    mask = made.update_mask(torch.ones(1, 1, 3, 4))[0, 0]
    expected = torch.tensor([[4, 6, 6, 4], [6, 9, 9, 6], [4, 6, 6, 4]]) / 9  # of 9 taps, those inside the picture
    torch.testing.assert_close(mask, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("kernel", "size"), [(7, 4), (5, 4), (3, 4)])
def test_stride_halves_features_and_mask_alike(kernel: int, size: int) -> None:
    made = layer(torch.ones(5, 2, kernel, kernel), stride=2)
    Z, M = made(torch.ones(1, 2, 8, 8), torch.ones(1, 2, 8, 8))
    assert Z.shape == M.shape == (1, 5, size, size)


def test_features_are_convolved_and_activated_and_then_masked() -> None:
    made = layer(torch.tensor([2.0]).reshape(1, 1, 1, 1), bias=-7.0)
    X, M = 3.0, 0.25
    Z = torch.tensor([X * M]).reshape(1, 1, 1, 1)
    features, mask = made(Z, torch.tensor([M]).reshape(1, 1, 1, 1))
    assert mask.item() == pytest.approx(0.25)
    assert features.item() == pytest.approx(0.5 * (2.0 * X * M - 7.0))
    assert masked(features, mask).item() == pytest.approx(0.5 * (2.0 * X * M - 7.0) * 0.25)


def test_a_plain_layer_is_a_masked_one_without_its_mask() -> None:
    torch.manual_seed(0)
    made, plain = layer(torch.randn(5, 2, 3, 3)), PlainConv2d(2, 5, 3, activation=nn.LeakyReLU(0.5))
    plain.load_state_dict(made.state_dict())
    Z = torch.randn(1, 2, 8, 8)
    features, mask = plain(Z, None)
    assert mask is None
    assert masked(features, None) is features
    assert torch.equal(features, made(Z, torch.ones_like(Z))[0])


def test_a_gated_layer_by_hand() -> None:
    made = GatedConv2d(1, 1, 1, activation=nn.LeakyReLU(0.5))
    for conv, weight, bias in ((made.conv, 2.0, 1.0), (made.gate, 4.0, -3.0)):
        nn.init.constant_(conv.weight, weight)
        nn.init.constant_(conv.bias, bias)  # type: ignore[arg-type]
    features, mask = made(torch.tensor([1.5, -1.0]).reshape(2, 1, 1, 1), None)
    assert mask is None
    sigmoid = [1 / (1 + math.exp(-(4.0 * z - 3.0))) for z in (1.5, -1.0)]
    assert features.flatten().tolist() == pytest.approx([4.0 * sigmoid[0], 0.5 * -1.0 * sigmoid[1]])


@pytest.mark.parametrize("of_ones", [False, True])
def test_a_decoder_layer_reads_doubled_features_beside_the_skip(of_ones: bool) -> None:
    torch.manual_seed(0)
    made = layer(torch.randn(4, 5, 3, 3), bias=0.3)
    Z, M, skip = torch.randn(1, 2, 3, 4), torch.rand(1, 2, 3, 4), torch.randn(1, 3, 6, 8)
    skip_M = torch.ones_like(skip) if of_ones else torch.rand_like(skip)

    def joined(x: torch.Tensor, beside: torch.Tensor) -> torch.Tensor:
        return torch.cat([x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3), beside], dim=1)

    features, mask = made(Z, M, skip, None if of_ones else skip_M)
    expected_features, expected_mask = made(joined(Z, skip), joined(M, skip_M))
    torch.testing.assert_close(features, expected_features)
    torch.testing.assert_close(mask, expected_mask)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_masks_of_half_precision_weights_are_single_precision(dtype: torch.dtype) -> None:
    W = torch.full((1, 600, 3, 3), 30.0)  # 5,400 taps, together more than float16 holds
    assert mask_kernel(W.to(dtype)).dtype == torch.float32
    torch.testing.assert_close(mask_kernel(W.to(dtype)), mask_kernel(W))
    assert mask_kernel(torch.zeros(1, 1, 3, 3, dtype=dtype)).abs().sum() == 0.0


def test_masks_stay_in_their_range() -> None:
    torch.manual_seed(0)
    made = layer(torch.randn(8, 8, 5, 5))
    mask = made.update_mask(torch.rand(1, 8, 16, 16))
    assert mask.min() >= 0.0
    assert mask.max() <= 1.0


def test_no_gradient_flows_through_the_mask() -> None:
    made = layer(torch.ones(1, 1, 3, 3))
    X, M = made(torch.ones(1, 1, 4, 4), torch.rand(1, 1, 4, 4))
    assert not M.requires_grad
    (W_gradient,) = torch.autograd.grad(masked(X, M).sum(), made.conv.weight)
    # d/dW of sum(M X) with M held: each weight gathers the mask wherever its tap lies inside the picture.
    assert W_gradient[0, 0, 1, 1].item() == pytest.approx(M.sum().item())
