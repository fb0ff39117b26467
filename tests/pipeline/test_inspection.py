"""What `inspect` says of a file, against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import SourceError
from pipeline.inspection import inspect
from pipeline.scenes import write_exr
from tests.pipeline.conftest import Result


def test_grey_values_come_back_as_luminance(tmp_path: Path) -> None:
    # 1000 pixels of 2^-5, 1000 of 1, 1000 of 2^5: ten stops.
    values = np.repeat(np.array([2**-5, 1, 2**5], np.float32), 1000).reshape(60, 50)
    write_exr(tmp_path / "a.exr", np.repeat(values[..., None], 3, axis=2))
    said = dict(inspect(tmp_path / "a.exr"))
    assert said["size"] == "50x60 pixels"
    assert said["luminance 50 %"] == "1"
    assert said["luminance maximum"] == "32"
    assert said["dynamic range"].startswith("10.0 stops")
    assert said["repaired"] == "0 pixels not finite, 0 negative"
    assert said["transfer"] == "linear"


def test_repaired_pixels_are_told(tmp_path: Path) -> None:
    pixels = np.ones((40, 50, 3), np.float32)
    pixels[0, 0, 1] = np.nan
    pixels[1, :2] = -1
    write_exr(tmp_path / "a.exr", pixels, half=False)
    assert dict(inspect(tmp_path / "a.exr"))["repaired"] == "1 pixels not finite, 2 negative"


def test_what_cannot_be_read_is_one_sentence(hdrprep: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "a.exr").write_text("no picture")
    with pytest.raises(SourceError):
        inspect(tmp_path / "a.exr")
    result = hdrprep("inspect", tmp_path / "a.exr")
    assert result.status == 1
    assert (
        result.err.strip() == f"hdrprep: error: {tmp_path / 'a.exr'}: it is not an OpenEXR file, whatever its name says"
    )
    assert hdrprep("inspect", tmp_path / "b.exr").status == 2


def test_real_files_say_what_is_known_of_them(shared_data: Path, hdrprep: Callable[..., Result]) -> None:
    result = hdrprep("inspect", shared_data / "hdr" / "Desk.exr")
    assert result.status == 0
    assert "644x874 pixels" in result.out
