"""Which photographs are used, on which side; cuts are a function of seed and number."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from model.errors import PictureError
from model.order import Draw
from model.photographs import TRIES, Photographs, cut, index_of, split_names, survey
from tests.model.photo_folder import make_photographs, picture


def supply(folder: Path, seed: int = 1) -> Photographs:
    return Photographs(index_of(folder, survey(folder, 64).names, ""), seed, 64)


def patch(photographs: Photographs, place: int, number: int) -> bytes:
    return photographs.patch(Draw(place, number), lambda _: True, "is there").tobytes()


def test_small_and_damaged_pictures_are_counted_and_left_out(tmp_path: Path) -> None:
    folder = make_photographs(tmp_path / "photos", 4)
    cv2.imwrite(str(folder / "small.png"), picture(0, 63, 200))
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no photograph")
    found = survey(folder, 64)
    assert found.names == ("000.png", "003.png", "within/001.png", "within/002.png")
    assert found.notice(64) == (
        f"Photographs in {folder}: 4; left out: 1 smaller than 64 pixels, 1 that cannot be read (such as broken.jpg)"
    )


def test_folders_without_a_usable_photograph_say_why(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="there is no folder"):
        survey(tmp_path / "nowhere", 64)
    (tmp_path / "empty").mkdir()
    with pytest.raises(PictureError, match=r"holds no photographs \(jpg, .*\): name a folder that does"):
        survey(tmp_path / "empty", 64)
    with pytest.raises(PictureError, match=r"3 smaller than 512 pixels, 0 that cannot be read\): lower"):
        survey(make_photographs(tmp_path / "photos", 3), 512)


def test_a_patch_depends_on_seed_and_number_alone(tmp_path: Path) -> None:
    folder = make_photographs(tmp_path / "photos", 5)
    one = supply(folder)
    first = [patch(one, place, number) for place, number in ((0, 0), (1, 1), (0, 5))]
    again = supply(folder)
    assert [patch(again, place, number) for place, number in ((0, 5), (1, 1), (0, 0))] == first[::-1]
    assert first[0] != first[2]  # the same photograph, cut elsewhere
    assert patch(supply(folder, seed=2), 0, 0) != first[0]


def test_a_photograph_damaged_within_gives_way_to_another_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_photographs(tmp_path / "photos", 3)
    whole = (folder / "000.png").read_bytes()
    (folder / "000.png").write_bytes(whole[: len(whole) // 2])  # its header is good
    photographs = supply(folder)
    assert len(photographs) == 3
    replaced = [patch(photographs, 0, number) for number in range(6)]
    again = supply(folder)
    assert replaced == [patch(again, 0, number) for number in range(6)]
    assert capsys.readouterr().err.count("000.png is passed over: it cannot be read") == 2  # once each supply


def test_nothing_that_suits_is_one_sentence(tmp_path: Path) -> None:
    photographs = supply(make_photographs(tmp_path / "photos", 2))
    with pytest.raises(PictureError, match=f"{TRIES} photographs from .* in a row gave no patch that is blue"):
        photographs.patch(Draw(0, 0), lambda _: False, "is blue")


def test_cuts_lie_within_and_keep_the_colours() -> None:
    T = np.zeros((90, 130, 3), np.float32)
    T[..., 0] = np.linspace(0.0, 1.0, 130)  # tells column
    T[..., 1] = np.linspace(0.0, 1.0, 90)[:, None]  # tells row
    mirrored, spans = 0, []
    for seed in range(60):
        found = cut(T, np.random.default_rng(seed), 64)
        assert found.shape == (64, 64, 3)
        assert found.dtype == np.uint8
        assert not found[..., 2].any()
        columns, rows = np.diff(found[0, :, 0].astype(int)), np.diff(found[:, 0, 1].astype(int))
        assert (columns <= 0).all() or (columns >= 0).all()
        assert (rows >= 0).all()
        mirrored += int(columns.sum() < 0)
        spans.append(int(rows.sum()) / 255.0 * 89.0)
    assert 15 < mirrored < 45
    assert min(spans) < 66.0  # as it is
    assert max(spans) > 85.0  # the whole height, shrunk


def test_sides_are_disjoint_and_keep_when_photographs_are_added() -> None:
    names = [f"{i}.jpg" for i in range(300)]
    train, validation = split_names(names, 0.1)
    assert sorted(train + validation) == sorted(names)
    assert 15 <= len(validation) <= 45
    more = split_names([*names, "another.jpg"], 0.1)
    assert set(train) <= set(more[0])
    assert set(validation) <= set(more[1])
    assert split_names(validation, 0.1) == (validation, [])
    assert split_names(names, 0.0) == (names, [])


def test_the_fingerprint_tells_photographs_and_purpose(tmp_path: Path) -> None:
    folder = make_photographs(tmp_path / "photos", 3)
    names = survey(folder, 64).names
    fingerprint = index_of(folder, names, "a").fingerprint
    assert fingerprint == index_of(folder, names, "a").fingerprint
    assert fingerprint != index_of(folder, names, "b").fingerprint
    assert fingerprint != index_of(folder, names[1:], "a").fingerprint
    (folder / names[0]).write_bytes((folder / names[0]).read_bytes() + b"!")
    assert fingerprint != index_of(folder, names, "a").fingerprint
