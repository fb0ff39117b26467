"""The layers of VGG against a plain chain of functions, its names and taps, and what flows through it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from model.vgg import Depth, Vgg

# Numbers of the convolutions in torchvision's `features`; P stands for a pooling.
CHAINS: dict[Depth, tuple[int | str, ...]] = {
    16: (0, 2, "P", 5, 7, "P", 10, 12, 14, "P"),
    19: (0, 2, "P", 5, 7, "P", 10, 12, 14, 16, "P"),
}


def random_vgg(depth: Depth, seed: int = 0) -> Vgg:
    vgg = Vgg(depth)
    generator = torch.Generator().manual_seed(seed)
    for parameter in vgg.parameters():
        parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return vgg


def literal(depth: Depth, weights: dict[str, Tensor], X: Tensor) -> list[Tensor]:
    """Write the network out: normalise, convolve, ReLU, pool."""
    taps = []
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (X - mean[:, None, None]) / deviation[:, None, None]
    for number in CHAINS[depth]:
        if number == "P":
            x = F.max_pool2d(x, 2)
            taps.append(x)
        else:
            x = F.relu(F.conv2d(x, weights[f"features.{number}.weight"], weights[f"features.{number}.bias"], padding=1))
    return taps


@pytest.mark.parametrize("depth", [16, 19])
def test_features_are_those_of_the_layers_written_out(depth: Depth) -> None:
    vgg = random_vgg(depth)
    X = torch.rand(2, 3, 24, 17)  # sides that pooling rounds down
    expected = literal(depth, vgg.state_dict(), X)
    assert [tuple(phi.shape) for phi in vgg(X)] == [(2, 64, 12, 8), (2, 128, 6, 4), (2, 256, 3, 2)]
    for found, wanted in zip(vgg(X), expected, strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("depth", [16, 19])
def test_names_are_torchvisions(depth: Depth) -> None:
    numbers = [number for number in CHAINS[depth] if number != "P"]
    assert list(Vgg(depth).state_dict()) == [f"features.{n}.{kind}" for n in numbers for kind in ("weight", "bias")]


def test_each_tap_has_its_scale() -> None:
    vgg = random_vgg(19)
    X = torch.rand(1, 3, 16, 16)
    plain = vgg(X)
    vgg.scale.copy_(torch.tensor([2.0, 0.5, 3.0]))
    for scaled, phi, factor in zip(vgg(X), plain, (2.0, 0.5, 3.0), strict=True):
        torch.testing.assert_close(scaled, factor * phi)


def test_a_gradient_flows_to_the_picture_and_to_no_weight() -> None:
    vgg = random_vgg(19).train()
    X = torch.rand(1, 3, 16, 16, requires_grad=True)
    vgg(X).pool3.sum().backward()
    assert X.grad is not None
    assert X.grad.count_nonzero() > 0
    assert all(not parameter.requires_grad for parameter in vgg.parameters())


def test_features_are_float32_under_autocast_and_of_half_pictures() -> None:
    vgg = random_vgg(19)
    X = torch.rand(1, 3, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(vgg(X).pool3, vgg(X.float()).pool3)
    assert vgg(X.half()).pool1.dtype == torch.float32
