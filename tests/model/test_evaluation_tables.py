"""What tables and ranges say of results that are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from model.evaluation.ablation import find_window
from model.evaluation.methods import Method
from model.evaluation.results import Results
from model.evaluation.saturation import bins_of, make_figure
from model.evaluation.scoring import MetricSettings, Score
from model.evaluation.tables import make_table, to_csv, to_markdown
from model.evaluation.testset import Picture, TestSet
from pipeline.errors import UsageError
from pipeline.records import Camera

CAMERA = Camera(
    **dict.fromkeys(("clip_fraction", "exposure", "noise_sigma", "hue_shift", "saturation_shift"), 0.5),
    **dict.fromkeys(("curve_n", "curve_sigma"), 0.5),
    jpeg_quality=90,
    seed=1,
)


def pictures(shares: Sequence[float], titles: Sequence[str] = ()) -> list[Picture]:
    return [
        Picture(
            name=f"p{i}",
            title=titles[i] if titles else f"p{i}",
            source_id="0" * 64,
            frame=0,
            scene=f"s{i}",
            height=4,
            width=4,
            camera=CAMERA,
            saturated_pixels=share,
            saturated_values=share,
            brightest=1.0,
            beyond_half=0,
            ldr_sha256=f"{i:064x}",
            hdr_sha256="1" * 64,
        )
        for i, share in enumerate(shares)
    ]


def a_testset(shown: list[Picture], **more: object) -> TestSet:
    told = {"seed": 0, "wanted": 75, "candidates": len(shown), "split": "test", "max_side": None, "saturated": []}
    return TestSet.model_validate({**told, "versions": {}, "pictures": shown, "rejected": [], **more})


def some_results(numbers: dict[str, list[float | None]], **more: object) -> Results:
    """Results of methods by name, a PSNR and an MSE of each picture; None: there is no result."""
    shown = pictures([0.1] * len(next(iter(numbers.values()))))
    methods = [Method(name, "network", facts={"width": "8"}) for name in numbers]
    scores = [
        Score(name, picture.name, {}, {}, reason="lost")
        if value is None
        else Score(name, picture.name, {"mse_gamma": value / 100, "psnr": value, "psnr_crf": value + 1}, {})
        for name, values in numbers.items()
        for picture, value in zip(shown, values, strict=True)
    ]
    return Results.of(a_testset(shown, **more), methods, scores[::-1])


def test_means_are_over_the_pictures_that_all_have() -> None:
    table = make_table("table1", some_results({"A": [10, 20, 30, 90], "B": [11, 22, 33, None]}), MetricSettings(), None)
    assert (table.pictures, table.versus) == (3, "A")
    cells = {row.method: row.cells["psnr"] for row in table.rows}
    assert (cells["A"].mean, cells["B"].mean, cells["B"].difference) == (20.0, 22.0, 2.0)
    assert [row.missing for row in table.rows] == [0, 1]
    assert "(3 of 4)" in table.notes[0]


def test_a_method_without_any_result_takes_nothing_from_the_others() -> None:
    table = make_table("table1", some_results({"A": [1.0, 2.0], "B": [None, None]}), MetricSettings(), None)
    assert table.pictures == 2
    assert table.rows[1].cells == {}
    assert "| B | none | none |" in to_markdown(table)


def test_the_order_of_results_changes_no_table() -> None:
    results = some_results({"A": [10, 20, 30], "B": [11, 22, 33]})
    turned = Results.of(results.testset, results.methods, list(results.scores.values())[::-1])
    one, other = (make_table("table2", r, MetricSettings(), "B") for r in (results, turned))
    assert one == other
    assert one.versus == "B"


def test_markdown_keeps_its_cells_whatever_a_method_is_called() -> None:
    table = make_table("table1", some_results({"a|b <script>": [1.0, 2.0]}), MetricSettings(), None)
    line = next(line for line in to_markdown(table).splitlines() if "script" in line)
    assert line.startswith("| a\\|b &lt;script> | 0.0150 [")
    assert line.replace("\\|", "").count("|") == 4
    assert '"a|b <script>"' not in to_csv(table).splitlines()[0]


def test_infinite_numbers_stay_out_of_intervals() -> None:
    table = make_table("table1", some_results({"A": [math.inf, 2.0, 3.0]}), MetricSettings(), None)
    cell = table.rows[0].cells["psnr"]
    assert (cell.mean, cell.low, cell.median) == (None, None, 3.0)


def test_the_notes_say_what_the_numbers_are_worth() -> None:
    notes = " ".join(make_table("table1", some_results({"A": [1.0, 2.0]}), MetricSettings(), None).notes)
    for told in ("2 scenes are few", "75 sources were asked for, and there were 2", "30 pixels per degree", "width 8"):
        assert told in notes
    more = some_results({"A": [1.0]}, split=None, max_side=512, saturated=[0.05, 0.2])
    notes = " ".join(make_table("table1", more, MetricSettings(alignment="exposed"), None).notes)
    for told in ("no method was trained on them", "shrunk to 512", "with 5, 20 %", "multiplied by one factor"):
        assert told in notes


def test_versus_must_be_a_method() -> None:
    with pytest.raises(UsageError, match="name one of A"):
        make_table("table1", some_results({"A": [1.0]}), MetricSettings(), "B")


def test_ranges_hold_every_picture_once() -> None:
    shown = pictures([0.5, 0.1, 0.2, 0.1, 0.1, 0.1, 0.3, 0.4, 0.9])
    parts = bins_of(shown, ())
    assert sorted(p.name for _, _, part in parts for p in part) == sorted(p.name for p in shown)
    assert [low for low, _, _ in parts] == sorted(low for low, _, _ in parts)
    for (_, high, _), (low, _, _) in pairwise(parts):
        assert high < low  # equal shares are never parted
    named = bins_of(shown, (0.0, 0.2, 0.9))
    assert [len(part) for _, _, part in named] == [4, 5]
    assert bins_of(shown, (0.0, 0.05, 0.1)) == [(0.05, 0.1, [p for p in shown if p.saturated_pixels == 0.1])]
    assert len(bins_of(pictures([0.1, 0.2]), ())) == 1


def test_what_lies_outside_of_the_ranges_is_told(tmp_path: Path) -> None:
    results = some_results({"A": [1.0, 2.0, 3.0]})
    results = replace(results, testset=a_testset(pictures([0.1, 0.2, 0.9])))
    notes = make_figure(results, MetricSettings(), tmp_path, (0.0, 0.5)).notes
    assert "1 of 3 pictures lie outside of the ranges, and in no mean." in notes
    assert not any("outside" in note for note in make_figure(results, MetricSettings(), tmp_path, ()).notes)
    with pytest.raises(UsageError, match=r"between 30 and 50 %, they have 10.0 to 90.0 % of their pixels"):
        make_figure(results, MetricSettings(), tmp_path, (0.3, 0.5))


def test_the_window_lies_where_saturated_and_exposed_meet() -> None:
    T = np.full((40, 60, 3), 0.3, np.float32)
    T[:, 35:, 1] = 1.0  # the edge runs along x = 35
    x, y = find_window(T, 10)
    assert x == 30
    assert 0 <= y <= 30
