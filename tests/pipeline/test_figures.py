"""Figures as SVG: text that stays text, colours of the page, the same from run to run."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from pipeline.figures import INK, new_figure, own_ids, svg_of


def drawn(title: str, colours: dict[str, str] | None = None) -> str:
    figure, axes = new_figure(3, 2)
    axes.plot([0, 1], [0, 1], color="#123456")
    axes.set_title(title)
    return svg_of(figure, colours)


def test_it_is_one_svg_whose_text_is_text() -> None:
    root = ElementTree.fromstring(drawn("a < b & c"))  # noqa: S314  # our own
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "a < b & c" in [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_it_takes_the_pages_colours() -> None:
    text = drawn("x", {"#123456": "var(--line)"})
    assert "var(--line)" in text
    assert "#123456" not in text
    assert INK not in text
    assert "currentColor" in text


def test_it_is_the_same_from_run_to_run() -> None:
    assert drawn("x") == drawn("x") != drawn("y")


def test_a_name_that_the_font_lacks_warns_nobody() -> None:
    assert "\U00013080" in drawn("\U00013080")  # warnings are errors here


def test_figures_of_one_page_share_no_id() -> None:
    """Each refers to what it holds itself, and to nothing of the other."""
    found = []
    for prefix in ("a", "b"):
        text = own_ids(drawn("x"), prefix)
        ids = set(re.findall(r'id="([^"]*)"', text))
        referred = set(re.findall(r'(?:href="#|url\(#)([^")]*)', text))
        assert referred
        assert referred <= ids
        found.append(ids)
    assert not found[0] & found[1]


def test_a_grid_has_axes_in_rows_and_columns() -> None:
    assert new_figure(3, 2, (2, 3))[1].shape == (2, 3)
