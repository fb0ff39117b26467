"""Masks of the layers against Eq. 4 written out, and a sheet of any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.color import well_exposed_mask
from model.errors import PictureError
from model.layermasks import CELL, LINE, layer_masks, mask_sheet
from tests.model.literal import layer
from tests.model.test_inference import CPU, network_of
from tests.model.test_pictures import photograph


def test_masks_are_those_of_equation_4() -> None:
    network, T = network_of(width=2), photograph(128, 256)
    M = well_exposed_mask(torch.from_numpy(T).permute(2, 0, 1)[None])
    found = layer_masks(T, network, CPU)
    assert len(found) == 8
    for number, mask in enumerate(found):
        assert mask.shape[:2] == (128 >> number, 256 >> number)
        np.testing.assert_allclose(mask, M[0].permute(1, 2, 0), atol=1e-5)
        assert 0 <= mask.min() <= mask.max() <= 1 + 1e-6
        if number < 7:
            W = network.state_dict()[f"encoder.{number}.conv.weight"]
            _, M = layer(W, None, torch.zeros_like(M), M, stride=2)


@pytest.mark.parametrize("size", [(1, 1), (40, 300), (1100, 70)])
def test_a_sheet_has_a_row_for_the_input_and_each_layer(size: tuple[int, int]) -> None:
    sheet = mask_sheet(photograph(*size), network_of(width=2), CPU)
    height = round(size[0] * CELL / max(size)) or 1
    assert sheet.dtype == np.uint8
    assert sheet.shape == (8 * (height + LINE + 4), 5 * (CELL + 4), 3)


def test_white_is_well_exposed_and_black_is_saturated() -> None:
    network = network_of(width=2)
    for value, shown in ((0.5, 255), (1.0, 0)):
        sheet = mask_sheet(np.full((128, 128, 3), value, np.float32), network, CPU)
        middle = sheet[LINE + CELL // 2, CELL + 4 + CELL // 2]  # of the input's mask
        assert (middle == shown).all()


def test_a_network_without_masks_has_none_to_show() -> None:
    with pytest.raises(PictureError, match="masking gated has no masks"):
        mask_sheet(photograph(4, 4), network_of(masking="gated"), CPU)


def test_the_network_is_left_as_it_was() -> None:
    network = network_of(width=2)
    layer_masks(photograph(4, 4), network, CPU)
    assert not any(part._forward_hooks for part in network.modules())
