"""`compare` on files: a pair and two folders, HDR and LDR, and one sentence about what cannot be compared."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model import comparison
from model.comparison import linearise
from model.evaluate import main
from model.metrics import compare
from model.pictures import read_ldr
from model.results import write_picture
from pipeline.records import FloatImage
from tests.model.reference_pictures import EXPECTED, waves

HDR: FloatImage = (waves(24, 30)[1] / 100).astype(np.float32)
LDR = np.rint(255 * np.sqrt(np.clip(HDR, 0, 1))).astype(np.uint8)
QUICK = ["--device", "cpu"]


def exr(file: Path, pixels: FloatImage = HDR) -> Path:
    write_picture(file, "openexr", pixels, "float")
    return file


def png(file: Path, pixels: np.ndarray[Any, Any] = LDR) -> Path:
    write_picture(file, "png", pixels, str(pixels.dtype))
    return file


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    return str(png(tmp_path / "test.png")), str(exr(tmp_path / "reference.exr"))


def told(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> dict[str, Any]:
    """What the command writes as JSON, read by the letter of the standard."""
    assert main(["compare", *arguments, *QUICK, "--json"]) == status
    stdout = capsys.readouterr().out
    found: dict[str, Any] = json.loads(stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    return found


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, status: int) -> str:
    """The one sentence that the command ends with."""
    assert main(["compare", *arguments, *QUICK]) == status
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.startswith("Error: ")
    assert stderr.count("\n") == 1
    return stderr.removeprefix("Error: ").rstrip("\n")


def test_an_ldr_picture_is_linearised_by_gamma(pair: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    for gamma in (2.0, 2.2):
        wanted = compare((LDR / 255) ** gamma, HDR)
        found = told(capsys, *pair, "--gamma", str(gamma))
        assert found == {name: {**record, "test_gamma": gamma} for name, record in wanted.items()}


def test_code_values_are_exact_for_8_and_16_bits(tmp_path: Path) -> None:
    T = read_ldr(png(tmp_path / "8.png"))
    np.testing.assert_array_equal(linearise(T, 1.0), LDR / 255)
    wide = LDR.astype(np.uint16) * 256 + 77
    np.testing.assert_array_equal(linearise(read_ldr(png(tmp_path / "16.png", wide)), 1.0), wide / 65535)
    between = (LDR.astype(np.float64) / 255 * 0.9 + 0.01).astype(np.float32)  # as a colour profile makes them
    np.testing.assert_allclose(linearise(between, 1.0), between, rtol=0, atol=2e-7)


def test_an_hdr_picture_is_taken_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test, reference = exr(tmp_path / "a.exr", HDR * np.float32(0.5)), exr(tmp_path / "b.exr")
    found = told(capsys, str(test), str(reference), "--mean-luminance", "20", "--ppd", "45", "--no-crf-correction")
    wanted = compare(HDR * np.float32(0.5), HDR, mean_luminance=20, ppd=45, crf_correction=False)
    assert found == {name: {**record, "test_gamma": None} for name, record in wanted.items()}


def test_pictures_in_absolute_units(pair: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, *pair, "--mean-luminance", "none")
    assert found["hdr_vdp_2"]["Q"] == compare((LDR / 255) ** 2.0, HDR, mean_luminance=None)["hdr_vdp_2"]["Q"]


def test_infinite_numbers_are_null_with_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(exr(tmp_path / "a.exr"))
    found = told(capsys, file, file)
    assert found["psnr"]["dB"] is None
    assert found["psnr"]["reason"].startswith("infinite: ")
    assert found["hdr_vdp_2"]["Q"] == 100.0


def test_a_crop_of_the_authors(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crops = shared_data / "authors"
    found = told(capsys, str(crops / "0004.png"), str(crops / "0004.exr"), "--no-crf-correction")
    assert found["hdr_vdp_2"]["Q"] == pytest.approx(EXPECTED["hdr_vdp_2"]["crops"]["0004"]["Q_rgb"], abs=1e-9)


def test_the_table_of_a_pair(pair: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *pair, *QUICK]) == 0
    stdout, stderr = capsys.readouterr()
    assert stderr == ""
    Q = compare((LDR / 255) ** 2.0, HDR)["hdr_vdp_2"]["Q"]
    row = next(line.split() for line in stdout.splitlines() if line.startswith("hdr_vdp_2 "))
    assert row == ["hdr_vdp_2", f"{Q:.4f}", "1", "2.2.1", "30", "rgb-bt.709,", "surround", "1e-05", "cd/m2"]
    assert "scale of all others: mean luminance of the reference 100 cd/m2, both pictures times " in stdout
    assert "test picture: LDR, linearised as V^2" in stdout


# Folders


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, str]:
    tests, references = tmp_path / "tests", tmp_path / "references"
    tests.mkdir()
    references.mkdir()
    for name, factor in (("a", 1.0), ("b", 0.5)):
        png(tests / f"{name}.png", (LDR * factor).astype(np.uint8))
        exr(references / f"{name}.exr")
    (tests / "notes.txt").write_text("")
    return str(tests), str(references)


def test_two_folders(folders: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, *folders)
    assert list(found["pairs"]) == ["a", "b"]
    for name, record in found["mean"].items():
        quantity = next(iter(found["pairs"]["a"][name]))
        values = [found["pairs"][pair][name][quantity] for pair in "ab"]
        assert record[quantity] == pytest.approx(sum(values) / 2)
        assert record["pairs"] == 2
        assert record["version"] == found["pairs"]["a"][name]["version"]


def test_the_table_of_two_folders(folders: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *folders, *QUICK]) == 0
    stdout, stderr = capsys.readouterr()
    assert stderr == ""
    assert [line.split()[0] for line in stdout.splitlines()[1:4]] == ["a", "b", "mean"]
    head = stdout.splitlines()[0].split()
    values = [float(line.split()[1 + head.index("hdr_vdp_2")]) for line in stdout.splitlines()[1:4]]
    assert values[2] == pytest.approx((values[0] + values[1]) / 2, abs=1e-4)


def test_a_folder_of_pairs_with_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Test and reference may lie beside each other, as exported patches do."""
    png(tmp_path / "a.png")
    exr(tmp_path / "a.exr")
    assert told(capsys, str(tmp_path), str(tmp_path))["pairs"]["a"]["hdr_vdp_2"]["Q"] < 100


def test_names_without_a_partner_are_told(folders: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    png(Path(folders[0]) / "c.png")
    exr(Path(folders[1]) / "d.exr")
    assert main(["compare", *folders, *QUICK]) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"without a partner in the other folder, left out: c.png (in {folders[0]})"
    assert second == f"without a partner in the other folder, left out: d.exr (in {folders[1]})"


def test_nothing_in_common_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("tests", "references"):
        (tmp_path / name).mkdir()
    sentence = refused(capsys, str(tmp_path / "tests"), str(tmp_path / "references"), status=1)
    assert sentence == f"no picture of {tmp_path / 'tests'} has the name of an HDR picture of {tmp_path / 'references'}"


def test_one_bad_pair_stops_no_other(folders: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    (Path(folders[0]) / "a.png").write_bytes(b"no picture")
    assert main(["compare", *folders, *QUICK, "--json"]) == 1
    stdout, stderr = capsys.readouterr()
    assert list(json.loads(stdout)["pairs"]) == ["b"]
    assert stderr.startswith(f"Error: a: the test picture {Path(folders[0]) / 'a.png'} cannot be used: ")
    assert stderr.count("\n") == 1


def test_a_name_that_is_not_utf8_is_one_sentence(folders: tuple[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    """As a pair it is an error, in a folder it stops no other. (Of the real stderr: Python's own takes any name.)"""
    for folder, suffix in zip(folders, ("png", "exr"), strict=True):
        try:
            (Path(folder) / f"b.{suffix}").rename(Path(folder) / os.fsdecode(f"caf\xe9.{suffix}".encode("latin-1")))
        except OSError:
            pytest.skip("this file system takes UTF-8 alone")
    told = "caf?.png is not UTF-8, and such files cannot be read: rename it"
    pair = [str(next(Path(folder).glob("caf*"))) for folder in folders]
    assert main(["compare", *pair, *QUICK]) == 1
    assert capfd.readouterr().err == f"Error: the name {folders[0]}/{told}\n"
    assert main(["compare", *folders, *QUICK, "--json"]) == 1
    stdout, stderr = capfd.readouterr()
    assert list(json.loads(stdout)["pairs"]) == ["a"]
    assert stderr.startswith("Error: caf")
    assert stderr.endswith(f": the name {folders[0]}/{told}\n")


def test_two_files_of_one_name(folders: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    one, two = exr(Path(folders[0]) / "a.exr"), Path(folders[0]) / "a.png"
    sentence = refused(capsys, *folders, status=2)
    assert sentence == f"{one} and {two} have one name, and only one can be compared: move the other away"


# What cannot be compared


def test_an_ldr_reference_is_refused(pair: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    sentence = refused(capsys, pair[1], pair[0], status=1)
    assert sentence.startswith(f"the reference {pair[0]} cannot be used, an HDR picture is needed: ")


def test_other_mistakes(pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test, reference = pair
    nowhere = str(tmp_path / "none.png")
    assert refused(capsys, nowhere, reference, status=2) == f"there is no {nowhere}: name a picture or a folder"
    mixed = "TEST and REFERENCE are two pictures or two folders, and not one of each"
    assert refused(capsys, test, str(tmp_path), status=2) == mixed
    small = exr(tmp_path / "small.exr", HDR[:20])
    wanted = "the test picture is 30x24 pixels and the reference 30x20 pixels: make them equal"
    assert refused(capsys, test, str(small), status=1) == wanted
    broken = tmp_path / "broken.exr"
    broken.write_bytes(b"no picture")
    assert refused(capsys, str(broken), reference, status=1).startswith(f"the test picture {broken} cannot be used: ")
    black = exr(tmp_path / "black.exr", np.zeros_like(HDR))
    assert "holds no light" in refused(capsys, test, str(black), status=1)
    film = tmp_path / "film.mp4"
    film.touch()
    assert "it has many frames: name a picture" in refused(capsys, str(film), reference, status=1)


@pytest.mark.parametrize(
    "option", [("--gamma", "0"), ("--gamma", "nan"), ("--ppd", "-3"), ("--mean-luminance", "0"), ("--ppd", "many")]
)
def test_options_out_of_range(
    pair: tuple[str, str], capsys: pytest.CaptureFixture[str], option: tuple[str, str]
) -> None:
    assert f"argument {option[0]}" in refused(capsys, *pair, *option, status=2)


def test_color_video_vdp_is_asked_for_before_anything_is_read(
    pair: tuple[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pycvvdp", None)
    monkeypatch.setattr(comparison, "read_frame", lambda _: pytest.fail("it was read"))
    assert refused(capsys, *pair, "--cvvdp", status=1).startswith("ColorVideoVDP cannot be imported (")


def test_small_pictures_have_no_q(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test, reference = png(tmp_path / "a.png", LDR[:8]), exr(tmp_path / "b.exr", HDR[:8])
    assert told(capsys, str(test), str(reference))["hdr_vdp_2"]["Q"] is None
    assert main(["compare", str(test), str(reference), *QUICK]) == 0
    assert "hdr_vdp_2: both sides must have 17 pixels or more" in capsys.readouterr().out
    assert not math.isnan(told(capsys, str(test), str(reference))["ssim"]["ssim"])
