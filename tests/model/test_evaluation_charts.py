"""Charts: the page's ink, the same picture each time, names of any kind."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from model.evaluation.charts import Line, Points, draw_crops, draw_saturation
from model.evaluation.sections import Cell


def cells(means: list[float | None]) -> list[Cell]:
    return [Cell(mean=m, low=None if m is None else m - 1, high=m, median=m) for m in means]


def drawn(name: str, means: list[float | None], logarithmic: bool = False) -> str:
    shares = [0.1 * (i + 1) for i in range(len(means))]
    points = Points(name, shares, [float("inf") if m is None else m for m in means])
    return draw_saturation([Line(name, shares, cells(means))], [points], "PSNR", logarithmic)


def test_a_chart_takes_the_colour_of_the_page() -> None:
    found = drawn("Ours", [20.0, 30.0])
    assert found.startswith("<svg")
    texts = re.findall(r"<text[^>]*>", found)
    assert texts
    assert all("currentColor" in text for text in texts)
    assert ">Ours</text>" in found  # text that can be searched
    assert drawn("Ours", [20.0, 30.0]) == found


def test_numbers_that_cannot_be_drawn_are_left_out() -> None:
    assert "<svg" in drawn("Ours", [None, 30.0])
    assert "<svg" in drawn("Ours", [None, None])
    assert "<svg" in drawn("Ours", [0.0, 0.0], logarithmic=True)


def test_any_name_can_stand_in_a_chart(tmp_path: Path) -> None:
    for name in ("$x_", "<script>alert(1)</script>", "\u6620\u50cf", "a\\b"):
        assert "<script>" not in drawn(name, [1.0])
        draw_crops(tmp_path / "crops.png", [(name, [np.zeros((4, 4, 3), np.uint8)])], [name])
    assert (tmp_path / "crops.png").read_bytes().startswith(b"\x89PNG")
