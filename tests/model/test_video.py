"""SDR video: frames in order, upright, HDR and damage told."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from model.errors import PictureError
from model.video import count_frames, read_frames
from tests.pipeline.video_files import NO_TAGS, PQ_TAGS, Spec, moving_pictures, write_video

SDR_TAGS = (1, 1, 1, 1)


def short_video(path: Path, count: int = 6) -> Path:
    """Frames of 8 bits, each a step of 20 brighter than the one before."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 40, 24, "yuv444p"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = SDR_TAGS
        for number in range(count):
            planes = np.full((3, 24, 40), 128, np.uint8)
            planes[0] = 40 + 20 * number
            frame = av.VideoFrame.from_ndarray(planes, "yuv444p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_frames_come_in_order(tmp_path: Path) -> None:
    file = short_video(tmp_path / "x.mkv")
    assert count_frames(file) == 6
    found = list(read_frames(file, iter(range(6))))
    assert [number for number, _ in found] == list(range(6))
    for number, T in found:
        assert T.shape == (24, 40, 3)
        np.testing.assert_allclose(T, (24 + 20 * number) / 219, atol=2e-5)


def test_some_frames_alone(tmp_path: Path) -> None:
    file = short_video(tmp_path / "x.mkv")
    found = dict(read_frames(file, iter([2, 5])))
    assert list(found) == [2, 5]
    np.testing.assert_allclose(found[5], 124 / 219, atol=2e-5)
    assert list(read_frames(file, iter([]))) == []


def test_a_turned_video_is_upright(tmp_path: Path) -> None:
    spec = Spec("libx265", tags=SDR_TAGS)
    as_coded, turned = (
        next(read_frames(write_video(tmp_path / f"{angle}.mp4", moving_pictures(2), Spec(**given)), iter([0])))[1]
        for angle, given in (
            (0, {"encoder": spec.encoder, "tags": SDR_TAGS}),
            (90, {"encoder": spec.encoder, "tags": SDR_TAGS, "rotation": 90}),
        )
    )
    assert turned.shape == (96, 64, 3)
    np.testing.assert_array_equal(turned, np.rot90(as_coded))


def test_hdr_is_refused_and_the_untagged_is_taken(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"HDR already \(PQ\)"):
        list(read_frames(write_video(tmp_path / "pq.mkv", moving_pictures(1), Spec(tags=PQ_TAGS)), iter([0])))
    found = list(read_frames(write_video(tmp_path / "sdr.mkv", moving_pictures(1), Spec(tags=NO_TAGS)), iter([0])))
    assert len(found) == 1


def test_damage_is_told_and_what_was_before_it_is_there(tmp_path: Path) -> None:
    file = short_video(tmp_path / "x.mkv")
    content = bytearray(file.read_bytes())
    content[len(content) * 3 // 4] ^= 0xFF
    file.write_bytes(content)
    done: list[int] = []
    with pytest.raises(PictureError) as caught:
        done.extend(number for number, _ in read_frames(file, iter(range(6))))

    assert "damage" in str(caught.value)
    with pytest.raises(PictureError, match="cannot be opened"):
        count_frames(tmp_path / "none.mp4")
