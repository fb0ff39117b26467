"""Patches that were never stored: mirrored, photographed anew, the same ones each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.augment import AugmentedBank, mirror, rephotograph
from model.data import BankDataset, Pair, split_bank
from model.order import Draw
from pipeline.bank import BankReader
from pipeline.camera import CameraSettings, response
from pipeline.errors import BankDamaged
from tests.model.toy_bank import make_bank, sources_on

UNCOMPRESSED = CameraSettings.model_validate({"jpeg_quality": 0})


def some_pair(seed: int = 0) -> Pair:
    rng = np.random.default_rng(seed)
    hdr = rng.lognormal(-1.5, 1.2, (64, 64, 3)).astype(np.float16)
    return Pair(5, hdr, np.zeros((64, 64, 3), np.uint8))


def read(dataset: AugmentedBank, number: int) -> Pair:
    pair = dataset[Draw(0, number)]
    assert isinstance(pair, Pair)
    return pair


def test_a_new_camera_scales_radiance_and_photographs_it() -> None:
    pair = some_pair()
    shares, factors = [], []
    for number in range(30):
        found = rephotograph(pair, UNCOMPRESSED, 1, number)
        ratio = found.hdr.astype(np.float32) / pair.hdr.astype(np.float32)
        assert float(ratio.max() / ratio.min()) < 1.01  # neither noise nor colour: one factor, but for rounding
        factors.append(float(np.median(ratio)))
        shares.append(float((found.hdr >= 1.0).mean()))
        curves = [response(found.hdr.astype(np.float32), n, 0.6) * 255.0 for n in (0.4, 1.6)]
        middle = found.ldr.astype(np.float32)
        assert float((curves[0] - middle).mean()) > 0.0 > float((curves[1] - middle).mean())
    assert 0.045 < min(shares) < max(shares) < 0.155  # 5 to 15 % clip
    assert len(set(factors)) > 25


def test_the_photograph_saturates_where_radiance_is_above_one() -> None:
    found = rephotograph(some_pair(), UNCOMPRESSED, 1, 2)
    assert (found.ldr[found.hdr >= 1.0] == 255).all()
    assert (found.ldr[found.hdr < 0.98] < 255).all()


def test_the_brightest_radiance_stays_finite() -> None:
    hdr = np.full((64, 64, 3), 0.01, np.float16)
    hdr[:2] = 60000.0
    found = rephotograph(Pair(1, hdr, np.zeros((64, 64, 3), np.uint8)), UNCOMPRESSED, 0, 0)
    assert np.isfinite(found.hdr).all()


def test_each_visit_differs_and_each_is_repeated_exactly(bank: Path) -> None:
    plain = BankDataset(str(bank), split_bank(BankReader(bank), 1).train)
    for camera in (None, CameraSettings()):
        first = [read(AugmentedBank(plain, 3, camera), n) for n in range(16)]
        again = [read(AugmentedBank(plain, 3, camera), n) for n in reversed(range(16))]
        assert [p.ldr.tobytes() for p in first] == [p.ldr.tobytes() for p in reversed(again)]
        assert [p.hdr.tobytes() for p in first] == [p.hdr.tobytes() for p in reversed(again)]
        assert len({p.ldr.tobytes() for p in first}) == (2 if camera is None else 16)


def test_mirroring_turns_both(bank: Path) -> None:
    pair = some_pair()
    turned = mirror(pair)
    np.testing.assert_array_equal(turned.hdr, np.flip(pair.hdr, 1))
    np.testing.assert_array_equal(turned.ldr, np.flip(pair.ldr, 1))


@pytest.mark.parametrize("camera", [None, CameraSettings()])
def test_damage_is_handed_on(tmp_path: Path, camera: CameraSettings | None) -> None:
    bank = make_bank(tmp_path / "bank", sources_on("train", 1))
    plain = BankDataset(str(bank), split_bank(BankReader(bank), 1).train)
    for shard in (p for p in (bank / "hdr" / "c").rglob("*") if p.is_file()):
        shard.unlink()
    assert isinstance(AugmentedBank(plain, 0, camera)[Draw(0, 0)], BankDamaged)
