"""What is found, what it is called, and that nothing is overwritten."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.errors import PictureError
from model.inputs import Claims, Input, find_inputs
from model.results import write_png
from pipeline.errors import UsageError


def touch(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [folder / name for name in names]


def places(*paths: Path) -> dict[str, str]:
    return {given.file.name: given.place.as_posix() for given in find_inputs(paths)}


def test_a_folder_is_searched_to_its_depth_and_its_structure_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    touch(tmp_path, "b.JPG", "trip/day/a.png", "c.mp4", "notes.txt", ".hidden/x.png", "trip/._a.png")
    assert places(tmp_path) == {"b.JPG": "b", "a.png": "trip/day/a", "c.mp4": "c"}
    assert capsys.readouterr().err == f"{tmp_path}: 1 file of other types ignored\n"


def test_a_file_is_taken_by_its_name_and_once(tmp_path: Path) -> None:
    (deep,) = touch(tmp_path, "trip/a.png")
    assert places(deep) == {"a.png": "a"}
    assert [given.file for given in find_inputs([deep, tmp_path, deep])] == [deep]
    assert places(tmp_path / "none.raw") == {"none.raw": "none"}  # what it lacks is told when it is read


def test_inputs_of_one_name_keep_their_suffixes(tmp_path: Path) -> None:
    touch(tmp_path, "x.jpg", "X.png", "y.jpg", "x.mp4")
    assert places(tmp_path) == {"x.jpg": "x.jpg", "X.png": "X.png", "y.jpg": "y", "x.mp4": "x"}


def test_what_an_earlier_run_left_is_no_input(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b_preview.png")
    write_png(tmp_path / "a_preview.png", np.zeros((2, 2, 3), np.uint8))
    write_png(tmp_path / "a_masks.png", np.zeros((2, 2, 3), np.uint8))
    assert sorted(places(tmp_path)) == ["a.jpg", "b_preview.png"]
    write_png(tmp_path / "ours.png", np.zeros((2, 2, 3), np.uint8))
    assert "ours.png" in places(tmp_path)


def test_a_folder_with_nothing_to_read_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    with pytest.raises(UsageError, match="holds nothing to reconstruct"):
        find_inputs([tmp_path])


def test_targets() -> None:
    still, video = Input(Path("in/a.jpg"), Path("trip/a.b")), Input(Path("in/v.MOV"), Path("v"))
    assert (still.is_video, video.is_video) == (False, True)
    assert still.targets(Path("out"), [".exr"]) == [Path("out/trip/a.b.exr")]
    assert video.targets(Path("out"), ["_preview.png", ".exr"], frame=12) == [
        Path("out/v/v.0012_preview.png"),
        Path("out/v/v.0012.exr"),
    ]


def test_no_file_is_claimed_twice_and_no_input_at_all(tmp_path: Path) -> None:
    one, two = (Input(file, Path("x")) for file in touch(tmp_path, "p/x.png", "q/x.png"))
    claims = Claims([one, two])
    claims.claim(one, [tmp_path / "out.exr"])
    claims.claim(one, [tmp_path / "out.exr"])
    for target in (tmp_path / "out.exr", one.file):
        with pytest.raises(PictureError, match=r"would replace .*x\.png or its result: rename one of them"):
            claims.claim(two, [target])
    with pytest.raises(PictureError, match="would replace"):
        claims.claim(two, [two.file])
