"""The correction of the camera response: reference values, what it can undo, and pictures that determine no curve."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from model.metrics.crf import (
    crf_correct,
    fit_luminance,
    fit_polynomial,
    least_squares,
    pq_decode,
    pq_encode,
    terms,
    to_rgb,
    to_yuv,
)
from model.metrics.hdrvdp2 import hdr_vdp_2
from tests.model.reference_pictures import CROPS, EXPECTED, Picture, curves, scaled_crop, waves
from tests.model.test_pu21 import METRICS

WANTED = EXPECTED["pu21"]
TOLERANCE = 1e-6  # the normal equations of the reference values lose some digits that QR keeps


def check(T: Picture, R: Picture, wanted: dict[str, dict[str, float]]) -> None:
    C = crf_correct(T, R)
    for name, metric in METRICS.items():
        assert metric(C, R).value == pytest.approx(wanted[name]["corrected"], abs=TOLERANCE), name
    assert hdr_vdp_2(C.clamp(min=1e-5), R).value == pytest.approx(wanted["Q"]["corrected"], abs=TOLERANCE)


@pytest.mark.parametrize("case", "AB")
def test_closed_form_pictures(case: str) -> None:
    A, R = waves(128, 192)
    T, wanted = A if case == "A" else curves(R), WANTED["synthetic"][case]
    check(T, R, wanted)
    C = crf_correct(T, R)
    assert float(C.min()) == wanted["corrected_min"] == 0.0
    assert float(C.max()) == pytest.approx(wanted["corrected_max"], rel=1e-7)
    assert C.mean(dim=(0, 1)).tolist() == pytest.approx(wanted["corrected_mean_RGB"], rel=1e-7)
    codes = [pq_encode(to_yuv(torch.from_numpy(image).movedim(2, 0).clamp(min=0.005))[0]) for image in (T, R)]
    A_, _ = terms(codes[0].flatten()[None])
    linear, square, cube, constant = least_squares(A_, codes[1].flatten()[:, None])[:, 0].tolist()
    found = [constant, linear, square, cube]
    assert found == pytest.approx(wanted["luminance_fit_constant_linear_square_cube"], rel=1e-7)


@pytest.mark.parametrize("crop", CROPS[:2])
def test_the_authors_crops(shared_data: Path, crop: str) -> None:
    check(*scaled_crop(shared_data, crop), WANTED["crops"][crop])


@pytest.mark.parametrize("crop", CROPS[2:])
def test_the_other_crops_by_pu21(shared_data: Path, crop: str) -> None:
    T, R = scaled_crop(shared_data, crop)
    C = crf_correct(T, R)
    for name, metric in METRICS.items():
        assert metric(C, R).value == pytest.approx(WANTED["crops"][crop][name]["corrected"], abs=TOLERANCE), name


def test_an_equal_picture_is_left_as_it_is() -> None:
    R = np.clip(waves(40, 50)[1], 1.0, 500.0)
    assert crf_correct(R, R).numpy() == pytest.approx(R, rel=1e-5)


def test_a_curve_in_pq_is_undone() -> None:
    """Luminance whose PQ code is a cubic of the test picture's is found again, whatever it was."""
    codes = torch.linspace(0.2, 0.7, 600, dtype=torch.float64).reshape(20, 30)
    curve = 0.1 + 0.5 * codes + 0.7 * codes**2 - 0.4 * codes**3
    found = fit_luminance(pq_decode(codes), pq_decode(curve))
    torch.testing.assert_close(found, pq_decode(curve), rtol=1e-8, atol=0.0)


def test_regularisation_draws_to_no_change() -> None:
    t, r = torch.rand(2, 2, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).unbind()
    torch.testing.assert_close(fit_polynomial(t, r, 1e12), t, rtol=1e-9, atol=1e-9)
    free, held = (float((fit_polynomial(t, r, strength) - r).square().sum()) for strength in (0.0, 0.01))
    assert free < held < float((t - r).square().sum())


def test_the_fit_is_that_of_the_normal_equations() -> None:
    t, r = torch.rand(2, 2, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).unbind()
    A, W_0 = terms(t.flatten(1))
    assert A.shape == (81, 8)
    torch.testing.assert_close((A @ W_0).T, t.flatten(1))
    mu = 0.01 * 81 / 8
    W: Tensor = torch.linalg.solve(A.T @ A + mu * torch.eye(8), A.T @ r.flatten(1).T + mu * W_0)
    torch.testing.assert_close(fit_polynomial(t, r, 0.01), (A @ W).T.reshape(t.shape), rtol=1e-10, atol=1e-10)


def test_colour_conversion_there_and_back() -> None:
    rgb = torch.rand(3, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 100 + 1
    Y, uv = to_yuv(rgb)
    torch.testing.assert_close(to_rgb(Y, uv), rgb, rtol=1e-10, atol=1e-10)
    white = to_yuv(torch.ones(3, 1, 1, dtype=torch.float64))
    assert float(white[0]) == pytest.approx(1.0)
    # CIE 1976 u', v' of D65 are 0.1978 and 0.4683.
    assert (white[1].flatten() * 255 / 410).tolist() == pytest.approx([0.1978, 0.4683], abs=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (17, 20)])
@pytest.mark.parametrize("level", [0.0, 1e-3, 50.0, 1e6])
def test_a_constant_picture_becomes_the_mean_of_the_reference(size: tuple[int, int], level: float) -> None:
    R: npt.NDArray[np.float64] = np.full((*size, 3), 80.0)
    C = crf_correct(np.full((*size, 3), level), R)
    assert C.numpy() == pytest.approx(R, rel=1e-2)


def test_what_a_fit_makes_of_extremes_stays_finite() -> None:
    """The luminance of the test picture is dark but for one pixel, which no cubic holds back."""
    T, R = np.full((20, 20, 3), 1.0), np.full((20, 20, 3), 1.0)
    T[:, ::2], R[:, ::2], T[0, 0] = 1.1, 3000.0, 1e9
    C = crf_correct(T, R)
    assert bool(torch.isfinite(C).all())
    assert float(C.min()) >= 0.0


def test_the_correction_is_not_symmetric() -> None:
    T, R = waves(40, 50)
    assert not np.allclose(crf_correct(T, R).numpy(), crf_correct(R, T).numpy(), rtol=0.1)
