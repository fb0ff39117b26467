"""A Matroska file that lacks its last bytes is known by its Segment's size, to the byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.frames import probe
from pipeline.frames.matroska import check_segment
from tests.pipeline.video_files import Spec, moving_pictures, write_video


def test_a_file_that_lacks_its_last_byte_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", moving_pictures(12), Spec())
    check_segment(path)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(SourceError, match=f"the last 1 of its {len(content)} bytes are missing"):
        check_segment(path)
    with pytest.raises(SourceError, match="truncated"):
        probe(path)


def test_sizes_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    header = bytes.fromhex("1A45DFA3 81 00")  # an EBML header of one byte
    path.write_bytes(header + bytes.fromhex("18538067 84") + bytes(4))  # a Segment of four
    check_segment(path)
    path.write_bytes(header + bytes.fromhex("18538067 84") + bytes(3))
    with pytest.raises(SourceError, match="the last 1 of its 15 bytes"):
        check_segment(path)
    path.write_bytes(header + bytes.fromhex("18538067 01FFFFFFFFFFFFFF") + bytes(3))  # of unknown size
    check_segment(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=40))
def test_garbage_is_left_to_who_reads_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mkv"
    path.write_bytes(content)
    check_segment(path)
