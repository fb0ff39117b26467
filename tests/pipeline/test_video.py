"""HDR video: lossless clips written here, public ones, random access, tags, rotation and damage."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from pipeline.color import BT709, BT2020, P3_D65, rgb_to_xyz, to_bt709
from pipeline.errors import SourceError
from pipeline.frames.exr import read_exr
from pipeline.frames.planes import LAYOUTS, Coding, Plane, planes_to_light
from pipeline.frames.video import probe_video, read_video
from pipeline.records import FloatImage
from tests.pipeline.video_files import NO_TAGS, PQ_TAGS, Spec, moving_pictures, random_planes, write_video

HEIGHT, WIDTH = 48, 80


def random_clip(path: Path, spec: Spec, count: int = 3, times: Sequence[int] = ()) -> list[list[Plane]]:
    pictures = [random_planes(spec.pixel_format, HEIGHT, WIDTH, seed) for seed in range(count)]
    write_video(path, pictures, spec, times)
    return pictures


def read_all(path: Path, frames: Sequence[int], **options: Any) -> dict[int, FloatImage]:
    return {number: picture.pixels for number, picture in read_video(path, frames, **options)}


@pytest.mark.parametrize(
    "pixel_format", ["yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le", "gbrp10le", "gbrp12le"]
)
def test_lossless_video_comes_back_to_the_bit(pixel_format: str, tmp_path: Path) -> None:
    rgb = pixel_format.startswith("gbr")
    spec = Spec(pixel_format=pixel_format, tags=(16, 9, 0, 2) if rgb else PQ_TAGS)
    clip = tmp_path / "clip.mkv"
    pictures = random_clip(clip, spec)
    facts = probe_video(clip)
    assert (facts.width, facts.height, facts.frames, facts.kind) == (WIDTH, HEIGHT, 3, "video")
    assert (facts.transfer, facts.primaries, facts.scale) == ("pq", "bt2020", "cd/m2")
    coding = Coding("identity" if rgb else "bt2020", rgb, "pq")
    for number, picture in read_video(clip, range(3)):
        assert picture.facts == facts
        assert picture.chromaticities == BT2020
        expected = planes_to_light(pictures[number], LAYOUTS[pixel_format], coding)
        np.testing.assert_array_equal(picture.pixels, expected)


@pytest.mark.parametrize(
    ("spec", "suffix"),
    [
        (Spec("libx265", keys=8, b_frames=3), ".mp4"),
        (Spec("libx265", keys=8, b_frames=3), ".mkv"),
        (Spec("ffv1", keys=5), ".mkv"),
        (Spec("prores_ks", "yuv422p10le"), ".mov"),
        (Spec("libsvtav1", keys=8), ".mp4"),
    ],
    ids=["hevc-mp4", "hevc-mkv", "ffv1", "prores", "av1"],
)
def test_random_access_equals_reading_on(spec: Spec, suffix: str, tmp_path: Path) -> None:
    small = spec.encoder != "prores_ks"
    path = tmp_path / f"clip{suffix}"
    if small:
        write_video(path, moving_pictures(), spec)
    else:
        random_clip(path, spec, 24)
    assert probe_video(path).frames == 24
    in_order = read_all(path, range(24))
    assert list(in_order) == list(range(24))
    if small:  # each frame is brighter than the one before
        assert (np.diff([np.median(pixels) for pixels in in_order.values()]) > 0).all()
    for frames in ([23], [7], [8], [9], [0, 17], [3, 4, 12, 22], []):
        there = read_all(path, frames)
        assert list(there) == list(frames)
        for number in frames:
            np.testing.assert_array_equal(there[number], in_order[number])


def test_frame_times_may_be_uneven(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mkv"
    pictures = random_clip(clip, Spec(), 5, times=[0, 1, 7, 8, 30])
    assert probe_video(clip).frames == 5
    coding = Coding("bt2020", False, "pq")
    for number, pixels in read_all(clip, [1, 3, 4]).items():
        expected = planes_to_light(pictures[number], LAYOUTS["yuv420p10le"], coding)
        np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
@pytest.mark.parametrize("hflip", [False, True])
def test_the_picture_is_turned_as_displayed(rotation: int, hflip: bool, tmp_path: Path) -> None:
    upright, turned = tmp_path / "upright.mkv", tmp_path / "turned.mov"
    random_clip(upright, Spec("prores_ks", "yuv422p10le"), 1)
    random_clip(turned, Spec("prores_ks", "yuv422p10le", rotation=rotation, hflip=hflip), 1)
    expected = np.rot90(read_all(upright, [0])[0], rotation // 90)
    expected = expected[:, ::-1] if hflip else expected
    facts = probe_video(turned)
    assert (facts.height, facts.width) == expected.shape[:2]
    np.testing.assert_array_equal(read_all(turned, [0])[0], expected)


def test_an_odd_angle_is_refused(tmp_path: Path) -> None:
    random_clip(tmp_path / "clip.mov", Spec("prores_ks", "yuv422p10le", rotation=30), 1)
    with pytest.raises(SourceError, match="multiple of 90"):
        probe_video(tmp_path / "clip.mov")


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ((18, 9, 9, 1), ("hlg", "bt2020", "HLG scene")),
        ((16, 12, 9, 1), ("pq", "p3", "cd/m2")),
        ((16, 2, 2, 0), ("pq", "bt2020", "cd/m2")),  # BT.2100 has no other primaries
        ((18, 1, 1, 1), ("hlg", "bt709", "HLG scene")),
        ((8, 1, 1, 2), ("linear", "bt709", "relative")),
    ],
)
def test_what_the_tags_say(tags: tuple[int, int, int, int], expected: tuple[str, str, str], tmp_path: Path) -> None:
    clip = tmp_path / "clip.mkv"
    random_clip(clip, Spec(tags=tags), 1)
    facts = probe_video(clip)
    assert (facts.transfer, facts.primaries, facts.scale) == expected
    _, picture = next(read_video(clip, [0]))
    assert picture.chromaticities == {"bt2020": BT2020, "p3": P3_D65, "bt709": BT709}[expected[1]]


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        (Spec(tags=NO_TAGS), "--transfer pq|hlg|linear"),
        (Spec(tags=(1, 1, 1, 1)), "SDR"),
        (Spec(tags=(14, 9, 9, 1)), "SDR"),  # BT.2020's own curve, ten bits of SDR
        (Spec("libx265", tags=(16, 9, 10, 1)), "matrix"),  # constant luminance
        (Spec(pixel_format="gray10le"), "pixel format gray10le"),
        (Spec("libx264", "yuv420p", tags=NO_TAGS), "8-bit SDR, not HDR"),
    ],
)
def test_what_is_not_hdr_or_not_stated_is_refused(spec: Spec, word: str, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mkv"
    write_plain(clip, spec)
    for call in (lambda: probe_video(clip), lambda: read_all(clip, [0])):
        with pytest.raises(SourceError) as refusal:
            call()
        assert word in str(refusal.value)


def write_plain(path: Path, spec: Spec) -> None:
    """A clip of a pixel format that has no layout of ours, too."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(spec.encoder, rate=24)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, spec.pixel_format
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = spec.tags
        context.options = {"x265-params": "log-level=none:pools=1"} if spec.encoder == "libx265" else {}
        frame = av.VideoFrame(WIDTH, HEIGHT, spec.pixel_format)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.pts = 0
        frame.color_trc, frame.color_primaries, frame.colorspace, frame.color_range = spec.tags
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(("transfer", "primaries"), [("pq", "bt2020"), ("hlg", "bt2020"), ("linear", None)])
def test_the_user_may_name_a_missing_transfer_function(transfer: Any, primaries: str | None, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mkv"
    random_clip(clip, Spec(tags=NO_TAGS), 1)
    facts = probe_video(clip, transfer)
    assert (facts.transfer, facts.primaries) == (transfer, primaries)
    # A stated one stands.
    random_clip(clip, Spec(), 1)
    assert probe_video(clip, transfer).transfer == "pq"


def test_a_change_of_size_is_refused(tmp_path: Path) -> None:
    spec, joined = Spec("libx265", x265="repeat-headers=1"), tmp_path / "joined.mkv"
    small = write_video(tmp_path / "small.mkv", moving_pictures(4), spec)
    large = write_video(tmp_path / "large.mkv", moving_pictures(4, 96, 128), spec)
    with av.open(str(small)) as first, av.open(str(large)) as second, av.open(str(joined), "w") as target:
        stream = target.add_stream_from_template(first.streams.video[0])
        for container, start in ((first, 0), (second, 168)):
            for packet in container.demux(video=0):
                if packet.pts is not None and packet.dts is not None:
                    packet.pts, packet.dts, packet.stream = packet.pts + start, packet.dts + start, stream
                    target.mux(packet)
    facts = probe_video(joined)
    assert (facts.width, facts.height, facts.frames) == (96, 64, 8)
    assert len(read_all(joined, range(4))) == 4
    for frames in ([4], range(8)):
        with pytest.raises(SourceError, match="frame 4 or before it has another size"):
            read_all(joined, frames)


def test_one_frame_is_held_at_a_time(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", moving_pictures(48, 240, 320), Spec("libx265", keys=12))
    frame = 240 * 320 * 3 * 4
    probe_video(clip)
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_video(clip, range(48))) == 48
        assert tracemalloc.get_traced_memory()[1] < 4 * frame
    finally:
        tracemalloc.stop()


def test_numbers_beyond_the_video_and_out_of_order_are_refused(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mkv"
    random_clip(clip, Spec(), 3)
    with pytest.raises(SourceError, match="3 frames"):
        read_all(clip, [0, 3])
    with pytest.raises(ValueError, match="ascend"):
        read_all(clip, [2, 1])


@pytest.mark.parametrize("content", [b"", b"no video", b"\x1aE\xdf\xa3" + bytes(100)])
def test_what_is_no_video_is_refused(content: bytes, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mkv"
    clip.write_bytes(content)
    with pytest.raises(SourceError, match=r"cannot be opened|no video track|truncated"):
        probe_video(clip)
    with pytest.raises(SourceError, match="cannot be opened"):
        probe_video(tmp_path / "missing.mp4")


# --- public clips ---


def median_error(ours: FloatImage, theirs: FloatImage, where: Any) -> float:
    return float(np.median(np.abs(ours - theirs)[where] / theirs[where]))


def test_the_luminance_of_a_real_hdr10_clip(shared_data: Path) -> None:
    clip = shared_data / "video" / "hdr10-video-with-sdr-container.mp4"
    facts = probe_video(clip)  # its tags are in the bitstream only, its frames of uneven length
    assert (facts.width, facts.height, facts.frames, facts.transfer) == (1920, 1080, 28, "pq")
    frames = read_all(clip, range(0, 28, 9))
    luminance = frames[0] @ rgb_to_xyz(BT2020)[1].astype(np.float32)
    assert np.median(luminance) == pytest.approx(177, rel=0.02)
    assert luminance.max() == pytest.approx(2137, rel=0.001)
    np.testing.assert_array_equal(read_all(clip, [18])[18], frames[18])


def test_a_real_hdr10_clip_agrees_with_another_decoding_of_it(shared_data: Path) -> None:
    # Made from it by other means: EXR, BT.709, 1.0 = 100 cd/m2, scaled to 1280x720.
    ours = to_bt709(read_all(shared_data / "video" / "hdr10-video-with-sdr-container.mp4", [0])[0], BT2020)
    theirs = read_exr(shared_data / "video" / "exr_sequence" / "hdr10.1001.exr").pixels  # whiteLuminance applied
    ours = np.asarray(cv2.resize(ours, (1280, 720), interpolation=cv2.INTER_AREA), np.float32)
    assert median_error(ours, theirs, theirs > 5) < 0.005


def test_the_light_of_a_real_hlg_clip(shared_data: Path) -> None:
    clip = shared_data / "video" / "hlg10-color-test.mp4"
    facts = probe_video(clip)
    assert (facts.width, facts.height, facts.frames, facts.transfer, facts.scale) == (1920, 1080, 9, "hlg", "HLG scene")
    pixels = read_all(clip, [8])[8]
    assert 0.0 <= pixels.min() < 0.01
    assert 0.9 < pixels.max() <= 1.0


def test_one_scene_in_three_codecs_and_two_transfer_functions(shared_data: Path) -> None:
    # A pan of 8 pixels a frame over a still of which 1.0 is 203 cd/m2 in PQ and 1/12 of the peak in HLG.
    units = {"hall_pan_pq_prores.mov": 1 / 203, "hall_pan_pq_av1.mkv": 1 / 203, "hall_pan_hlg_hevc.mp4": 12.0}
    frames: dict[str, dict[int, FloatImage]] = {}
    for name, unit in units.items():
        clip = shared_data / "video" / name
        assert probe_video(clip).frames == 12
        frames[name] = {number: unit * pixels for number, pixels in read_all(clip, [0, 5, 11]).items()}
    for name in units:
        for number in (0, 5, 11):
            # No bias between them, so the units are right; what is left are the codecs' own losses.
            ours, theirs = frames[name][number], frames["hall_pan_pq_prores.mov"][number]
            middle = (theirs > 0.05) & (theirs < 8)  # what either transfer function holds well
            assert np.median((ours / theirs)[middle]) == pytest.approx(1.0, abs=0.002)
            assert median_error(ours, theirs, middle) < 0.02
            moved, still = ours[:, :808], frames[name][0][:, 8 * number :][:, :808]
            assert median_error(moved, still, (still > 0.05) & (still < 8)) < 0.01


def test_public_clips_that_are_not_hdr_or_do_not_say(shared_data: Path) -> None:
    untagged = shared_data / "video" / "roadtrip-vp92-10bit.webm"
    with pytest.raises(SourceError, match="--transfer"):
        probe_video(untagged)
    assert probe_video(untagged, "hlg").frames == 72  # of 80 packets, eight are only referred to
    assert len(read_all(untagged, range(0, 72, 10), transfer="hlg")) == 8
    with pytest.raises(SourceError, match="8-bit SDR, not HDR"):
        probe_video(shared_data / "video" / "video_dovi_1920x1080_60fps_dvav_09.mp4", "pq")
