"""The video track of a file: its packets, where its frames lie, and decoding from the key frame before one.

A frame is known by its presentation time. Which times there are is learned from the packets, without decoding.
Every failure is a SourceError; a frame that the decoder had to guess is a failure.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import av
import av.logging
import numpy as np
import numpy.typing as npt
from av.codec.context import Flags

from pipeline.errors import SourceError
from pipeline.frames.limits import MAX_PIXELS
from pipeline.frames.matroska import check_segment

# Damage that a decoder notices ends decoding; it would otherwise be painted over with what is near.
_DECODER_OPTIONS = {
    "err_detect": "crccheck+bitstream+buffer+explode",
    "ec": "0",
    "max_pixels": str(MAX_PIXELS),
}
# Some decoders only report it, and go on with a piece of the last frame (FFV1). Their reports are counted, not printed.
av.logging.set_level(av.logging.PANIC)
_MATROSKA_MAGIC = b"\x1a\x45\xdf\xa3"  # EBML header, RFC 8794
_SHORTFALL_FRAMES = 2  # durations are rounded, and frames of uneven length are usual


VideoPacket: TypeAlias = "av.Packet[av.VideoStream]"


@dataclass(frozen=True, slots=True)
class Index:
    """Where frames lie: `times` of all frames in presentation order, `keys` those at which decoding can begin.

    `key_dts` is what the container seeks by. Where the packets carry no usable times (`timed` is false), a frame's
    time is its number and decoding begins at the first.
    """

    times: npt.NDArray[np.int64]
    keys: npt.NDArray[np.int64]
    key_dts: npt.NDArray[np.int64]
    timed: bool = True

    def groups(self, frames: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
        """Yield the number of a key frame and, of the ascending `frames`, those to decode from it."""
        keys = np.searchsorted(self.keys, self.times[list(frames)], side="right") - 1
        for key, pairs in itertools.groupby(zip(keys.tolist(), frames, strict=True), lambda pair: pair[0]):
            yield key, [frame for _, frame in pairs]


class Track:
    """The video track of one open file; use it in a `with` statement."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def _open(self) -> None:
        with _refusals("it cannot be opened"):
            with self._path.open("rb") as file:
                is_matroska = file.read(4) == _MATROSKA_MAGIC
            # Left to guess, FFmpeg takes a file for a playlist, too, and opens what that names.
            container = "matroska" if is_matroska else "mov"
            self._container = av.open(str(self._path), format=container, metadata_errors="replace")
        stream = self._container.streams.best("video")
        if not isinstance(stream, av.VideoStream) or stream.codec_context is None:
            self._container.close()
            raise SourceError("it holds no video track that can be decoded")
        self.stream, self._is_touched = stream, False
        context = stream.codec_context
        # A worker is one process among many: it decodes on its own thread only.
        context.thread_type, context.thread_count = "NONE", 1
        context.options = _DECODER_OPTIONS
        context.flags = (context.flags | Flags.unaligned.value) & ~Flags.output_corrupt.value

    def packets(self) -> Iterator[VideoPacket]:
        """Yield the packets of the track in the order of the file, from where it stands."""
        self._is_touched = True
        with _refusals("it is damaged"):
            for packet in self._container.demux(self.stream):
                if packet.size == 0:  # PyAV's request to flush the decoder
                    return
                if packet.is_corrupt:
                    raise SourceError("it is truncated or damaged: a packet of its video track is incomplete")
                yield packet

    def promised_packets(self) -> int:
        """Return how many packets the header lists; 0 where it lists none."""
        listing = "mp4" in self._container.format.name  # Matroska lists key frames only
        return len(self.stream.index_entries) if listing else 0

    def promised_end(self) -> float | None:
        """Return the end of the last frame in seconds, by the header; None where it does not say."""
        text = self.stream.metadata.get("DURATION", "")  # what Matroska's muxers write for each track
        try:
            hours, minutes, seconds = map(float, text.split(":"))
        except ValueError:
            alone = len(self._container.streams) == 1
            return self._container.duration / av.time_base if alone and self._container.duration else None
        return 3600 * hours + 60 * minutes + seconds

    def decode_from(self, index: Index, key: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield times and frames in presentation order, from key frame `key` of the index or earlier."""
        numbers = itertools.count()
        with _refusals("it is damaged"):
            for packet in itertools.chain(self._packets_from(index, key), [None]):
                for frame in self._decode(packet, int(index.keys[key]) if index.timed else 0):
                    number = next(numbers)
                    if index.timed and frame.pts is None:
                        raise SourceError("it is damaged: a frame carries no time")
                    yield (frame.pts if index.timed and frame.pts is not None else number), frame

    def _decode(self, packet: VideoPacket | None, start: int) -> list[av.VideoFrame]:
        """Return the frames that a packet completes; None empties the decoder."""
        before, _ = av.logging.get_last_error()
        frames = self.stream.codec_context.decode(packet)
        after, report = av.logging.get_last_error()
        # Frames before the key frame may refer to what was not decoded; nobody asks for them.
        is_wanted = packet is None or packet.pts is None or packet.pts >= start
        if is_wanted and after > before:
            raise SourceError(f"it is damaged: {report[2].strip()[:160] if report else 'no further detail'}")
        if any(frame.is_corrupt for frame in frames):
            raise SourceError("it is damaged: a frame cannot be decoded completely")
        return frames

    def _packets_from(self, index: Index, key: int) -> Iterator[VideoPacket]:
        if key > 0:
            self._is_touched = True
            try:
                self._container.seek(int(index.key_dts[key]), stream=self.stream)
                packets = self.packets()
                first = next(packets, None)
            except (av.FFmpegError, SourceError):
                first = None
            if first is not None and first.pts is not None and first.pts <= index.keys[key]:
                return itertools.chain([first], packets)
        # Without a table of its key frames a file can only be read from the start.
        if self._is_touched:
            self._container.close()
            self._open()
        return self.packets()


@contextmanager
def _refusals(what: str) -> Iterator[None]:
    try:
        yield
    except av.FFmpegError as error:
        raise SourceError(f"{what}: {error.strerror or type(error).__name__}") from None
    except OSError as error:
        raise SourceError(f"{what}: {error.strerror or error}") from None


def index_of(path: Path) -> Index:
    """Return where the frames of a video lie; every packet is read once, and the answer remembered."""
    try:
        status = path.stat()
    except OSError as error:
        raise SourceError(f"it cannot be opened: {error.strerror or error}") from None
    return _index(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _index(path: Path, size: int, changed: int) -> Index:
    check_segment(path)
    with Track(path) as track:
        packets = _read_packets(track)
        _check_complete(track, packets)
        index = _timed_index(packets)
    if index is not None:
        return index
    with Track(path) as track:
        start = np.zeros(1, np.int64)
        unknown = Index(start, start, start, timed=False)
        count = sum(1 for _ in track.decode_from(unknown, 0))
    return Index(np.arange(count), start, start, timed=False)


_Packets = npt.NDArray[np.int64]  # (N, 4): presentation time, decoding time, 1 for a key frame, duration
_NO_TIME = np.iinfo(np.int64).min


def _read_packets(track: Track) -> _Packets:
    vp9 = track.stream.codec_context.name == "vp9"
    rows = (
        (
            _NO_TIME if packet.pts is None else packet.pts,
            packet.dts if packet.dts is not None else _NO_TIME if packet.pts is None else packet.pts,
            packet.is_keyframe,
            packet.duration or 0,
        )
        for packet in _counted(track)
        if not packet.is_discard and not (vp9 and _is_hidden_vp9(bytes(packet)))
    )
    flat = np.fromiter(itertools.chain.from_iterable(rows), np.int64)
    return flat.reshape(-1, 4)


def _counted(track: Track) -> Iterator[VideoPacket]:
    """Yield the packets, and refuse where they end before the header's list does."""
    count = 0
    for count, packet in enumerate(track.packets(), 1):  # noqa: B007 - the last one is what is asked
        yield packet
    if count < track.promised_packets():
        raise SourceError(f"it is truncated: {count} of its {track.promised_packets()} packets are there")


def _check_complete(track: Track, packets: _Packets) -> None:
    if not packets.size or not packets[:, 2].any():
        raise SourceError("it is truncated or damaged: it holds no frame that can be decoded")
    end, base = track.promised_end(), track.stream.time_base
    if track.promised_packets() or end is None or base is None:
        return
    times = np.sort(packets[:, 0])
    usual = max(float(np.diff(times).mean()) if len(times) > 1 else 0.0, float(packets[:, 3].max()))
    seconds = float(base) * (float(times[-1]) + usual)
    if end - seconds > _SHORTFALL_FRAMES * float(base) * usual:
        raise SourceError(f"it is truncated: its frames end at {seconds:.2f} s of {end:.2f} s")


def _timed_index(packets: _Packets) -> Index | None:
    """Return the index by presentation time, None where times are missing or come twice."""
    keys = packets[packets[:, 2] == 1]
    # Frames shown before the first key frame but stored after it refer to what has been cut off.
    times = np.sort(packets[packets[:, 0] >= keys[0, 0], 0])
    if (packets[:, 0] == _NO_TIME).any() or (np.diff(times) == 0).any():
        return None
    keys = keys[np.argsort(keys[:, 0])]
    return Index(times, keys[:, 0].copy(), keys[:, 1].copy())


def _is_hidden_vp9(data: bytes) -> bool:
    """Say whether a packet holds one VP9 frame that is only referred to (VP9 bitstream, 6.2 and Annex B)."""
    if data[-1] & 0xE0 == 0xC0:  # a superframe: hidden frames with the one that is shown
        return False
    bits = f"{data[0]:08b}"
    show = 5 if bits[2:4] == "11" else 4  # profile 3 has one more bit
    is_repeated = bits[show] == "1"
    return not is_repeated and bits[show + 2] == "0"
