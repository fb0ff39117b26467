"""What the network sees of a photograph with holes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from model.errors import PictureError
from model.holes import DrawnHoles
from model.inpainting import Holed, HoledBatch, HoledPhotographs, collate_holed, fill_colour, to_holed_example
from model.order import Draw
from model.photographs import Photographs, index_of, survey
from model.unet import IMAGENET
from tests.model.photo_folder import make_photographs


@pytest.fixture
def dataset(tmp_path: Path) -> HoledPhotographs:
    folder = make_photographs(tmp_path / "photos", 3)
    return HoledPhotographs(Photographs(index_of(folder, survey(folder, 64).names, ""), 1, 64), DrawnHoles(2))


def test_holes_are_filled_and_the_photograph_is_the_truth(dataset: HoledPhotographs) -> None:
    items = [dataset[Draw(0, 7)], dataset[Draw(1, 8)]]
    assert isinstance(items[0], Holed)
    batch = collate_holed(items)
    assert isinstance(batch, HoledBatch)
    assert batch.patch_ids == (7, 8)
    T, I, M = to_holed_example(batch, torch.device("cpu"), (0.25, 0.5, 0.75))  # noqa: E741
    assert T.shape == I.shape == M.shape == (2, 3, 64, 64)
    np.testing.assert_array_equal(np.rint(I[0].permute(1, 2, 0).numpy() * 255), items[0].photograph)
    assert set(M.flatten().tolist()) == {0.0, 1.0}
    holes = torch.from_numpy(items[0].holes)
    assert torch.equal(M[0], (~holes).float().expand(3, 64, 64))
    assert torch.equal(T[0][:, ~holes], I[0][:, ~holes])
    assert torch.equal(T[0][:, holes], torch.tensor([0.25, 0.5, 0.75])[:, None].expand(3, int(holes.sum())))


def test_the_fill_is_one_as_the_preset_counts() -> None:
    assert fill_colour("paper") == (1.0, 1.0, 1.0)
    pairs = zip(fill_colour("official"), IMAGENET, strict=True)
    assert [(c - mean) / deviation for c, (mean, deviation) in pairs] == pytest.approx([1.0, 1.0, 1.0])


def test_an_error_comes_back_as_a_value(dataset: HoledPhotographs) -> None:
    for file in dataset.photographs.index.folder.rglob("*.png"):
        file.write_bytes(b"")
    found = collate_holed([dataset[Draw(0, 0)]])
    assert isinstance(found, PictureError)
    assert "gave no patch that can be read" in str(found)
