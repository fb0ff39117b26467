"""Damaged video: truncated files and flipped bits, read in a process of their own, for a decoder may crash."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import av
import numpy as np

from pipeline.errors import SourceError
from pipeline.frames.video import probe_video, read_video
from pipeline.records import FloatImage
from tests.patience import HANGS
from tests.pipeline.video_files import Spec, moving_pictures, random_planes, write_video

CLIPS = {
    "hevc.mp4": Spec("libx265", keys=8, b_frames=3, x265="hash=1"),
    "hevc.mkv": Spec("libx265", keys=8),
    "av1.mp4": Spec("libsvtav1", keys=8),
    "ffv1.mkv": Spec(),
    "prores.mov": Spec("prores_ks", "yuv422p10le"),
}


def _read_damaged(files: list[Path], answers: Any) -> None:
    """Put, for each file, the reason of its refusal or its frames, numbered."""
    for path in files:
        try:
            count = probe_video(path).frames
            frames: dict[int, Any] = {}
            try:
                for number, picture in read_video(path, range(count)):
                    frames[number] = picture.pixels
            finally:
                answers.put((path.name, count, frames))
        except SourceError as error:
            answers.put((path.name, 0, str(error)))
    answers.put(None)


def read_in_child(files: list[Path]) -> dict[str, list[tuple[int, Any]]]:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    child = context.Process(target=_read_damaged, args=(files, answers))
    child.start()
    results: dict[str, list[tuple[int, Any]]] = {path.name: [] for path in files}
    while (answer := answers.get(timeout=HANGS)) is not None:
        results[answer[0]].append(answer[1:])
    child.join(HANGS)
    assert child.exitcode == 0
    return results


def write_whole(folder: Path, name: str) -> tuple[bytes, dict[int, FloatImage]]:
    path = folder / f"whole.{name}"
    if name == "prores.mov":
        write_video(path, [random_planes("yuv422p10le", 48, 80, seed) for seed in range(6)], CLIPS[name])
    else:
        write_video(path, moving_pictures(), CLIPS[name])
    frames = read_video(path, range(probe_video(path).frames))
    return path.read_bytes(), {number: picture.pixels for number, picture in frames}


def test_a_truncated_video_is_refused(tmp_path: Path) -> None:
    files = []
    for name in CLIPS:
        content, _ = write_whole(tmp_path, name)
        for tenth in range(10):
            files.append(tmp_path / f"{tenth}.{name}")
            files[-1].write_bytes(content[: len(content) * tenth // 10 + 7])
    for name, answers in read_in_child(files).items():
        assert answers, name
        for _, answer in answers:
            assert isinstance(answer, str), name
            assert any(word in answer for word in ("truncated", "damaged", "cannot be opened", "no video")), answer


def flip_bits(path: Path, content: bytes, rng: np.random.Generator) -> bytes:
    """Change three bits within the packets of a video: its codec's data, not the container's tables."""
    with av.open(str(path)) as container:
        packets = [(packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size]
    damaged = bytearray(content)
    for _ in range(3):
        start, size = packets[int(rng.integers(len(packets)))]
        damaged[start + int(rng.integers(8, max(size, 9)))] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def test_flipped_bits_give_frames_of_the_right_form_or_a_refusal(tmp_path: Path) -> None:
    files, truth = [], {}
    rng = np.random.default_rng(5)
    for name in CLIPS:
        content, truth[name] = write_whole(tmp_path, name)
        for trial in range(12):
            files.append(tmp_path / f"{trial}.{name}")
            files[-1].write_bytes(flip_bits(tmp_path / f"whole.{name}", content, rng))
    refused, wrong = dict.fromkeys(CLIPS, 0), dict.fromkeys(CLIPS, 0)
    for file, answers in read_in_child(files).items():
        name = file.partition(".")[2]
        refused[name] += any(isinstance(answer, str) for _, answer in answers)
        for _, answer in answers:
            for number, pixels in answer.items() if isinstance(answer, dict) else ():
                assert np.isfinite(pixels).all()
                assert pixels.shape == truth[name][0].shape
                wrong[name] += number not in truth[name] or not np.array_equal(pixels, truth[name][number])
    # Where the codec carries checksums no wrong frame passes. Without them a changed bit can be another valid video.
    assert wrong["ffv1.mkv"] == wrong["hevc.mp4"] == 0
    assert refused["ffv1.mkv"] == refused["hevc.mp4"] == 12
