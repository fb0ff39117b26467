"""Means, intervals and paired differences: closed forms, and what must not change them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model.evaluation.statistics import difference, estimate

numbers = st.lists(st.floats(-1e3, 1e3, allow_nan=False), min_size=2, max_size=20)


def scenes(count: int) -> list[str]:
    return [f"s{i}" for i in range(count)]


def test_the_interval_of_a_normal_sample_is_that_of_the_text_books() -> None:
    """Of a symmetric sample the bootstrap's interval comes close to mean +- 1.96 s / sqrt(n)."""
    half = np.abs(np.random.default_rng(5).normal(size=100))
    values = list(np.concatenate([3.0 + half, 3.0 - half]))
    found = estimate(values, scenes(200))
    error = 1.96 * np.std(values) / math.sqrt(200)
    assert found.mean == pytest.approx(3.0)
    assert found.low == pytest.approx(3.0 - error, abs=0.05 * error)
    assert found.high == pytest.approx(3.0 + error, abs=0.05 * error)


def test_the_interval_holds_the_mean_as_often_as_it_says() -> None:
    """95 % of the intervals of samples of 30 exponentials should hold 1; plain percentiles come to about 92 %."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        found = estimate(list(rng.exponential(size=30)), scenes(30))
        held += found.low <= 1.0 <= found.high
    assert 88 <= held <= 99


def test_a_skewed_sample_has_a_longer_arm_where_its_tail_is() -> None:
    values = list(np.random.default_rng(1).exponential(size=40))
    found = estimate(values, scenes(40))
    assert found.high - found.mean > found.mean - found.low > 0
    # Plain percentiles of the resampled means lie too low for it: BCa moves both ends towards the tail.
    rng = np.random.default_rng(0)
    drawn = rng.choice(values, (20_000, 40)).mean(axis=1)
    plain = np.quantile(drawn, (0.025, 0.975))
    assert found.low - plain[0] > 0.02
    assert found.high - plain[1] > 0.02
    turned = estimate([-v for v in values], scenes(40))
    assert turned.mean - turned.low > turned.high - turned.mean


@given(numbers, st.randoms(use_true_random=False))
def test_the_order_of_pictures_changes_nothing(values: list[float], random: object) -> None:
    order = list(range(len(values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    names = scenes(len(values))
    one = estimate(values, names)
    other = estimate([values[i] for i in order], [names[i] for i in order])
    assert (one.low, one.high, one.median, one.scenes) == (other.low, other.high, other.median, other.scenes)
    assert one.mean == pytest.approx(other.mean, rel=1e-12, abs=1e-12)


@example([0.0, 0.0, -33.0, -999.5613395286522])  # many resampled means are the mean, but for rounding
@given(numbers)
def test_a_shift_and_a_scale_go_through(values: list[float]) -> None:
    names = scenes(len(values))
    found, moved = estimate(values, names), estimate([2.0 * v + 8.0 for v in values], names)
    for name in ("mean", "low", "high"):
        assert getattr(moved, name) == pytest.approx(2.0 * getattr(found, name) + 8.0, rel=1e-6, abs=1e-6)


def test_more_photographs_of_the_same_scenes_are_no_more_evidence() -> None:
    values = list(np.random.default_rng(2).normal(size=12))
    once = estimate(values, scenes(12))
    thrice = estimate(values * 3, scenes(12) * 3)
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high), rel=0.01)
    assert (thrice.pictures, thrice.scenes) == (36, 12)
    taken_for_independent = estimate(values * 3, scenes(36))
    assert taken_for_independent.high - taken_for_independent.low < 0.7 * (once.high - once.low)


def test_differences_are_paired() -> None:
    """Pictures differ by tens, methods by one: the paired interval is that of the one."""
    hard = np.random.default_rng(3).normal(scale=30.0, size=25)
    noise = np.random.default_rng(4).normal(scale=0.1, size=25)
    found = difference(list(hard + 1.0 + noise), list(hard), scenes(25))
    assert 0.9 < found.low < 1.0 + noise.mean() < found.high < 1.1


def test_what_cannot_be_told_is_nan() -> None:
    one = estimate([2.0], ["s"])
    assert (one.mean, one.median) == (2.0, 2.0)
    assert math.isnan(one.low)
    assert math.isnan(estimate([1.0, 2.0], ["s", "s"]).high)  # two pictures, one scene
    perfect = estimate([math.inf, 30.0], scenes(2))
    assert perfect.mean == math.inf
    assert math.isnan(perfect.low)
    assert math.isnan(difference([math.inf], [math.inf], ["s"]).mean)
    with pytest.raises(ValueError, match="have no mean"):
        estimate([], [])


def test_equal_values_have_an_interval_of_no_width() -> None:
    found = estimate([0.1, 0.1, 0.1], scenes(3))
    assert found.low == found.high == pytest.approx(0.1)
