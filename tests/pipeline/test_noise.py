"""Normal numbers against numpy's own, bit by bit, and against the normal distribution."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.noise import fill_normal, noise_state
from pipeline.records import generator


def normal(seed: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    numbers = np.empty(count, np.float32)
    fill_normal(noise_state(seed), numbers)
    return numbers


@given(st.integers(0, 2**63 - 1), st.integers(0, 700))
def test_the_numbers_are_numpys(seed: int, count: int) -> None:
    np.testing.assert_array_equal(normal(seed, count), generator(seed).standard_normal(count, dtype=np.float32))


def test_the_rare_ways_are_numpys_too() -> None:
    # in two million numbers the tail beyond the last layer is met some 500 times, the wedges some 20,000 times
    ours, numpys = normal(3, 2_000_000), generator(3).standard_normal(2_000_000, dtype=np.float32)
    assert np.count_nonzero(abs(numpys) > 3.6541528853610088) > 300
    np.testing.assert_array_equal(ours, numpys)


def test_rows_continue_each_other() -> None:
    state, rows = noise_state(5), np.empty((7, 3), np.float32)
    for row in rows:
        fill_normal(state, row)
    np.testing.assert_array_equal(rows.ravel(), normal(5, 21))


def test_the_distribution_is_normal() -> None:
    numbers = normal(1, 400_000)
    for level in (-3.0, -1.0, 0.0, 0.5, 2.0):
        share, expected = float(np.mean(numbers < level)), NormalDist().cdf(level)
        assert share == pytest.approx(expected, abs=5 * np.sqrt(expected * (1 - expected) / numbers.size))
