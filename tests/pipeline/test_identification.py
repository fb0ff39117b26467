"""Telling files apart: sequences, known content, content that comes twice, files that cannot be opened."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pytest

from pipeline.bank import SOURCES_SCHEMA
from pipeline.identification import identify_sources
from pipeline.scenes import write_exr

T = TypeVar("T")


def each(function: Callable[[Path], T], paths: Sequence[Path], crashed: Callable[[Path, str], T]) -> list[T]:
    """Call a function on each path, but crash on those named so."""
    return [crashed(path, "it crashed") if "crash" in path.name else function(path) for path in paths]


def sources(*rows: dict[str, str | None]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), SOURCES_SCHEMA)


def test_known_content_is_told_from_new(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one.hdr", "same.hdr", "two.hdr", "gone.hdr", "lost.hdr", "crash.hdr")]
    for path, content in zip(paths, (b"1", b"1", b"2"), strict=False):
        path.write_bytes(content)
    one, two = (hashlib.sha256(content).hexdigest() for content in (b"1", b"2"))
    known = sources({"source_id": two, "path": "/old.hdr"}, {"source_id": None, "path": str(paths[4])})
    found = identify_sources(paths, known, True, each)
    assert [(new.path.name, new.source_id) for new in found.new] == [
        ("one.hdr", one),
        ("gone.hdr", None),
        ("crash.hdr", None),
    ]
    assert [new.reason for new in found.new][2] == "it crashed"
    assert found.further == {one: [str(paths[1])], two: [str(paths[2])]}
    assert found.named == {one, two, str(paths[3]), str(paths[4]), str(paths[5])}


def test_a_sequence_is_told_from_stills(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pixels = np.ones((8, 8, 3), np.float32)
    paths = [tmp_path / f"shot.{number}.exr" for number in (1001, 1002, 1004)]
    for number, path in enumerate(paths):
        write_exr(path, pixels * number)
    found = identify_sources(paths, sources(), True, each)
    assert [new.path.name for new in found.new] == ["shot.1001-1004.exr"]
    assert len(identify_sources(paths, sources(), False, each).new) == 3
    # Named without one of its files it is no whole sequence.
    write_exr(tmp_path / "shot.1003.exr", pixels * 9)
    assert len(identify_sources(paths, sources(), True, each).new) == 3
