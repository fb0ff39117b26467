"""The pictures that a run is watched by."""

from __future__ import annotations

import math

import torch

from model.panels import GAP, grid, hdr_panel, inpainting_panel


def test_a_row_a_patch_and_a_column_for_input_mask_output_and_truth() -> None:
    T, H, M = torch.full((2, 3, 8, 8), 0.2), torch.full((2, 3, 8, 8), 4.0), torch.zeros(2, 3, 8, 8)
    Y = torch.full((2, 3, 8, 8), math.log1p(1.0))
    panel = hdr_panel(T, H, M, Y)
    assert (panel.shape, panel.dtype) == ((3, 16 + GAP, 32 + 3 * GAP), torch.uint8)
    for row in (0, 8 + GAP):
        found = [int(panel[0, row, column * (8 + GAP)]) for column in range(4)]
        output = math.log1p(500 * 1.0 / 4.0) / math.log1p(500)
        assert found == [round(0.2 * 255), 0, round(output * 255), 255]
    assert panel[:, 8 : 8 + GAP].min() == 255  # a white gap


def test_inpainting_shows_the_photograph_with_its_holes_filled() -> None:
    T, I, M = torch.ones(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.2), torch.ones(1, 3, 8, 8)  # noqa: E741
    M[..., 4:] = 0.0
    panel = inpainting_panel(T, I, M, torch.full((1, 3, 8, 8), 0.6))
    columns = [panel[0, 0, x : x + 8].tolist() for x in range(0, 4 * (8 + GAP), 8 + GAP)]
    assert columns == [[255] * 8, [255] * 4 + [0] * 4, [51] * 4 + [153] * 4, [51] * 8]


def test_large_patches_are_shrunk_and_values_beyond_white_are_white() -> None:
    assert grid([torch.full((1, 3, 512, 512), 7.0)]).shape == (3, 256, 256)
    assert grid([torch.full((1, 3, 512, 512), 7.0)]).min() == 255
