"""All metrics of a pair: closed forms, scale, conditions, and pictures that cannot be compared or not by all."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from model.errors import MetricError
from model.metrics import CORRECTED, compare, headline, quantity_of
from model.metrics.mse import mse_gamma
from model.metrics.pair import FLOOR, Image
from model.metrics.psnr import psnr
from model.metrics.result import Result
from model.metrics.ssim import similarity, ssim
from tests.model.reference_pictures import EXPECTED, Picture, crop, waves

PLAIN = ["mse_gamma", "psnr", "ssim", "pu21_psnr", "pu21_psnr_y", "pu21_ssim", "hdr_vdp_2"]
REFERENCE = waves(40, 50)[1]


def flat(value: float, *size: int) -> Picture:
    return np.full((*(size or (3, 4)), 3), value)


# Each metric by itself


def test_mse_that_can_be_worked_out() -> None:
    result = mse_gamma(flat(4.0), flat(1.0))  # (2 - 1)^2
    assert (result.quantity, result.value, result.encoding) == ("mse", 1.0, "L^(1/2), not clipped")
    assert mse_gamma(flat(8.0), flat(1.0), gamma=3.0).value == pytest.approx(1.0)
    assert mse_gamma(flat(-5.0), flat(1.0)).value == 1.0  # negative light counts as none


def test_mse_grows_with_the_scale_as_documented() -> None:
    T, R = waves(20, 30)
    one, four = mse_gamma(T, R).value, mse_gamma(4 * T, 4 * R).value
    assert one is not None
    assert four == pytest.approx(4 * one)


def test_psnr_that_can_be_worked_out() -> None:
    R, T = flat(100.0), flat(81.0)  # 0.9 and 1.0 after the gamma: MSE 0.01
    assert psnr(T, R).value == pytest.approx(20.0)
    assert psnr(7 * T, 7 * R).value == pytest.approx(20.0)
    assert psnr(R, R).value == math.inf


def test_ssim_of_constant_pictures() -> None:
    """Without structure what remains is the luminance term, (2 a b + C1) / (a^2 + b^2 + C1)."""
    a, b, c1 = 0.6, 1.0, 0.01**2
    wanted = (2 * a * b + c1) / (a**2 + b**2 + c1)
    assert ssim(flat(a**2), flat(b)).value == pytest.approx(wanted)
    assert ssim(flat(b), flat(b)).value == 1.0


def test_ssim_is_that_of_plain_windows() -> None:
    """Against windows one by one, on a picture smaller than the window in one direction."""
    T, R = torch.rand(2, 7, 15, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).unbind()
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    padded = [np.pad(image.numpy(), 5, mode="edge") for image in (T, R)]
    values = []
    for y in range(7):
        for x in range(15):
            t, r = (image[y : y + 11, x : x + 11] for image in padded)
            mt, mr = (window * t).sum(), (window * r).sum()
            vt, vr, c = ((window * p).sum() for p in ((t - mt) ** 2, (r - mr) ** 2, (t - mt) * (r - mr)))
            first = (2 * mt * mr + 4e-4) / (mt**2 + mr**2 + 4e-4)
            values.append(first * (2 * c + 3.6e-3) / (vt + vr + 3.6e-3))
    assert similarity(T, R, 2.0) == pytest.approx(np.mean(values), abs=1e-12)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_a_black_reference_has_no_peak(metric: Callable[[Image, Image], Result]) -> None:
    result = metric(flat(1.0), flat(0.0))
    assert result.value is None
    assert result.reason is not None
    assert result.reason.startswith("the reference is black")


# All of them


def test_names_and_conditions() -> None:
    found = compare(0.9 * REFERENCE, REFERENCE)
    assert list(found) == [*PLAIN, *(name + CORRECTED for name in PLAIN)]
    for name, record in found.items():
        assert list(record) == [quantity_of(name), "version", "ppd", "scale", "factor", "encoding"]
        assert record["ppd"] == (30.0 if name.startswith("hdr_vdp_2") else None)
        given = name.startswith("mse_gamma")
        assert record["scale"] == ("as given" if given else "mean luminance of the reference 100 cd/m2")
    assert list(compare(REFERENCE, REFERENCE, crf_correction=False)) == PLAIN


def test_a_common_scale_changes_nothing_but_the_mse() -> None:
    T, R = waves(40, 50)
    one, other = headline(compare(T, R)), headline(compare(3e-4 * T, 3e-4 * R))
    for name in one.keys() - {"mse_gamma", "mse_gamma_crf"}:
        assert other[name] == pytest.approx(one[name], rel=1e-9), name
    assert other["mse_gamma"] == pytest.approx(3e-4 * one["mse_gamma"])


def test_the_scale_is_set_by_the_reference_alone() -> None:
    T, R = waves(20, 30)
    factor = 50 / float((R @ np.array([0.2126, 0.7152, 0.0722])).mean())
    scaled = compare(T, R, mean_luminance=50, crf_correction=False)
    absolute = compare(T * factor, R * factor, mean_luminance=None, crf_correction=False)
    assert scaled["hdr_vdp_2"]["factor"] == pytest.approx(factor)
    assert absolute["hdr_vdp_2"]["factor"] == 1.0
    assert absolute["hdr_vdp_2"]["scale"] == "cd/m2 as given"
    for name in PLAIN[1:]:
        assert headline(absolute)[name] == pytest.approx(headline(scaled)[name], rel=1e-9)


def test_both_are_floored() -> None:
    dark = REFERENCE.copy()
    dark[:20] = 0.0
    lifted = np.maximum(dark, FLOOR)
    found, wanted = (headline(compare(dark, image, mean_luminance=None)) for image in (dark, lifted))
    assert found["hdr_vdp_2"] == wanted["hdr_vdp_2"] == 100.0


def test_the_corrected_ones_are_of_the_corrected_picture() -> None:
    """A wrong exposure is what the correction is for."""
    found = headline(compare(0.3 * REFERENCE, REFERENCE))
    for name in ("psnr", "pu21_psnr", "ssim", "pu21_ssim", "hdr_vdp_2"):
        assert found[name + CORRECTED] > found[name]
    assert found["mse_gamma_crf"] < found["mse_gamma"]


def test_a_crop_of_the_authors(shared_data: Path) -> None:
    found = compare(*crop(shared_data, "0004"))
    wanted = EXPECTED["pu21"]["crops"]["0004"]
    for name, key in (("pu21_psnr", "PSNR"), ("pu21_psnr_y", "PSNR_Y"), ("pu21_ssim", "SSIM"), ("hdr_vdp_2", "Q")):
        assert headline(found)[name] == pytest.approx(wanted[key]["raw"], abs=1e-9)
        assert headline(found)[name + CORRECTED] == pytest.approx(wanted[key]["corrected"], abs=1e-6)


def test_arrays_and_tensors_of_any_precision_are_taken() -> None:
    T, R = waves(20, 30)
    wanted = headline(compare(T, R))
    assert headline(compare(torch.from_numpy(T), torch.from_numpy(R))) == wanted
    single = headline(compare(T.astype(np.float32), R.astype(np.float32), device=torch.device("cpu")))
    assert single == pytest.approx(wanted, rel=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_the_same() -> None:
    T, R = waves(64, 80)
    assert headline(compare(T, R, device=torch.device("cuda"))) == pytest.approx(headline(compare(T, R)), rel=1e-9)


def test_equal_pictures() -> None:
    found = headline(compare(REFERENCE, REFERENCE, crf_correction=False))
    assert found == dict(zip(PLAIN, (0.0, math.inf, 1.0, math.inf, math.inf, 1.0, 100.0), strict=True))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (16, 16), (5, 300)])
def test_small_pictures_have_all_but_hdr_vdp(size: tuple[int, int]) -> None:
    R = waves(*size)[1]
    found = compare(0.7 * R, R)
    for name, value in headline(found).items():
        undefined = name.startswith("hdr_vdp_2")
        assert math.isnan(value) == undefined, name
        assert found[name].get("reason") == ("both sides must have 17 pixels or more" if undefined else None)


def test_negative_light_counts_as_none() -> None:
    R = REFERENCE.copy()
    R[:5] *= -1
    wanted = headline(compare(REFERENCE, np.maximum(R, 0.0)))
    assert headline(compare(REFERENCE, R)) == wanted


def with_one(value: float) -> Picture:
    spoilt = REFERENCE.copy()
    spoilt[3, 4, 1] = value
    return spoilt


@pytest.mark.parametrize(
    ("test", "reference", "sentence"),
    [
        (
            flat(1.0, 3, 4),
            flat(1.0, 4, 3),
            "the test picture is 4x3 pixels and the reference 3x4 pixels: make them equal",
        ),
        (np.ones((4, 4)), np.ones((4, 4)), r"a picture is \(height, width, 3\), and not \(4, 4\)"),
        (np.ones((4, 4, 4)), np.ones((4, 4, 4)), r"a picture is \(height, width, 3\), and not \(4, 4, 4\)"),
        (np.ones((0, 4, 3)), np.ones((0, 4, 3)), r"a picture is \(height, width, 3\), and not \(0, 4, 3\)"),
        (np.ones((4, 4, 1)), np.ones((4, 4, 1)), r"and not \(4, 4, 1\)"),
        (with_one(math.nan), REFERENCE, "the test picture holds NaN or infinite values: repair it first"),
        (REFERENCE, with_one(math.inf), "the reference holds NaN or infinite values: repair it first"),
        (flat(1.0), flat(0.0), "the reference is black, so no factor gives it a mean luminance"),
        (flat(1.0), flat(-1.0), "the reference is black"),
    ],
)
def test_pairs_that_cannot_be_compared(test: Picture, reference: Picture, sentence: str) -> None:
    with pytest.raises(MetricError, match=sentence):
        compare(test, reference)


@pytest.mark.parametrize("level", [0.0, -1.0, math.nan, math.inf])
def test_a_mean_luminance_is_above_zero(level: float) -> None:
    with pytest.raises(MetricError, match="a mean luminance is above 0 cd/m2"):
        compare(REFERENCE, REFERENCE, mean_luminance=level)


def test_a_black_reference_in_absolute_units_is_measured() -> None:
    found = headline(compare(flat(1.0, 20, 20), flat(0.0, 20, 20), mean_luminance=None))
    assert not any(math.isnan(value) for value in found.values())
    assert found["hdr_vdp_2"] < 100


def test_the_document_names_every_metric() -> None:
    document = Path(__file__).parents[2] / "docs" / "metrics.md"
    if not document.exists():
        pytest.skip("runs in a checkout only")
    for name in PLAIN:
        assert f"| `{name}` | `{quantity_of(name)}` |" in document.read_text()
