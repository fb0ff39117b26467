"""Holes: a function of seed and index, of bounded share, and taken from pictures as they are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from model.errors import PictureError
from model.holes import SHARES, DrawnHoles, Holes, PicturedHoles, resize_nearest


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (128, 128)])
@pytest.mark.parametrize("shares", [SHARES, (0.2, 0.3), (0.0, 0.1), (0.5, 1.0)])
def test_shares_of_drawn_holes_are_bounded(size: tuple[int, int], shares: tuple[float, float]) -> None:
    source = DrawnHoles(3, shares)
    found = [float(source.holes(i, *size).mean()) for i in range(40)]
    assert shares[0] <= min(found)
    assert max(found) <= shares[1]


def test_shares_spread_over_the_whole_range() -> None:
    source = DrawnHoles(0)
    found = np.array([source.holes(i, 64, 64).mean() for i in range(200)])
    counts, _ = np.histogram(found, bins=np.linspace(*SHARES, 5))
    assert counts.min() > 20  # of 50 in each quarter, were they even


def test_a_mask_is_a_function_of_seed_and_index() -> None:
    masks = [DrawnHoles(seed).holes(index, 64, 64) for seed in (0, 1) for index in (0, 1)]
    assert masks[0].dtype == np.bool_
    assert masks[0].shape == (64, 64)
    assert len({mask.tobytes() for mask in masks}) == 4
    source = DrawnHoles(1)
    source.holes(7, 64, 64)  # whatever was drawn before
    assert np.array_equal(source.holes(1, 64, 64), masks[3])


def test_holes_lie_anywhere() -> None:
    source = DrawnHoles(0)
    mean = np.mean([source.holes(i, 32, 32) for i in range(300)], axis=0)
    assert mean.min() > 0.1
    assert mean.max() < 0.6


def test_bounds_too_close_are_refused() -> None:
    for shares in ((0.3, 0.35), (-0.1, 0.5), (0.5, 1.1), (0.6, 0.2)):
        with pytest.raises(ValueError, match=r"at least 0\.1 apart"):
            DrawnHoles(0, shares)


def corner(size: int = 8) -> Holes:
    """A mask that no turn and no flip leaves as it is: an L."""
    holes = np.zeros((size, size), np.bool_)
    holes[: size // 2, : size // 4] = True
    holes[: size // 8, :] = True
    return holes


def write(folder: Path, holes: Holes, name: str = "a.png", *, inverted: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    cv2.imwrite(str(folder / name), np.where(holes ^ inverted, 255, 0).astype(np.uint8))
    return folder


def variants(holes: Holes) -> set[bytes]:
    return {np.rot90(h, k).tobytes() for h in (holes, holes[:, ::-1]) for k in range(4)}


@pytest.mark.parametrize("colour", ["white", "black"])
def test_pictured_holes_are_those_of_the_picture_turned_and_flipped(tmp_path: Path, colour: str) -> None:
    folder = write(tmp_path / "masks", corner(), inverted=colour == "black")
    source = PicturedHoles(folder, 0, holes_are=colour)  # type: ignore[arg-type]
    found = {source.holes(i, 8, 8).tobytes() for i in range(60)}
    assert found == variants(corner())
    assert np.array_equal(source.holes(5, 8, 8), PicturedHoles(folder, 0, colour).holes(5, 8, 8))  # type: ignore[arg-type]


def test_any_size_becomes_the_one_asked_for(tmp_path: Path) -> None:
    folder = write(tmp_path / "masks", np.repeat(np.repeat(corner(), 3, axis=0), 5, axis=1))  # 24x40
    holes = PicturedHoles(folder, 0).holes(0, 16, 16)
    assert holes.tobytes() in variants(np.repeat(np.repeat(corner(), 2, axis=0), 2, axis=1))


def test_resizing_takes_the_nearest_pixel() -> None:
    holes = np.array([[True, False, False, True]])
    assert resize_nearest(holes, 2, 8).tolist() == [[True, True, False, False, False, False, True, True]] * 2
    assert resize_nearest(holes, 1, 2).tolist() == [[False, True]]


def test_grey_between_black_and_white_is_cut_in_the_middle(tmp_path: Path) -> None:
    grey = np.tile(np.array([0, 127, 128, 255], np.uint8), (4, 1))
    cv2.imwrite(str(tmp_path / "a.png"), grey)
    assert PicturedHoles(tmp_path, 0).holes(0, 4, 4).sum() == 8


def test_all_pictures_of_a_folder_are_used_and_unfit_ones_passed_over(tmp_path: Path) -> None:
    nothing, everything = np.zeros((8, 8), np.bool_), np.ones((8, 8), np.bool_)
    half = np.tril(everything, -1)
    for name, holes in (("n.png", nothing), ("e.png", everything), ("a.png", corner()), ("b.png", half)):
        write(tmp_path / "masks", holes, name)
    write(tmp_path / "masks" / "deeper", corner(), "c.PNG")
    (tmp_path / "masks" / "readme.txt").write_text("no mask")
    source = PicturedHoles(tmp_path / "masks", 0)
    assert len(source.files) == 5
    found = {source.holes(i, 8, 8).tobytes() for i in range(80)}
    assert found <= variants(corner()) | variants(half)
    assert found & variants(corner())
    assert found & variants(half)


def test_masks_of_the_other_colour_are_suspected(tmp_path: Path) -> None:
    mostly_white = np.ones((8, 8), np.bool_)
    mostly_white[0, 0] = False
    folder = write(tmp_path / "masks", mostly_white)
    with pytest.raises(PictureError, match="none has holes over 1% to 60% of its pixels: perhaps its holes are black"):
        PicturedHoles(folder, 0).holes(0, 8, 8)


def test_what_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"holds no pictures of masks \(png, jpg"):
        PicturedHoles(tmp_path, 0)
    with pytest.raises(PictureError, match="holds no pictures"):
        PicturedHoles(tmp_path / "none", 0)
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(PictureError, match=r"the mask .*a\.png: it cannot be read"):
        PicturedHoles(tmp_path, 0).holes(0, 8, 8)
