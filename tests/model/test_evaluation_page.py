"""The page in a real browser: nothing escapes it, nothing is asked of a network, and it works by mouse and key."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from model.evaluate import main
from model.evaluation.page import make_page
from model.evaluation.scoring import MetricSettings
from model.evaluation.sections import Shown, Viewer
from model.evaluation.tables import make_table
from tests.browser import Visit, chromium
from tests.model.test_evaluation_tables import a_testset, pictures, some_results

EVIL = "</script><script>alert(1)</script>\"'<b>&"
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


def evil_page(out: Path) -> str:
    table = make_table("table1", some_results({EVIL: [1.0, 2.0], "B": [2.0, 3.0]}), MetricSettings(), None)
    shown = Shown(
        name="p0",
        title=EVIL,
        saturated_pixels=0.1,
        licence=EVIL,
        attribution=None,
        reference="pictures/p0/reference.jpg",
        previews={EVIL: "pictures/p0/evil.jpg"},
        numbers={EVIL: {"psnr": None}},
    )
    viewer = Viewer(testset="x", pictures=[shown])
    return make_page([table], viewer, a_testset(pictures([0.1], [EVIL])), out)


def test_no_name_is_read_as_html(tmp_path: Path) -> None:
    text = evil_page(tmp_path)
    assert text.count("<script") == 2  # the data and the page's own
    assert text.count("</script>") == 2
    assert "<b>" not in text
    assert html.escape(EVIL) in text
    found = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    assert json.loads(found[1])["pictures"][0]["title"] == EVIL


@pytest.fixture(scope="module")
def evaluated(testset: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with all that the commands can put on it."""
    out = tmp_path_factory.mktemp("page")
    where = ["--testset", str(testset), "--out", str(out), "--device", "cpu", "--method", f"Ours <script>={weights}"]
    for command in (["table1"], ["fig8", "--edges", "0,100"], ["table2"], ["ablation", "--side", "32"]):
        assert main([command[0], *where, *command[1:]]) == 0
    return out / "index.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for all tests of the page."""
    with chromium() as found:
        yield found


class PageVisit(Visit):
    """The evaluation page, open."""

    def zoom(self) -> float:
        return float(self.page.locator("#viewer").get_attribute("data-zoom") or "nan")

    def transforms(self) -> set[str]:
        found = self.page.eval_on_selector_all(".view img", "all => all.map((image) => image.style.transform)")
        return {str(transform) for transform in found}


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def visit(browser: Browser, evaluated: Path, request: pytest.FixtureRequest) -> Iterator[PageVisit]:
    opened = PageVisit(browser, evaluated, request.param, has_touch=request.param is PHONE)
    yield opened
    opened.close()


def test_it_shows_everything_and_fits_the_screen(visit: PageVisit, evaluated: Path) -> None:
    page = visit.page
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("#fig8 svg").count() == len(list(evaluated.parent.glob("fig8-*.svg"))) > 0
    for image in page.locator("img").all():
        image.scroll_into_view_if_needed()
        assert image.get_attribute("alt")
        page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=image.element_handle())
    panels = page.locator("#panels figcaption strong").all_text_contents()
    assert panels == ["Input", "Landis 2002", "Ours <script>", "Ground truth"]
    names = page.eval_on_selector_all(
        "button, select, input", "all => all.filter(e => !e.labels?.length && !e.textContent.trim())"
    )
    assert names == []


def test_zoom_and_place_are_the_same_in_all_pictures(visit: PageVisit) -> None:
    page = visit.page
    view = page.locator(".view").first
    view.scroll_into_view_if_needed()
    assert visit.zoom() == 1.0
    box = view.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 4, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.wheel(0, -300)
    page.wait_for_function("Number(document.getElementById('viewer').dataset.zoom) > 2")
    assert visit.zoom() == pytest.approx(2.718, abs=0.01)
    assert len(visit.transforms()) == 1  # synchronised
    before = visit.transforms()
    page.mouse.down()
    page.mouse.move(x + 30, y + 10)
    page.mouse.up()
    assert visit.transforms() != before
    view.focus()
    page.keyboard.press("0")
    assert visit.zoom() == 1.0
    page.keyboard.press("+")
    assert visit.zoom() == pytest.approx(1.5)
    held = visit.transforms()
    page.keyboard.press("ArrowRight")
    assert visit.transforms() != held
    page.keyboard.press("-")
    page.keyboard.press("-")
    assert visit.zoom() == 1.0
    assert visit.transforms() == {"scale(1) translate(0%, 0%)"}


def test_exposure_and_choice_of_picture(visit: PageVisit) -> None:
    page = visit.page
    first = page.locator("#about").text_content()
    table = "document.querySelector('#expose feFuncR').getAttribute('tableValues').split(' ').map(Number)"
    assert page.evaluate(f"{table}[255]") == 1.0
    at_clipping = next(i for i, v in enumerate(page.evaluate(table)) if v == 1.0)
    assert at_clipping == 146  # 255 log2(1 + 256) / 14 = 145.8
    page.keyboard.press("[")
    assert page.locator("#stops").text_content() == "-0.5 stops"
    assert next(i for i, v in enumerate(page.evaluate(table)) if v == 1.0) > at_clipping
    page.keyboard.press("n")
    assert page.locator("#about").text_content() != first
    page.locator("#picture").select_option(index=0)
    assert page.locator("#about").text_content() == first
    page.locator("#reset").click()
    assert page.locator("#stops").text_content() == "0.0 stops"


def test_tables_sort_by_a_click(visit: PageVisit) -> None:
    page = visit.page
    grid = page.locator("#table1 table").first
    values = grid.locator("tbody tr")
    head = grid.locator("th button").nth(1)
    for direction, turn in (("ascending", 1), ("descending", -1)):
        head.click()
        told = [float(v) for v in values.evaluate_all("all => all.map(row => row.cells[1].dataset.value)")]
        assert told == sorted(told)[::turn]
        assert grid.locator("th").nth(1).get_attribute("aria-sort") == direction


def test_a_page_of_hostile_names_runs_none_of_them(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(evil_page(tmp_path))
    visit = Visit(browser, tmp_path / "index.html", DESKTOP)
    assert EVIL in (visit.page.locator("#about").text_content() or "")
    assert all("ERR_FILE_NOT_FOUND" in text for text in visit.said)  # of its pictures, which are not there
    visit.context.close()
