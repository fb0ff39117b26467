"""Where the frames of a video lie: key frames, leading pictures, hidden frames, files that cannot be sought."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.errors import SourceError
from pipeline.frames.track import Index, Track, _is_hidden_vp9, index_of
from tests.pipeline.video_files import Spec, moving_pictures, write_video

HEVC = Spec("libx265", keys=8, b_frames=3, x265="open-gop=1:scenecut=0")


def decode(path: Path, numbers: Sequence[int]) -> list[bytes]:
    """The luma planes of frames, each sought on its own."""
    index = index_of(path)
    planes = []
    with Track(path) as track:
        for number in numbers:
            ((key, _),) = index.groups([number])
            frame = next(frame for time, frame in track.decode_from(index, key) if time == index.times[number])
            planes.append(bytes(frame.planes[0]))
    return planes


def decode_all(path: Path) -> list[bytes]:
    """The same by PyAV alone, from the start."""
    with av.open(str(path)) as container:
        return [bytes(frame.planes[0]) for frame in container.decode(video=0)]


def cut_before_second_key(source: Path, target: Path) -> Path:
    """Leave the first group of pictures out, without encoding anew."""
    with av.open(str(source)) as given, av.open(str(target), "w") as cut:
        stream = cut.add_stream_from_template(given.streams.video[0])
        keys = 0
        for packet in given.demux(video=0):
            keys += packet.is_keyframe
            if packet.size and keys > 1:
                packet.stream = stream
                cut.mux(packet)
    return target


@pytest.mark.parametrize(
    ("suffix", "spec", "times", "rate", "muxer"),
    [
        (".mp4", HEVC, (), 24, {}),
        (".mkv", HEVC, (), 24, {}),
        (".mp4", HEVC, (), 24, {"movflags": "frag_keyframe+empty_moov"}),
        (".mkv", HEVC, (), 24, {"live": "1"}),  # neither a table of key frames nor a duration
        (".mkv", HEVC, range(100, 124), 24, {}),
        (".mp4", HEVC, range(100, 124), 24, {}),
        (".mkv", Spec(), [0, *range(500, 523)], 24, {}),
        (".mkv", Spec(), (), 4000, {}),  # Matroska's milliseconds are too coarse: times come twice
    ],
    ids=["mp4", "mkv", "fragments", "live", "late-mkv", "late-mp4", "gap", "same-times"],
)
def test_every_frame_is_found_in_every_container(
    suffix: str, spec: Spec, times: Sequence[int], rate: int, muxer: dict[str, str], tmp_path: Path
) -> None:
    path = write_video(tmp_path / f"clip{suffix}", moving_pictures(), spec, times, rate, muxer)
    expected = decode_all(path)
    assert len(index_of(path).times) == len(expected) == 24
    assert decode(path, range(24)) == expected
    assert decode(path, [23, 0, 9, 8, 7]) == [expected[number] for number in (23, 0, 9, 8, 7)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_that_refer_to_what_was_cut_off_do_not_count(suffix: str, tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", moving_pictures(), HEVC)
    path = cut_before_second_key(whole, tmp_path / f"cut{suffix}")
    expected = decode_all(path)
    assert len(index_of(path).times) == len(expected) < 24
    assert decode(path, range(len(expected))) == expected == decode_all(whole)[-len(expected) :]


def test_decoding_begins_at_the_nearest_key_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", moving_pictures(), HEVC)
    index = index_of(path)
    assert len(index.keys) == 3
    assert [(key, frames) for key, frames in index.groups([0, 7, 23])] == [(0, [0, 7]), (2, [23])]
    with Track(path) as track:
        first, _ = next(track.decode_from(index, 2))
        # Leading frames of the key frame are left out, or come out of the group before it.
        assert first >= index.keys[1]


def test_an_index_groups_frames_by_their_key() -> None:
    index = Index(np.arange(10), np.array([0, 4, 8]), np.array([0, 4, 8]))
    assert list(index.groups([])) == []
    assert list(index.groups([3, 4, 7, 9])) == [(0, [3]), (1, [4, 7]), (2, [9])]


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", moving_pictures(24), Spec())
    assert len(index_of(path).times) == 24
    write_video(path, moving_pictures(5), Spec())
    assert len(index_of(path).times) == 5


@pytest.mark.parametrize(
    ("data", "hidden"),
    [
        (b"\x82\x00", False),  # marker 10, profile 00, no repeat, key frame, shown (VP9 bitstream, 6.2)
        (b"\x80\x00", True),
        (b"\x88\x00", False),  # a repeat of a frame
        (b"\x90\x00", True),  # profile 2
        (b"\xb0\x00", True),  # profile 3
        (b"\xb1\x00", False),
        (b"\x80\x00\xc1", False),  # a superframe
    ],
)
def test_hidden_frames_of_vp9(data: bytes, hidden: bool) -> None:
    assert _is_hidden_vp9(data) is hidden


@pytest.mark.parametrize("name", ["caf\udce9.mkv", "shot%04d.mkv", "a:b.mkv", "two\nlines.mkv"])
def test_names_are_only_names(name: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", moving_pictures(2), Spec()).rename(tmp_path / name)
    assert len(index_of(path).times) == 2


@pytest.mark.parametrize("content", ["ffconcat version 1.0\nfile clip.mkv\n", "#EXTM3U\n#EXTINF:9,\nclip.mkv\n"])
def test_a_playlist_opens_no_other_file(content: str, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mkv", moving_pictures(2), Spec())
    for suffix in (".mkv", ".mp4"):
        path = tmp_path / f"list{suffix}"
        path.write_text(content)
        with pytest.raises(SourceError, match="cannot be opened"):
            index_of(path)


def test_a_file_without_a_video_track_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(SourceError, match="no video track"):
        index_of(path)
