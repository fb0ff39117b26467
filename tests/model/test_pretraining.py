"""HDR from photographs: the curve is taken back, the right share is clipped, saturated photographs are refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from model.data import Pair
from model.errors import PictureError
from model.order import Draw
from model.photographs import Photographs, index_of, survey
from model.pretraining import SimulatedHdr, is_unsaturated, linearise, simulate
from pipeline.camera import CameraSettings, response
from tests.model.photo_folder import make_photographs, picture


def dataset(folder: Path) -> SimulatedHdr:
    return SimulatedHdr(Photographs(index_of(folder, survey(folder, 64).names, ""), 1, 64))


def test_linearising_takes_the_camera_curve_back() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    H = linearise(levels)
    np.testing.assert_allclose(response(H, 0.9, 0.6) * 255.0, levels, atol=1e-3)
    assert H[0, 0, 0] == 0.0
    assert abs(float(H[-1, -1, 0]) - 1.0) < 1e-6


def test_ten_to_thirty_per_cent_are_clipped(tmp_path: Path) -> None:
    simulated = dataset(make_photographs(tmp_path / "photos", 2))
    still = simulated.camera.model_dump() | {"noise_sigma": 0, "hue_shift": 0, "saturation_shift": 0}
    camera = CameraSettings.model_validate(still)  # noise and colour move values across the level
    patch = np.random.default_rng(0).integers(0, 240, (64, 64, 3), np.uint8)
    shares = []
    for number in range(40):
        pair = simulate(patch, camera, 1, number)
        assert pair.hdr.dtype == np.float16
        assert pair.ldr.dtype == np.uint8
        assert pair.patch_id == number
        assert np.isfinite(pair.hdr).all()
        shares.append(float((pair.hdr >= 1.0).mean()))
    assert 0.09 < min(shares) < 0.14
    assert 0.26 < max(shares) < 0.31
    assert isinstance(simulated[Draw(0, 0)], Pair)


def test_the_same_number_is_the_same_patch(tmp_path: Path) -> None:
    folder = make_photographs(tmp_path / "photos", 3)
    one, other = (dataset(folder)[Draw(1, 9)] for _ in range(2))
    assert isinstance(one, Pair)
    assert isinstance(other, Pair)
    assert (one.hdr.tobytes(), one.ldr.tobytes()) == (other.hdr.tobytes(), other.ldr.tobytes())
    later = dataset(folder)[Draw(1, 10)]
    assert isinstance(later, Pair)
    assert later.ldr.tobytes() != one.ldr.tobytes()


def test_what_counts_as_unsaturated() -> None:
    patch = np.full((64, 64, 3), 100, np.uint8)
    assert is_unsaturated(patch)
    patch[0, :4, 1] = 250  # 4 of 4096 pixels, in one channel
    assert is_unsaturated(patch)
    patch[1, 0, 2] = 255
    assert not is_unsaturated(patch)
    assert not is_unsaturated(np.zeros((64, 64, 3), np.uint8))


def test_saturated_photographs_give_way_or_end_in_one_sentence(tmp_path: Path) -> None:
    mixed = make_photographs(tmp_path / "mixed", 3)
    bright = make_photographs(tmp_path / "bright", 2)
    for file in bright.rglob("*.png"):
        saturate(file)
    saturate(mixed / "000.png")
    assert isinstance(dataset(mixed)[Draw(0, 0)], Pair)
    found = dataset(bright)[Draw(0, 0)]
    assert isinstance(found, PictureError)
    assert "gave no patch that is unsaturated (at most 0.1% of its pixels reach 250)" in str(found)


def saturate(file: Path) -> None:
    white = picture(0)
    white[:] = 255
    cv2.imwrite(str(file), white)
