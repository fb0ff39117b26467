"""PU21: the encoding's tabulated values, and both metrics on the reference pictures."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from model.metrics.pu21 import pu21_decode, pu21_encode
from model.metrics.pu21_psnr import pu21_psnr, pu21_psnr_y
from model.metrics.pu21_ssim import pu21_ssim
from tests.model.reference_pictures import CROPS, EXPECTED, Picture, curves, scaled_crop, waves

METRICS = {"PSNR": pu21_psnr, "PSNR_Y": pu21_psnr_y, "SSIM": pu21_ssim}
WANTED = EXPECTED["pu21"]
TOLERANCE = 1e-9  # of what is given with ten decimals


def test_tabulated_values() -> None:
    Y = torch.tensor([float(level) for level in WANTED["encoding"]], dtype=torch.float64)
    V = pu21_encode(Y)
    assert V.tolist() == pytest.approx(list(WANTED["encoding"].values()), abs=TOLERANCE)
    torch.testing.assert_close(pu21_decode(V[1:]), Y[1:], rtol=1e-9, atol=0.0)


def test_beyond_its_range_it_is_constant() -> None:
    V = pu21_encode(torch.tensor([0.0, 0.001, 0.005, 1e4, 1e9], dtype=torch.float64))
    assert V[0] == V[1] == V[2]
    assert V[3] == V[4]
    assert V.min() >= 0


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("case", "AB")
def test_closed_form_pictures(case: str, name: str) -> None:
    A, R = waves(128, 192)
    T = A if case == "A" else curves(R)
    assert METRICS[name](T, R).value == pytest.approx(WANTED["synthetic"][case][name]["raw"], abs=TOLERANCE)


@pytest.mark.parametrize("crop", CROPS)
def test_the_authors_crops(shared_data: Path, crop: str) -> None:
    pair = scaled_crop(shared_data, crop)
    for name, metric in METRICS.items():
        assert metric(*pair).value == pytest.approx(WANTED["crops"][crop][name]["raw"], abs=TOLERANCE), name


def test_equal_pictures() -> None:
    R: Picture = np.full((3, 4, 3), 50.0)
    assert [metric(R, R).value for metric in METRICS.values()] == [math.inf, math.inf, 1.0]


def test_a_pair_of_known_codes() -> None:
    """Codes that are 25.6 apart everywhere: a tenth of the peak, 20 dB."""
    V = torch.tensor([100.0, 125.6], dtype=torch.float64)
    R, T = (torch.full((2, 2, 3), float(level)) for level in pu21_decode(V))
    assert pu21_psnr(T, R).value == pytest.approx(20.0, abs=1e-4)  # float32 pictures
    assert pu21_psnr_y(T, R).value == pytest.approx(20.0, abs=1e-4)
