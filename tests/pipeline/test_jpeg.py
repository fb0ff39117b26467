"""The outside of JPEG files, against files of Pillow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.frames.jpeg import ISO_GAIN_MAP, XMP, split_jpegs
from tests.pipeline.still_files import jpeg, segment


def noise(height: int = 20, width: int = 31, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.booleans(),
    st.sampled_from([0, 1, 2]),
    st.binary(max_size=40).filter(lambda tail: b"\xff\xd8\xff" not in tail),
)
def test_pictures_are_told_apart(height: int, width: int, progressive: bool, restart: int, tail: bytes) -> None:
    options: dict[str, Any] = {"progressive": progressive, "restart_marker_blocks": restart}
    first, second = jpeg(noise(height, width), **options), jpeg(noise(9, 7, 1))
    found = split_jpegs(first + second + tail)
    assert found[1] is not None
    assert [picture.content for picture in found if picture] == [first, second]
    assert (found[0].width, found[0].height, found[1].width, found[1].height) == (width, height, 7, 9)
    assert split_jpegs(first + tail)[1] is None


def test_a_thumbnail_within_a_segment_is_no_picture() -> None:
    thumbnail = segment(0xE1, b"Exif\0\0" + jpeg(noise(8, 8)))
    first, second = split_jpegs(jpeg(noise(), thumbnail))
    assert (first.width, first.height, second) == (31, 20, None)


def test_tags_are_found_and_left_out() -> None:
    tags = segment(0xE1, XMP + b"text") + segment(0xE2, ISO_GAIN_MAP + b"\1\2") + segment(0xE2, b"MPF\0rest")
    content = jpeg(noise(), tags)
    first, _ = split_jpegs(content)
    assert first.tagged(XMP) == [b"text"]
    assert first.tagged(ISO_GAIN_MAP) == [b"\1\2"]
    assert first.plain() == jpeg(noise())


def test_fill_bytes_are_skipped_in_linear_time() -> None:
    content = jpeg(noise())
    scan = content.index(b"\xff\xda")
    filled = content[:2] + b"\xff" * 9 + content[2:scan] + b"\xff" * 3 + content[scan:-2] + b"\xff" * 5 + content[-2:]
    assert split_jpegs(filled)[0].content == filled
    # Looking back from each byte would take hours.
    for endless in (content[:-2] + b"\xff" * 2**22, content[:2] + b"\xff" * 2**22):
        with pytest.raises(SourceError):
            split_jpegs(endless)


def test_every_truncation_is_noticed() -> None:
    content = jpeg(noise())
    for cut in range(0, len(content), 7):
        with pytest.raises(SourceError):
            split_jpegs(content[:cut])
        if cut > 2:
            with pytest.raises(SourceError):
                split_jpegs(content + content[: max(cut, 3)])
