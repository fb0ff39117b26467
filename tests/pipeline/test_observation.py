"""What a sample tells: an interval that holds what it promises, and times that add up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.observation import Observation, Sample, Seconds, Unit


def seen(shares: list[float], sampled: int, candidates: int = 250, units: int | None = None) -> Sample:
    """Return a sample of units of which such shares of the sampled candidates were kept."""
    unit = Unit({}, Path("no.exr"), 0, candidates)
    observations = [
        Observation(unit, Seconds(1, 1), rows=[{}] * sampled, kept=round(share * sampled)) for share in shares
    ]
    units = len(shares) if units is None else units
    return Sample(units, units * candidates, tuple(observations), 0.0, {})


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


def test_seconds_add_up() -> None:
    seconds = (Seconds(1, 2) + Seconds(3, 4)) * 2
    assert (seconds.wall, seconds.cpu) == (8, 12)
    with seconds.measured():
        sum(range(100_000))
    assert seconds.wall > 8
    assert seconds.cpu > 12
