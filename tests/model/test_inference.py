"""Tiles give what the whole gives; the whole gives Eq. 1."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.color import well_exposed_mask
from model.errors import PictureError
from model.inference import reconstruct, side_of
from model.memory import SHARE, needed
from model.published import source_of
from model.unet import Architecture, MaskedUNet
from pipeline.records import FloatImage
from tests.model.literal import paper_forward, published_forward
from tests.model.test_pictures import photograph

CPU = torch.device("cpu")


def network_of(preset: str = "paper", masking: str = "feature", width: int = 4, seed: int = 0) -> MaskedUNet:
    network = MaskedUNet(Architecture.model_validate({"preset": preset, "masking": masking, "width": width}))
    network.initialise(seed)
    return network


def blotches(height: int, width: int) -> FloatImage:
    """Noise with saturated blots of all sizes, so that every layer has something to tell."""
    rng = np.random.default_rng(1)
    T = rng.uniform(0, 1, (height, width, 3)).astype(np.float32)
    for size in (8, 32, 64, 128, 200):
        y, x = rng.integers(0, max(height - size, 1)), rng.integers(0, max(width - size, 1))
        T[y : y + size, x : x + size] = 1.0
    return T


@pytest.mark.parametrize(
    ("preset", "masking", "size"),
    [
        ("paper", "feature", (1000, 200)),
        ("paper", "feature", (130, 1100)),
        ("official", "feature", (1000, 200)),
        ("paper", "gated", (1000, 130)),
        ("paper", "none", (130, 1000)),
    ],
)
def test_tiles_equal_the_whole(preset: str, masking: str, size: tuple[int, int]) -> None:
    network = network_of(preset, masking)
    T = blotches(*size)
    whole = reconstruct(T, network, CPU, "none")
    for side in (128, 384):
        tiled = reconstruct(T, network, CPU, side)
        np.testing.assert_allclose(tiled, whole, rtol=1e-5, atol=1e-5 * float(whole.max()))


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 500), st.integers(1, 500), st.sampled_from([128, 256]))
def test_tiles_of_odd_sizes_equal_the_whole(height: int, width: int, side: int) -> None:
    network = network_of(width=2)
    T = blotches(height, width)
    whole = reconstruct(T, network, CPU, "none")
    np.testing.assert_allclose(reconstruct(T, network, CPU, side), whole, rtol=1e-5, atol=1e-5 * max(whole.max(), 1))


@pytest.mark.parametrize("preset", ["paper", "official"])
def test_equation_1_of_the_literal_twin(preset: str) -> None:
    network = network_of(preset, width=2)
    T = photograph(128, 256)
    T_ = torch.from_numpy(T).permute(2, 0, 1)[None]
    M = well_exposed_mask(T_, network.architecture.alpha)
    with torch.no_grad():
        weights = network.state_dict()
        if preset == "official":
            Y = published_forward({source_of(name): tensor for name, tensor in weights.items()}, T_, M)
        else:
            Y = paper_forward(weights, T_, M)
        expected = (M * T_**2 + (1 - M) * (torch.exp(Y.double()) - 1).clamp(min=0))[0].permute(1, 2, 0)
    np.testing.assert_allclose(reconstruct(T, network, CPU), expected, rtol=1e-4, atol=1e-5)


def test_tiles_that_are_none_are_refused() -> None:
    network, T = network_of(width=1), photograph(4, 4)
    for side in (0, -128, 100):
        with pytest.raises(ValueError, match="multiple of 128"):
            reconstruct(T, network, CPU, side)
    for shape in ((0, 4, 3), (4, 4), (4, 4, 4)):
        with pytest.raises(ValueError, match="is asked for"):
            reconstruct(np.zeros(shape, np.float32), network, CPU)


def test_automatic_tiles_follow_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    network, T, seen = network_of(width=1), photograph(300, 500), []

    def count(tiles: list[object]) -> list[object]:
        seen.append(len(tiles))
        return tiles

    for free in (10**10, 10**6):
        monkeypatch.setattr("model.inference.available", lambda _, free=free: free)
        reconstruct(T, network, CPU, "auto", count)  # type: ignore[arg-type]
    assert seen == [1, 12]


def test_a_hundred_megapixels_fit_into_24_gb(monkeypatch: pytest.MonkeyPatch) -> None:
    height, width = 8660, 11547
    with torch.device("meta"):
        network = MaskedUNet(Architecture())
    free = int(24e9 - 0.7e9) - 12 * height * width  # after the program and T, before radiance
    monkeypatch.setattr("model.inference.available", lambda _: free)
    assert side_of("auto", height, width, network, CPU) == 3968  # docs/reconstruction.md


def test_the_result_counts_among_what_is_to_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of(width=1)
    height, width = 128 * 20, 128 * 30
    whole = needed(network.architecture, height * width) / SHARE + 1
    for result, side in ((12 * height * width, None), (0, 128 * 15)):
        monkeypatch.setattr("model.inference.available", lambda _, result=result: int(whole + result))
        assert side_of("auto", height, width, network, CPU) == side
        assert side_of("auto", height, width, network, torch.device("cuda")) is None  # where no result lies


def test_numbers_that_are_none_are_told() -> None:
    network = network_of(width=1)
    assert network.head.bias is not None
    network.head.bias.data.fill_(float("nan"))
    with pytest.raises(PictureError, match="not finite"):
        reconstruct(np.ones((4, 4, 3), np.float32), network, CPU)
