"""The sample: spread over the sizes, bounded, an interval that holds what it promises, bytes as they are stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline import sample
from pipeline.config import resolve
from pipeline.frames import read_frame
from pipeline.rows import Row, score_rows, simulate_rows, window_rows
from pipeline.sample import Observation, Sample, Seconds, Unit, choose, measure
from pipeline.scenes import render_scene, write_exr

SMALL = resolve([{"crops": {"patch_size": 64, "patches": 200}}])


def unit(size: int, number: int = 0, candidates: int = 250, path: Path | None = None) -> Unit:
    source: Row = {"source_id": f"{size:08x}", "path": str(path), "transfer": "linear", "width": size, "height": 100}
    return Unit(source, path or Path("no.exr"), number, candidates)


def seen(shares: list[float], sampled: int, candidates: int = 250, units: int | None = None) -> Sample:
    """Return a sample of units of which such shares of the sampled candidates were kept."""
    observations = [
        Observation(unit(1), Seconds(1, 1), rows=[{}] * sampled, kept=round(share * sampled)) for share in shares
    ]
    observations = [replace(one, unit=unit(1, candidates=candidates)) for one in observations]
    units = len(shares) if units is None else units
    return Sample(units, units * candidates, tuple(observations), 0.0, {})


def test_the_choice_takes_one_of_each_class_of_size() -> None:
    units = [unit(size) for size in np.random.default_rng(3).permutation(1000) + 1]
    chosen = choose(units, 10, 0)
    assert sorted((one.source["width"] - 1) // 100 for one in chosen) == list(range(10))
    # Wherever the time ends, both halves were visited.
    assert {one.source["width"] > 500 for one in chosen[:5]} == {True, False}


def test_the_choice_depends_on_the_seed_alone() -> None:
    units = [unit(7, number) for number in range(100)]
    names = [one.number for one in choose(units, 10, 0)]
    assert [one.number for one in choose(units[::-1], 10, 0)] == names
    assert [one.number for one in choose(units, 10, 1)] != names
    assert sorted(one.number for one in choose(units[:6], 10, 0)) == list(range(6))


def test_of_one_frame_the_interval_is_wilsons() -> None:
    # 1 of 10 candidates; as the variance comes from them as well, they count as 9 draws. By hand, z = 1.96:
    # (0.1 + z^2 / 18) / (1 + z^2 / 9) = 0.2197, z / (1 + z^2 / 9) sqrt(0.09 / 9 + z^2 / 324) = 0.2031.
    low, high = seen([0.1], 10, candidates=10**9).interval()
    assert (low, high) == pytest.approx((0.0166, 0.4227), abs=1e-4)


def test_a_census_has_no_interval() -> None:
    assert seen([0.2, 0.4], 10, candidates=10).interval() == pytest.approx((0.3, 0.3))


def test_frames_that_differ_tell_less_than_their_candidates() -> None:
    low, high = seen([0.0, 1.0] * 8, 10, units=1000).interval()
    alike_low, alike_high = seen([0.5] * 16, 10, units=1000).interval()
    assert high - low > 2 * (alike_high - alike_low)
    # One frame of many says next to nothing, nor do frames that all are alike at an end.
    low, high = seen([0.5], 50, units=1000).interval()
    assert high - low > 0.75
    assert seen([0.0] * 4, 20, units=1000).interval()[1] > 0.4


@pytest.mark.parametrize(("frames", "each", "of"), [(24, 3, 300), (24, 3, 30), (4, 18, 300)])
def test_the_interval_holds_the_truth_as_often_as_it_says(frames: int, each: int, of: int) -> None:
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(400):
        chances = rng.beta(0.4, 0.8, of)  # sources mostly give nearly all or nearly nothing
        kept = rng.binomial(each, rng.choice(chances, frames, replace=False))
        low, high = seen((kept / each).tolist(), each, units=of).interval()
        held += low <= chances.mean() <= high
    assert held / 400 > 0.92


def test_the_export_decodes_only_frames_that_keep_something() -> None:
    one = seen([0.0, 0.5], 10, units=10)
    assert one.frames_with_kept() == pytest.approx(5.0)
    assert one.frames_with_kept(0.0) == 0.0
    few = seen([0.5], 2, candidates=2, units=10)
    assert few.frames_with_kept() == pytest.approx(7.5)  # 1 - (1 - 1/2)^2


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    write_exr(tmp_path / "scene.exr", render_scene("textured_highlights", 1, 160, 200))
    return tmp_path / "scene.exr"


def test_a_sample_keeps_to_its_limits(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    units = [unit(200, number=0, candidates=200, path=scene) for _ in range(50)]
    monkeypatch.setattr(sample, "UNITS", 5)
    monkeypatch.setattr(sample, "CANDIDATES", 12)
    taken = measure(units, ("window",), SMALL)
    assert len(taken.seen) == 5
    assert taken.candidates == 5 * 3
    assert (taken.units, taken.total) == (50, 50 * 200)
    assert len(measure(units, ("window",), SMALL, part=0.4).seen) == 2
    for limit in ("CPU_SECONDS", "WALL_SECONDS"):
        with monkeypatch.context() as patch:
            patch.setattr(sample, limit, 1e-6)
            late = measure(units, ("window", "simulate", "score", "export"), SMALL)
        assert (len(late.seen), late.candidates) == (1, 1)


def test_the_candidates_of_a_sample_are_those_of_the_run(scene: Path) -> None:
    stages: tuple[sample.Stage, ...] = ("window", "simulate", "score", "export")
    (one,) = measure([unit(200, candidates=200, path=scene)], stages, SMALL).seen
    frame = read_frame(scene)
    rows = window_rows("000000c8", 0, frame, SMALL)[: len(one.rows)]
    assert one.rows == score_rows(frame.pixels, simulate_rows(frame.pixels, rows, SMALL), SMALL)
    assert len(one.rows) == sample.CANDIDATES
    assert one.exported == one.kept > 0
    assert one.stored == pytest.approx(one.kept * 64 * 64 * 9, rel=0.01)
    assert min(one.decode.wall, one.candidates.wall, one.export.wall) > 0


def test_a_frame_that_cannot_be_decoded_is_a_failure(scene: Path, tmp_path: Path) -> None:
    (tmp_path / "short.exr").write_bytes(scene.read_bytes()[:-5000])
    taken = measure([unit(200, path=path) for path in (scene, tmp_path / "short.exr")], ("window",), SMALL)
    assert len(taken.seen) == 1
    assert list(taken.failures) == [str(tmp_path / "short.exr")]
    assert "truncated" in taken.failures[str(tmp_path / "short.exr")]


def test_seconds_add_up() -> None:
    seconds = (Seconds(1, 2) + Seconds(3, 4)) * 2
    assert (seconds.wall, seconds.cpu) == (8, 12)
    with seconds.measured():
        sum(range(100_000))
    assert seconds.wall > 8
    assert seconds.cpu > 12
