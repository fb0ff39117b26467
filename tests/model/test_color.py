"""The mask of Fig. 2 and the preview, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.color import preview, well_exposed_mask


@pytest.mark.parametrize(("T", "M"), [(0.0, 1.0), (0.5, 1.0), (0.96, 1.0), (0.97, 0.75), (0.98, 0.5), (1.0, 0.0)])
def test_mask_falls_from_alpha_to_one(T: float, M: float) -> None:
    assert well_exposed_mask(torch.tensor(T)).item() == pytest.approx(M, abs=2e-6)


def test_mask_of_a_saturated_byte_is_exactly_zero_and_of_a_dark_one_exactly_one() -> None:
    T = torch.tensor([255, 0], dtype=torch.uint8).float() / 255.0
    assert well_exposed_mask(T).tolist() == [0.0, 1.0]


def test_alpha_is_a_parameter() -> None:
    assert well_exposed_mask(torch.tensor(0.75), alpha=0.5).item() == 0.5


def test_channels_are_masked_by_themselves() -> None:
    assert well_exposed_mask(torch.tensor([1.0, 0.5, 0.98])).tolist() == pytest.approx([0.0, 1.0, 0.5], abs=2e-6)


def test_preview_of_a_grey_ramp_by_hand() -> None:
    H = np.repeat(np.array([[0.0, 1.0, 4.0]], np.float32)[..., None], 3, axis=2)  # L_white = 4
    expected = [0.0, 1.0 * (1 + 1 / 16) / 2, 1.0]
    np.testing.assert_array_equal(preview(H)[0, :, 0], np.rint(255 * np.array(expected) ** (1 / 2.2)))


def test_preview_keeps_a_dark_picture_dark() -> None:
    H = np.full((2, 2, 3), 0.1, np.float32)  # the white point is never under 1
    assert preview(H).max() == np.rint(255 * (0.1 * 1.1 / 1.1) ** (1 / 2.2))
