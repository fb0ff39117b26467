"""Small videos for the tests, written with PyAV's encoders from integer planes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from pipeline.frames.planes import LAYOUTS, Plane

PQ_TAGS = (16, 9, 9, 1)  # H.273: SMPTE ST 2084, BT.2020, BT.2020 NCL; limited range
NO_TAGS = (2, 2, 2, 0)


@dataclass(frozen=True)
class Spec:
    """How to encode: encoder, pixel format, (transfer, primaries, matrix, range), rotation in degrees, key distance."""

    encoder: str = "ffv1"
    pixel_format: str = "yuv420p10le"
    tags: tuple[int, int, int, int] = PQ_TAGS
    rotation: int = 0
    hflip: bool = False
    keys: int = 4
    b_frames: int = 0
    x265: str = ""  # more parameters of that encoder


def random_planes(pixel_format: str, height: int, width: int, seed: int = 0) -> list[Plane]:
    """Y, Cb, Cr or R, G, B samples over the whole range of a pixel format."""
    layout = LAYOUTS[pixel_format]
    rng = np.random.default_rng(seed)
    small = -(-height >> layout.halve_y), -(-width >> layout.halve_x)
    return [rng.integers(0, 1 << layout.bits, size, np.uint16) for size in ((height, width), small, small)]


def make_frame(planes: Sequence[Plane], pixel_format: str) -> av.VideoFrame:
    """Lay Y, Cb, Cr or R, G, B planes out as a frame, the padding of its lines filled with noise."""
    layout = LAYOUTS[pixel_format]
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, pixel_format)
    stored: list[npt.NDArray[Any]] = [plane << layout.shift for plane in planes]
    if layout.rgb:
        stored = [stored[1], stored[2], stored[0]]
    if layout.paired:
        stored = [stored[0], np.stack(stored[1:], axis=-1).reshape(stored[1].shape[0], -1)]
    for target, plane in zip(frame.planes, stored, strict=False):
        rows = plane.shape[0]
        memory = np.full((rows, target.line_size // 2), 0xABCD, "<u2")
        memory[:, : plane.shape[1]] = plane
        target.update(memory.tobytes())
    return frame


def write_video(
    path: Path,
    pictures: Sequence[Sequence[Plane]],
    spec: Spec,
    times: Sequence[int] = (),
    rate: int = 24,
    muxer: dict[str, str] | None = None,
) -> Path:
    """Encode pictures one after the other, or at the given times, in 1/rate s."""
    height, width = pictures[0][0].shape
    # The table of samples in front: a truncated file can still be opened, which is the harder case.
    options = muxer or ({"movflags": "faststart"} if path.suffix == ".mp4" else {})
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(spec.encoder, rate=24)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, spec.pixel_format
        context = stream.codec_context
        context.time_base = Fraction(1, rate)
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = spec.tags
        context.gop_size = spec.keys
        x265 = f"log-level=none:keyint={spec.keys}:min-keyint={spec.keys}:bframes={spec.b_frames}:pools=1:crf=4"
        x265 += spec.x265 and f":{spec.x265}"
        ffv1 = {"level": "3", "slicecrc": "1"}
        context.options = {"libx265": {"x265-params": x265}, "ffv1": ffv1}.get(spec.encoder, {})
        if spec.rotation or spec.hflip:
            stream.set_display_rotation(spec.rotation, hflip=spec.hflip)
        for number, planes in enumerate(pictures):
            frame = make_frame(planes, spec.pixel_format)
            frame.pts, frame.time_base = times[number] if times else number, Fraction(1, rate)
            frame.color_trc, frame.color_primaries, frame.colorspace, frame.color_range = spec.tags
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def moving_pictures(count: int = 24, height: int = 64, width: int = 96) -> list[list[Plane]]:
    """4:2:0 pictures that a codec compresses well, each brighter than the one before."""
    y, x = np.mgrid[:height, :width]
    grey = np.full((height // 2, width // 2), 512, np.uint16)
    wave = [200 + 20 * number + 60 * np.sin((x + 3 * number) / 9) * np.cos(y / 7) for number in range(count)]
    return [[luma.astype(np.uint16), grey, grey] for luma in wave]
