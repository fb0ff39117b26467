"""Whether all chunks of a scanline part are there, asked before OpenEXR's bindings see the file.

Of a file that is cut short they print a line for each missing chunk to the terminal, search the whole file for it, and
drop the part with a warning.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import SourceError
from pipeline.frames.exr.decode import damaged_pixels
from pipeline.frames.exr.header import Header, Part, damaged_header


def check_chunks(path: Path, header: Header, part: Part) -> None:
    """Raise SourceError unless every chunk of a scanline part lies inside of the file, at the row that it is for."""
    rows = part.chunk_rows
    if rows is None:
        raise damaged_header(f"it names the unknown compression {part.compression}")
    count = -(-part.height // rows)
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(_table(header, part, count))
            table = stream.read(8 * count)
            if len(table) < 8 * count:
                raise damaged_pixels("its table of chunks is cut short")
            for k, offset in enumerate(struct.unpack(f"<{count}Q", table)):
                _check_chunk(stream, offset, size, part.window[1] + k * rows, part.index if header.multi_part else None)
    except OSError as error:
        raise SourceError(f"it cannot be opened: {error.strerror or error}") from error


def _table(header: Header, part: Part, count: int) -> int:
    """Return where the offsets of a part's chunks begin; the tables of the parts before it come first."""
    if not header.multi_part:
        return header.end
    counts = [before.chunks for before in header.parts[: part.index]]
    if part.chunks != count or any(chunks is None or chunks < 0 for chunks in counts):
        raise damaged_header("its number of chunks is wrong")
    return header.end + 8 * sum(chunks or 0 for chunks in counts)


def _check_chunk(stream: BinaryIO, offset: int, size: int, row: int, index: int | None) -> None:
    layout = "<2i" if index is None else "<3i"
    start = offset + struct.calcsize(layout)
    if offset == 0 or start > size:
        raise damaged_pixels(f"the chunk of row {row} is missing")
    stream.seek(offset)
    leader = stream.read(struct.calcsize(layout))
    if len(leader) < struct.calcsize(layout):  # the file shrank meanwhile
        raise damaged_pixels(f"the chunk of row {row} is missing")
    *part, y, length = struct.unpack(layout, leader)
    if y != row or length < 0 or start + length > size or part not in ([], [index]):
        raise damaged_pixels(f"the chunk of row {row} is cut short or another one")
