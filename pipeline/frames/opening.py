"""Opening files with OpenImageIO: what all formats that it reads share.

A file is opened only where its first bytes are the format's: OpenImageIO would try every other decoder on it.
Values come as stored: no colour management, and none multiplied by alpha.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import OpenImageIO as oiio

from pipeline.errors import SourceError
from pipeline.frames.limits import MAX_CHANNELS, check_dimensions
from pipeline.remote import local_file

# A worker is one process among many: it decodes on its own thread only.
oiio.attribute("threads", 1)


def decodable(path: Path) -> Path:
    """Return a file of this machine with the content of a path, which may be remote.

    Raises SourceError where it cannot be had.
    """
    try:
        return local_file(path)
    except OSError as error:
        raise SourceError(f"it cannot be brought here: {error.strerror or error}") from error


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a file for its bytes. Raises SourceError where it cannot be opened, or read later."""
    try:
        with path.open("rb") as stream:
            yield stream
    except OSError as error:
        raise SourceError(f"it cannot be opened: {error.strerror or error}") from error


def read_head(path: Path, size: int) -> bytes:
    """Return the first bytes of a file, fewer where it ends before."""
    with open_bytes(path) as stream:
        return stream.read(size)


@contextmanager
def opened(path: Path, kind: str, magics: Sequence[bytes]) -> Iterator[oiio.ImageInput]:
    """Open a file of this kind, its size and channels checked, and close it again."""
    if not read_head(path, 16).startswith(tuple(magics)):
        raise SourceError(f"it is not a {kind} file, whatever its name says")
    config = oiio.ImageSpec()
    config.attribute("oiio:UnassociatedAlpha", 1)  # else colours are multiplied by alpha
    source = oiio.ImageInput.open(str(path), config)
    message = last_error(oiio)  # also of a file that is opened: it would be printed at the end of the program
    if source is None:
        raise SourceError(f"its header cannot be read, the file is damaged ({first_line(message)})")
    try:
        _check(source.spec())
        yield source
    finally:
        last_error(source)
        source.close()


def read_channels(source: oiio.ImageInput, sample: str) -> npt.NDArray[Any]:
    """Decode the colours (H, W, 3) as `float`, `uint16` or `uint8`; grey is repeated, alpha left out.

    Raises SourceError where the decoder complains of anything: a part of a picture is none.
    """
    spec = source.spec()
    count = 3 if spec.nchannels >= 3 else 1
    pixels = source.read_image(0, 0, 0, count, sample)
    message = last_error(source)
    if pixels is None or message:
        raise SourceError(f"its pixels cannot be read, the file is truncated or damaged ({first_line(message)})")
    pixels = np.asarray(pixels).reshape(spec.height, spec.width, count)
    return pixels if count == 3 else np.repeat(pixels, 3, axis=2)


def last_error(reporter: Any) -> str:
    """Take the message that OpenImageIO, or one of its readers, holds."""
    try:
        return str(reporter.geterror())
    except UnicodeDecodeError:  # it quotes the damaged bytes
        return "damaged text"


def first_line(message: str) -> str:
    """Shorten a message to one printable line, without the path: the sources table has a column for that."""
    line = message.strip().splitlines()[0] if message.strip() else "no further detail"
    line = line.split("): ", 1)[-1].split(' ("', 1)[0]
    return "".join(letter for letter in line if letter.isprintable())[:160]


def _check(spec: oiio.ImageSpec) -> None:
    check_dimensions(spec.width, spec.height)
    check_dimensions(spec.tile_width or 1, spec.tile_height or 1)
    if spec.depth > 1:
        raise SourceError(f"it is a volume of {spec.depth} slices, and no picture")
    if not 1 <= spec.nchannels <= MAX_CHANNELS:
        raise SourceError(f"its header gives {spec.nchannels} channels, more than the {MAX_CHANNELS} that are accepted")
