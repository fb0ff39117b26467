"""The network against Eq. 2 to 4 and Fig. 6 written down literally, and Eq. 1 in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from model.color import well_exposed_mask
from model.unet import MAX_LOG_RADIANCE, Architecture, MaskedUNet, compose


def network(width: int, seed: int = 0) -> MaskedUNet:
    made = MaskedUNet(Architecture(width=width))
    made.initialise(seed)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in made.named_parameters():
        if name.endswith("bias"):  # zero at first, which would hide a bias that is left out
            torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    return made


def photograph(height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A random T with a saturated and a nearly saturated area, and its mask."""
    T = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))
    T[..., : height // 2, : width // 3] = 1.0
    T[:, 0, height // 4 :, width // 2 :] = 0.975
    return T, well_exposed_mask(T)


def literal_layer(W: Tensor, b: Tensor, X: Tensor, M: Tensor, stride: int, slope: float) -> tuple[Tensor, Tensor]:
    Z = X * M  # Eq. 2
    pad = W.shape[-1] // 2
    X = functional.leaky_relu(functional.conv2d(Z, W, b, stride, pad), slope)  # Eq. 3
    norm = torch.stack([w.abs().sum() for w in W])  # of each output channel
    M = functional.conv2d(M, W.abs(), None, stride, pad) / (norm[:, None, None] + 1e-6)  # Eq. 4
    return X, M


def literal_network(weights: dict[str, Tensor], T: Tensor, M: Tensor) -> Tensor:
    X, skips = T, []
    for i in range(7):
        skips.append((X, M))
        X, M = literal_layer(weights[f"encoder.{i}.conv.weight"], weights[f"encoder.{i}.conv.bias"], X, M, 2, 0.2)
    for i in range(6):
        X, M = literal_join(X, M, skips)
        X, M = literal_layer(weights[f"decoder.{i}.conv.weight"], weights[f"decoder.{i}.conv.bias"], X, M, 1, 0.0)
    X, M = literal_join(X, M, skips)
    return functional.conv2d(X * M, weights["head.weight"], weights["head.bias"], 1, 1)


def literal_join(X: Tensor, M: Tensor, skips: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    skip_X, skip_M = skips.pop()

    def doubled(x: Tensor) -> Tensor:
        return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    return torch.cat([doubled(X), skip_X], 1), torch.cat([doubled(M), skip_M], 1)


@pytest.mark.parametrize(("width", "height", "across"), [(4, 128, 384), (6, 256, 128), (64, 128, 128)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_network_equals_the_equations_written_down(
    width: int, height: int, across: int, layout: torch.memory_format
) -> None:
    made = network(width)
    T, M = photograph(height, across)
    expected = literal_network(made.state_dict(), T, M)
    made.to(memory_format=layout)  # type: ignore[call-overload]
    with torch.no_grad():
        found = made(T.contiguous(memory_format=layout), M.contiguous(memory_format=layout))
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_gradients_equal_those_of_the_equations_with_masks_held() -> None:
    made = network(3)
    T, M = photograph(128, 128)
    made(T, M).square().sum().backward()
    weights = {name: tensor.clone().requires_grad_() for name, tensor in made.state_dict().items()}

    def held(W: Tensor, b: Tensor, X: Tensor, M: Tensor, stride: int, slope: float) -> tuple[Tensor, Tensor]:
        X, M = literal_layer_with_gradient(W, b, X, M, stride, slope)
        return X, M.detach()

    literal_layer_with_gradient = globals()["literal_layer"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "literal_layer", held)
        literal_network(weights, T, M).square().sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, weights[name].grad, rtol=1e-3, atol=1e-4, msg=name)


def test_number_of_parameters_at_the_papers_width() -> None:
    with torch.device("meta"):
        made = MaskedUNet(Architecture())
    assert sum(p.numel() for p in made.parameters() if p.ndim > 1) + 3 == 25_770_964  # the authors', biased at last
    assert sum(p.numel() for p in made.parameters() if p.ndim == 1) == 4_480 + 3


def test_kernels_and_channels_are_those_of_the_authors() -> None:
    with torch.device("meta"):
        shapes = {n: tuple(p.shape) for n, p in MaskedUNet(Architecture()).named_parameters() if p.ndim > 1}
    expected = [(64, 3, 7, 7), (128, 64, 5, 5), (256, 128, 5, 5), (512, 256, 3, 3), *[(512, 512, 3, 3)] * 3]
    expected += [*[(512, 1024, 3, 3)] * 3, (256, 768, 3, 3), (128, 384, 3, 3), (64, 192, 3, 3), (3, 67, 3, 3)]
    assert list(shapes.values()) == expected


@pytest.mark.parametrize("size", [(100, 128), (128, 64), (129, 256), (0, 128)])
def test_sizes_that_do_not_fit_are_refused(size: tuple[int, int]) -> None:
    T = torch.zeros(1, 3, *size)
    with pytest.raises(ValueError, match=f"{size[1]}x{size[0]} pixels do not fit.*multiples of 128"):
        network(1)(T, T)


def test_what_is_saturated_does_not_reach_the_output() -> None:
    made = network(4)
    T, _ = photograph(128, 128)
    M = torch.ones_like(T)
    M[..., 32:64, 32:64] = 0.0
    other = T.clone()
    other[..., 32:64, 32:64] = 0.3
    with torch.no_grad():
        assert torch.equal(made(T, M), made(other, M))


def test_a_wholly_saturated_picture_gives_numbers() -> None:
    T = torch.ones(1, 3, 128, 128)
    assert network(2)(T, torch.zeros_like(T)).isfinite().all()


def test_initial_weights_are_xavier_with_gain_sqrt_2_and_a_function_of_the_seed() -> None:
    made = MaskedUNet(Architecture(width=32))
    made.initialise(5)
    W = made.encoder[4].conv.weight  # type: ignore[union-attr]
    assert isinstance(W, Tensor)
    assert W.std().item() == pytest.approx(math.sqrt(2) * math.sqrt(2 / ((256 + 256) * 9)), rel=0.01)
    assert all(not p.any() for name, p in made.named_parameters() if name.endswith("bias"))
    again = MaskedUNet(Architecture(width=32))
    again.initialise(5)
    other = MaskedUNet(Architecture(width=32))
    other.initialise(6)
    assert torch.equal(made.head.weight, again.head.weight)
    assert not torch.equal(made.head.weight, other.head.weight)


def test_eq_1_by_hand() -> None:
    T, Y, M = torch.tensor(0.5), torch.tensor(math.log(4.0)), torch.tensor(0.25)
    assert compose(T, Y, M).item() == pytest.approx(0.25 * 0.25 + 0.75 * 3.0)
    assert compose(T, Y, M, gamma=1.0).item() == pytest.approx(0.25 * 0.5 + 0.75 * 3.0)


@given(T=st.floats(0, 1, width=32), Y=st.floats(allow_nan=False, width=32), M=st.floats(0, 1, width=32))
def test_radiance_is_never_negative_and_never_beyond_half_floats(T: float, Y: float, M: float) -> None:
    H = compose(torch.tensor(T), torch.tensor(Y), torch.tensor(M)).item()
    assert 0.0 <= H < 65_520.0  # what rounds to 65504 as a half float


def test_a_well_exposed_pixel_does_not_hear_the_network() -> None:
    assert compose(torch.tensor(0.5), torch.tensor(math.inf), torch.tensor(1.0)).item() == 0.25


def test_the_bound_is_what_a_half_float_holds() -> None:
    assert math.expm1(MAX_LOG_RADIANCE) == pytest.approx(65_504)
