"""Tiles: where they lie, what they read, how large they are chosen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.convolution import reflect
from model.memory import SHARE, needed
from model.tiles import AFTER, BEFORE, choose, continued, cut, read
from model.unet import Architecture

sizes = st.integers(1, 2000)


@given(sizes, sizes, st.sampled_from([None, 128, 384, 1024]))
def test_tiles_fill_every_pixel_once_and_begin_where_the_network_allows(
    height: int, width: int, side: int | None
) -> None:
    filled = np.zeros((height, width), int)
    for tile in cut(height, width, side):
        filled[slice(*tile.rows), slice(*tile.columns)] += 1
        for size, begin, given_span in (
            (height, tile.rows, tile.read_rows),
            (width, tile.columns, tile.read_columns),
        ):
            assert begin[0] % 128 == given_span[0] % 128 == given_span[1] % 128 == 0
            assert given_span[0] == max(begin[0] - BEFORE, 0)
            assert given_span[1] >= min(begin[1] + AFTER, continued(size)) or given_span[1] == continued(size)
            assert given_span[1] <= continued(size)
    assert (filled == 1).all()


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([None, 128]))
def test_a_tile_reads_the_picture_as_the_network_continues_it(height: int, width: int, side: int | None) -> None:
    T = np.random.default_rng(0).random((height, width, 3), dtype=np.float32)
    whole = reflect(torch.from_numpy(T).permute(2, 0, 1)[None], 128)[0].permute(1, 2, 0).numpy()
    for tile in cut(height, width, side):
        np.testing.assert_array_equal(read(T, tile), whole[slice(*tile.read_rows), slice(*tile.read_columns)])


@given(st.integers(1, 12_000), st.integers(1, 12_000), st.floats(5e8, 3e10))
def test_the_chosen_tiles_fit_and_the_whole_is_preferred(height: int, width: int, free: float) -> None:
    architecture = Architecture()
    side = choose(height, width, architecture, int(free))
    whole = needed(architecture, continued(height) * continued(width))
    assert (side is None) == (whole <= SHARE * free)
    if side is not None and side > 128:
        most = max(
            (t.read_rows[1] - t.read_rows[0]) * (t.read_columns[1] - t.read_columns[0])
            for t in cut(height, width, side)
        )
        assert needed(architecture, most) <= SHARE * free


@pytest.mark.parametrize("free", [0, 10])
def test_no_memory_at_all_means_the_smallest_tiles(free: int) -> None:
    assert choose(300, 300, Architecture(), free) == 128
