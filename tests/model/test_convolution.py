"""Each quick form against its plain twin, forward and backward."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from model import convolution
from model.convolution import (
    convolve_joined,
    convolve_joined_to_ones,
    convolve_upsampled,
    four_kernels,
    interleave,
    reflect,
    upsample,
)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def literal(x: Tensor, skip: Tensor, W: Tensor, bias: Tensor | None = None) -> Tensor:
    doubled = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return functional.conv2d(torch.cat([doubled, skip], dim=1), W, bias, padding=1)


@pytest.fixture(params=["2x2 form", "chosen by size"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pictures are convolved plainly, where nothing else is said."""
    if request.param == "2x2 form":
        monkeypatch.setattr(convolution, "ENOUGH", 0)


sizes = st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(1, 4), st.integers(1, 20), st.integers(1, 20))


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_joined_convolution_is_that_of_doubled_and_joined_features(layout: torch.memory_format) -> None:
    @settings(deadline=None, max_examples=50)
    @given(size=sizes, channels_out=st.integers(1, 5), seed=st.integers(0, 99), biased=st.booleans())
    def check(size: tuple[int, ...], channels_out: int, seed: int, biased: bool) -> None:
        batch, channels, beside, height, width = size
        x = draw(batch, channels, height, width, seed=seed).contiguous(memory_format=layout)
        skip = draw(batch, beside, 2 * height, 2 * width, seed=seed + 1).contiguous(memory_format=layout)
        W = draw(channels_out, channels + beside, 3, 3, seed=seed + 2)
        bias = draw(channels_out) if biased else None
        torch.testing.assert_close(convolve_joined(x, skip, W, bias), literal(x, skip, W, bias), atol=2e-5, rtol=1e-5)
        torch.testing.assert_close(
            convolve_joined_to_ones(x, W), literal(x, torch.ones_like(skip), W), atol=2e-5, rtol=1e-5
        )

    check()


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("size", [(1, 1), (1, 3), (3, 2), (20, 17)])
def test_gradients_are_those_of_the_plain_form(size: tuple[int, int]) -> None:
    height, width = size
    leaves = [draw(2, 3, height, width), draw(2, 2, 2 * height, 2 * width), draw(4, 5, 3, 3), draw(4)]
    weight = draw(2, 4, 2 * height, 2 * width, seed=9)
    found, expected = (
        torch.autograd.grad((compute(*twin) * weight).sum(), twin)
        for compute in (convolve_joined, literal)
        if (twin := [leaf.clone().requires_grad_() for leaf in leaves])
    )
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_interleaving_has_the_gradient_of_its_differences() -> None:
    y = draw(2, 8, 3, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(interleave, y)


def test_the_2x2_form_is_what_large_pictures_get(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[int, ...]] = []

    def noted(W: Tensor) -> Tensor:
        taken.append(tuple(W.shape))
        return four_kernels(W)

    monkeypatch.setattr(convolution, "four_kernels", noted)
    for pixels in (15, 16):
        convolve_upsampled(draw(1, 2, 16, pixels), draw(3, 2, 3, 3))
    assert taken == [(3, 2, 3, 3)]


def test_kernels_of_one_tap_by_hand() -> None:
    W = torch.zeros(1, 1, 3, 3)
    W[..., 0, 2] = 1.0  # reads the pixel above and right
    upper_left, upper_right, lower_left, lower_right = four_kernels(W)[:, 0]
    assert upper_left.tolist() == [[0, 1], [0, 0]]  # pixels (i - 1, i) x (j - 1, j)
    assert lower_left.tolist() == [[0, 1], [0, 0]]  # pixels (i, i + 1) x (j - 1, j)
    assert upper_right.tolist() == [[0, 1], [0, 0]]  # pixels (i - 1, i) x (j, j + 1)
    assert lower_right.tolist() == [[0, 1], [0, 0]]
    W = torch.ones(1, 1, 3, 3)
    assert four_kernels(W)[0, 0].tolist() == [[1, 2], [2, 4]]
    assert four_kernels(W)[3, 0].tolist() == [[4, 2], [2, 1]]


def test_upsampling_repeats_pixels() -> None:
    assert upsample(torch.tensor([[[[1.0, 2.0]]]])).tolist() == [[[[1, 1, 2, 2], [1, 1, 2, 2]]]]


@given(height=st.integers(1, 40), width=st.integers(1, 40), side=st.integers(1, 33))
@settings(deadline=None)
def test_reflection_is_numpys(height: int, width: int, side: int) -> None:
    x = draw(2, 3, height, width)
    pad = ((0, 0), (0, 0), (0, -height % side), (0, -width % side))
    np.testing.assert_array_equal(reflect(x, side).numpy(), np.pad(x.numpy(), pad, mode="symmetric"))


def test_what_fits_is_not_copied() -> None:
    x = draw(1, 3, 8, 16)
    assert reflect(x, 8) is x
