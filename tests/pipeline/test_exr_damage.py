"""Damaged EXR files: a reason or a whole picture, never a crash, a hang or half a picture.

A byte that is changed inside of an uncompressed, RLE, PIZ, PXR24, B44 or DWA chunk cannot be noticed: EXR has no
checksum, and deflate (ZIP, ZIPS) alone carries one.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import OpenEXR
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.frames import limits
from pipeline.frames.exr import probe_exr, read_exr
from tests.patience import HANGS
from tests.pipeline.exr_damage import COMPRESSIONS
from tests.pipeline.exr_files import LOSSLESS, SCANLINES, lie_about_size, name, picture, save, tiled

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "picture.exr"


Outcome = dict[str, Any]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    """What became of each damaged file, read by a process of its own; the time limit is for one that hangs."""
    command = [sys.executable, "-m", "tests.pipeline.exr_damage", str(tmp_path_factory.mktemp("damage"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANGS, check=False
    )
    last = (done.stdout.splitlines() or ["nothing"])[-1]
    assert done.returncode == 0, f"it ended with {done.returncode} after {last}: {done.stderr[-500:]}"
    return [json.loads(line) for line in done.stdout.splitlines()]


def files(family: list[Outcome]) -> list[Outcome]:
    return [outcome for outcome in family if "file" in outcome]


def test_no_damage_crashes_hangs_or_takes_memory(family: list[Outcome]) -> None:
    assert len(files(family)) > 1000
    assert {outcome["file"].split("-")[0] for outcome in files(family)} == set(COMPRESSIONS)
    assert family[-1].get("peak", 0) < 300_000  # kilobytes; some headers ask for 3.2 GB


def test_every_damage_gives_one_sentence_or_a_whole_picture(family: list[Outcome]) -> None:
    for outcome in files(family):
        assert outcome.get("shape_is_right", True), outcome
        assert "\n" not in outcome.get("reason", ""), outcome
        assert ("reason" in outcome) != ("digest" in outcome)


def test_no_truncated_picture_is_taken_for_a_whole_one(family: list[Outcome]) -> None:
    good = {outcome["file"]: outcome["digest"] for outcome in files(family) if outcome["damage"] == "none"}
    cuts = [outcome for outcome in files(family) if outcome["damage"].startswith("cut")]
    assert len(good) == 4 * len(COMPRESSIONS)
    assert len(cuts) == 25 * len(good)
    for outcome in cuts:
        # Of several parts the last may be cut off, and the picture before it be whole.
        whole = outcome["file"].endswith("parts") and outcome.get("digest") == good[outcome["file"]]
        assert whole or "damaged" in outcome["reason"], outcome


def test_a_file_whose_checksum_fails_is_never_accepted(family: list[Outcome]) -> None:
    good = {outcome["file"]: outcome["digest"] for outcome in files(family) if outcome["damage"] == "none"}
    flips = [outcome for outcome in files(family) if outcome["damage"].startswith("flip")]
    assert len(flips) == 12 * len(good)
    for outcome in flips:
        if outcome["file"].startswith("ZIP") and int(outcome["damage"].split()[1]) % 2 == 0:  # in the pixels alone
            assert outcome.get("digest", good[outcome["file"]]) == good[outcome["file"]], outcome


@pytest.mark.parametrize("compression", [*LOSSLESS, OpenEXR.DWAA_COMPRESSION], ids=name)
@pytest.mark.parametrize("layout", [SCANLINES, tiled(16, 16)], ids=["scanlines", "tiles"])
def test_truncation_is_noticed_wherever_it_falls(compression: Any, layout: dict[str, Any], path: Path) -> None:
    whole = save(path, {"RGB": picture()}, compression=compression, **layout).read_bytes()
    read_exr(path)
    cuts = [4, 8, 9, 60, 200, 300, 330, 400, 600, len(whole) // 2, len(whole) * 9 // 10, len(whole) - 8, len(whole) - 1]
    for cut in cuts:
        path.write_bytes(whole[:cut])
        with pytest.raises(SourceError, match=r"damaged") as refusal:
            read_exr(path)
        assert "\n" not in str(refusal.value)
        assert path.name not in str(refusal.value)  # the table has a column for it


@pytest.mark.parametrize("compression", [OpenEXR.ZIPS_COMPRESSION, OpenEXR.ZIP_COMPRESSION], ids=name)
def test_garbage_in_a_chunk_is_noticed(compression: Any, path: Path) -> None:
    # by the checksum that deflate carries; the other codecs have none
    whole = bytearray(save(path, {"RGB": picture()}, compression=compression).read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 200] = b"\xff" * 200
    path.write_bytes(whole)
    with pytest.raises(SourceError, match="damaged"):
        read_exr(path)


@pytest.mark.parametrize("content", [b"", b"v", b"\x76\x2f\x31", b"#?RADIANCE\n", b"just a text\n" * 99, b"\0" * 4096])
def test_what_is_no_exr_is_refused_whatever_its_name(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    for read in (probe_exr, read_exr):
        with pytest.raises(SourceError, match="not an OpenEXR file"):
            read(path)


def test_a_file_that_is_gone_is_a_reason_and_no_crash(path: Path) -> None:
    for read in (probe_exr, read_exr):
        with pytest.raises(SourceError, match="cannot be opened: No such file"):
            read(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_flipped_bytes_give_a_picture_or_a_reason(tmp_path: Path, data: st.DataObject) -> None:
    path = save(tmp_path / "flipped.exr", {"RGB": picture(9, 11)})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(4, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        source = read_exr(path)
    except SourceError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert source.pixels.shape == (source.facts.height, source.facts.width, 3)


@pytest.mark.parametrize(
    ("width", "height"),
    [
        (2**31 - 1, 2**31 - 1),
        (2**30, 2**30),
        (100_000, 100_000),
        (16_384, 16_384),
        (53, 2**24),
        (20_000, 13_000),
        (0, 5),
    ],
)
def test_a_header_that_lies_takes_no_memory(width: int, height: int, path: Path) -> None:
    save(path, {"RGB": picture()})
    lie_about_size(path, width, height)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for read in (probe_exr, read_exr):
        with pytest.raises(SourceError):
            read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


def test_the_limit_on_pixels_is_asked_before_decoding(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(path, {"RGB": picture(10, 10)})
    monkeypatch.setattr(limits, "MAX_PIXELS", 100)
    assert probe_exr(path).width == 10
    monkeypatch.setattr(limits, "MAX_PIXELS", 99)
    for read in (probe_exr, read_exr):
        with pytest.raises(SourceError, match="10x10 pixels, more than the 99"):
            read(path)
