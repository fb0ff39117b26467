"""HDR-VDP-2.2.1 Q: the values of the original release, its stages by themselves, and what cannot be measured."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from model.errors import MetricError
from model.metrics.hdrvdp2 import band_weight, difference_mask, hdr_vdp_2
from model.metrics.hdrvdp2.encodings import Encoding
from model.metrics.hdrvdp2.masking import neighbour_activity
from model.metrics.hdrvdp2.optics import filter_in_surround, frequencies, mtf
from model.metrics.hdrvdp2.pathway import band_frequency, see
from model.metrics.hdrvdp2.receptors import cone_sensitivity, response_tables, rod_sensitivity, total_sensitivity
from model.metrics.hdrvdp2.resampling import resample, resampling_weights
from model.metrics.hdrvdp2.sensitivity import ncsf, sensitivity_table
from model.metrics.hdrvdp2.steerable import correlate, count_levels, decompose, steerable_taps
from tests.model.reference_pictures import CROPS, EXPECTED, grey, scaled_crop, waves

WANTED = EXPECTED["hdr_vdp_2"]
TOLERANCE = 1e-9  # the reference values have 10 to 12 digits
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


def quality(*pair: Any, **options: Any) -> float:
    value = hdr_vdp_2(*pair, **options).value
    assert value is not None
    return value


def double(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def random(*shape: int) -> Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", WANTED["synthetic"], ids=lambda case: case["name"])
def test_closed_form_pictures(case: dict[str, Any], device: str) -> None:
    T, R = waves(case["height"], case["width"])
    options = {"ppd": case["ppd"], "surround": None if case["surround"] == -1 else case["surround"]}
    pair = [torch.from_numpy(image).to(device) for image in (T, R)]
    assert quality(*pair, **options) == pytest.approx(case["Q_rgb"], abs=TOLERANCE)
    pair = [torch.from_numpy(grey(image)).to(device) for image in (T, R)]
    assert quality(*pair, encoding="luminance", **options) == pytest.approx(case["Q_luminance"], abs=TOLERANCE)


@pytest.mark.parametrize("name", CROPS)
def test_the_authors_crops(shared_data: Path, name: str) -> None:
    test, reference = scaled_crop(shared_data, name)
    assert quality(test, reference) == pytest.approx(WANTED["crops"][name]["Q_rgb"], abs=TOLERANCE)
    found = quality(grey(test), grey(reference), encoding="luminance")
    assert found == pytest.approx(WANTED["crops"][name]["Q_luminance"], abs=TOLERANCE)


@pytest.mark.parametrize("part", WANTED["parts_of_crops"], ids=lambda part: part["name"])
def test_parts_of_the_crops(shared_data: Path, part: dict[str, Any]) -> None:
    pair = [image[slice(*part["rows"]), slice(*part["columns"])] for image in scaled_crop(shared_data, part["crop"])]
    surround = None if part["surround"] == -1 else part["surround"]
    assert quality(*pair, ppd=part["ppd"], surround=surround) == pytest.approx(part["Q_rgb"], abs=TOLERANCE)


def test_other_encodings() -> None:
    assert quality(*waves(128, 192), encoding="XYZ") == pytest.approx(WANTED["encodings"]["XYZ"], abs=TOLERANCE)
    x, y = np.meshgrid(np.arange(192) / 192, np.arange(128) / 128)
    k = np.arange(1, 4)
    V = 0.5 + 0.48 * np.sin(2 * np.pi * (2 * x[..., None] + 0.3 * k)) * np.cos(6 * np.pi * y)[..., None]
    T = np.clip(V + 0.04 * np.sin(2 * np.pi * (23 * x - 19 * y))[..., None], 0, 1)
    assert quality(T, V, encoding="sRGB-display") == pytest.approx(WANTED["encodings"]["sRGB-display"], abs=TOLERANCE)
    found = quality(T[..., 1:2], V[..., 1:2], encoding="luma-display")
    assert found == pytest.approx(WANTED["encodings"]["luma-display"], abs=TOLERANCE)


def test_zeros() -> None:
    T, R = waves(128, 192)
    R[:10, :10], T[:10, :5] = 0, 0
    assert quality(T, R) == pytest.approx(WANTED["zeros"]["Q_without_floor"], abs=TOLERANCE)
    floored = (np.maximum(T, 1e-5), np.maximum(R, 1e-5))
    assert quality(*floored) == pytest.approx(WANTED["zeros"]["Q_both_floored_at_1e-5"], abs=TOLERANCE)


@pytest.mark.parametrize("encoding", ["rgb-bt.709", "XYZ", "sRGB-display"])
def test_equal_pictures_have_100(encoding: Encoding) -> None:
    R = waves(40, 30)[1] / 1e4
    assert quality(R, R.copy(), encoding=encoding) == 100.0


def test_the_result_names_its_conditions() -> None:
    result = hdr_vdp_2(*waves(20, 20), ppd=45)
    assert (result.quantity, result.version, result.ppd) == ("Q", "2.2.1", 45)
    assert result.encoding == "rgb-bt.709, surround 1e-05 cd/m2"


def test_pictures_too_small_for_the_pyramid_have_no_q() -> None:
    assert hdr_vdp_2(*waves(17, 17)).value is not None
    result = hdr_vdp_2(*waves(16, 40))
    assert result.value is None
    assert result.reason == "both sides must have 17 pixels or more"


def test_channels_and_options_out_of_range() -> None:
    T, R = waves(20, 20)
    with pytest.raises(MetricError, match=r"a picture is \(height, width, 1\), and not \(20, 20, 3\)"):
        hdr_vdp_2(T, R, encoding="luminance")
    for ppd in (0.0, -1.0, math.nan):
        with pytest.raises(MetricError, match="pixels per degree are above 0"):
            hdr_vdp_2(T, R, ppd=ppd)


# The stages


def test_bands_of_a_reference_case() -> None:
    T, R = (torch.from_numpy(image).movedim(2, 0) for image in waves(64, 64))
    seen = see(T, R, 20, double([10.0] * 3))
    assert seen.adaptation.mean(dim=(1, 2)).tolist() == pytest.approx([133.8343332, 414.0676214], rel=1e-9)
    assert seen.adaptation[:, 0, 0].tolist() == pytest.approx([62.20768152, 597.2512517], rel=1e-9)
    assert int(difference_mask(T, R).sum()) == 4060
    for f, o, rho, weight, of_reference, of_test in WANTED["bands_of_S3_f_o_rho_w_rmsR_rmsT"]:
        assert band_frequency(f, 20) == rho
        assert band_weight(rho) == pytest.approx(weight, rel=1e-9)
        root = seen.bands[f - 1][:, o - 1].square().mean(dim=(1, 2)).sqrt()
        assert root.tolist() == pytest.approx([of_test, of_reference], rel=1e-9)


def test_receptor_tables() -> None:
    L = 10.0 ** np.linspace(-5, 5, 2048)
    cones, rods = response_tables()
    for node, *wanted in WANTED["receptor_tables_node_sA_sR_sC_tC_tR"]:
        sensitivities = [f(L)[node] for f in (total_sensitivity, rod_sensitivity, cone_sensitivity)]
        assert [*sensitivities, cones.values[node], rods.values[node]] == pytest.approx(wanted, rel=1e-8)


def test_contrast_sensitivity() -> None:
    for rho, L, wanted in WANTED["ncsf_rho_L"]:
        assert float(ncsf(double(rho), double(L))) == pytest.approx(wanted, rel=1e-9)
        assert float(sensitivity_table(rho)(double(L).log10())) == pytest.approx(wanted, rel=1e-3)
    assert float(ncsf(double(0.0), double(5.0))) == 0.0


def test_modulation_transfer() -> None:
    assert mtf(double([0.0, 0.5, 5.0, 15.0])).tolist() == pytest.approx(
        [1.0, 0.8946855636, 0.4593450061, 0.2813641656], rel=1e-9
    )


def test_a_filter_sees_the_surround() -> None:
    maps, surround = random(3, 7, 9), double(2.5)
    padded = surround.expand(3, 14, 18).clone()
    padded[:, :7, :9] = maps
    rho = frequencies(7, 9, 30.0, maps.device)
    wanted = torch.fft.irfft2(torch.fft.rfft2(padded) * mtf(rho), s=(14, 18))[:, :7, :9]
    torch.testing.assert_close(filter_in_surround(maps, mtf, 30.0, surround), wanted, rtol=1e-12, atol=1e-12)


def test_taps_are_those_of_the_filter_set() -> None:
    taps = steerable_taps()
    squares = {name: float(kernels.square().sum()) for name, kernels in taps.items()}
    wanted = {"initial_high_pass": 0.65838687108, "initial_low_pass": 0.34748098973, "low_pass": 0.33990385358}
    assert squares == pytest.approx(wanted | {"oriented": 0.5015038646}, rel=1e-7)
    assert sum(kernels.numel() for kernels in taps.values()) == 919
    assert taps["oriented"][0, 4, 3:6].tolist() == pytest.approx([-0.1768, 0, 0.1768], abs=5e-5)
    assert taps["oriented"][2, 3:6, 4].tolist() == pytest.approx([0.1768, 0, -0.1768], abs=5e-5)


@pytest.mark.parametrize("size", [(17, 17), (20, 33), (31, 18)])
def test_correlation_is_that_of_plain_sums(size: tuple[int, int]) -> None:
    """The fast path beside its slow twin."""
    maps, kernels = random(2, *size), random(3, 9, 9)
    mirrored = functional.pad(maps[:, None], (4, 4, 4, 4), mode="reflect")
    wanted = functional.conv2d(mirrored, kernels[:, None])  # torch's convolution does not flip
    torch.testing.assert_close(correlate(maps, kernels), wanted, rtol=1e-12, atol=1e-12)


def test_levels_and_sizes_of_the_pyramid() -> None:
    sides = {512: 5, 128: 3, 64: 2, 33: 1, 17: 1, 16: 0}
    assert {side: count_levels(side, 1000) for side in sides} == sides
    assert count_levels(1000, 33) == 1
    shapes = [tuple(band.shape) for band in decompose(random(2, 37, 71))]
    assert shapes == [(2, 1, 37, 71), (2, 4, 37, 71), (2, 4, 19, 36), (2, 1, 10, 18)]


def test_resampling_weights_that_can_be_worked_out() -> None:
    half = [-0.046875, 0.11328125, 0.43359375, 0.43359375, 0.11328125, -0.03515625, -0.01171875, 0]
    assert resampling_weights(8, 4)[1].tolist() == pytest.approx(half, abs=1e-15)
    longer = resampling_weights(3, 5)
    assert longer[0].tolist() == pytest.approx([1.08, -0.08, 0], abs=1e-15)
    assert longer[1].tolist() == pytest.approx([0.624, 0.424, -0.048], abs=1e-15)


@pytest.mark.parametrize(("n", "N"), [(5, 5), (7, 3), (3, 7), (100, 2), (2, 100), (1, 4), (4, 1)])
def test_resampling_keeps_what_is_constant(n: int, N: int) -> None:
    assert resample(torch.full((1, n, 3), 2.5, dtype=torch.float64), (N, 3)) == pytest.approx(2.5, abs=1e-12)


def test_which_bands_mask_which() -> None:
    """One band after the other alone holds a signal: the low-pass masks none, and sees the one before it."""
    sizes = {1: (1, 24), 2: (4, 24), 3: (4, 12), 4: (1, 6)}

    def masked(source: int) -> list[int]:
        signals = [torch.full((o, n, n), float(f == source)).double() for f, (o, n) in sizes.items()]
        return [f for f in sizes if bool((neighbour_activity(f, signals) > 0).all())]

    assert [masked(source) for source in sizes] == [[2], [1, 3], [2, 4], []]
