"""The report in a real browser: it counts what the table says, by mouse and key; nothing escapes it or leaves it."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator

from tests.browser import Visit, chromium
from tests.pipeline.banks import run_here, table
from tests.pipeline.conftest import SMALL

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
SMALLEST = 0.06  # share of saturated pixels, below which no threshold keeps a patch
EVIL = "<script>alert(1)</script>.exr"  # a folder and a file: no name holds a slash


@pytest.fixture(scope="module")
def reports(hdr_folder: Path, scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports by name: of a bank half exported whose sources are partly gone, and of one with nothing kept."""
    folder = tmp_path_factory.mktemp("pages")
    sources = shutil.copytree(hdr_folder, folder / "in")
    evil = sources / EVIL
    evil.parent.mkdir()
    (sources / "002_window.exr").rename(evil)
    (sources / f"no {EVIL[:8]}picture.exr").write_text("")
    half, none = folder / "half.zarr", folder / "none.zarr"

    def command(name: str, bank: Path, *words: object) -> None:
        run_here(name, *words, "--bank", bank, "--scheduler", scheduler)

    command("ingest", half, sources, *SMALL, "--patches", 12, "--max-failures", 1)
    command("simulate-ldr", half)
    command("score", half, "--threshold", 1.5, "--set", f"score.min_saturated_fraction={SMALLEST}")
    command("export", half, "--limit", 6)
    shutil.copytree(half, none)
    command("score", none, "--threshold", 1000)
    command("report", none, "--sheet", 4)
    next(sources.glob("000*")).unlink()
    command("report", half)
    return {bank.stem: folder / f"{bank.stem}-report" / "index.html" for bank in (half, none)}


@pytest.fixture(scope="module")
def catalogue(scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a made-up bank of 60,000 patches."""
    from benchmarks.catalogue import make_bank

    bank = tmp_path_factory.mktemp("catalogue") / "bank.zarr"
    make_bank(bank, frames=240, patches=250)
    run_here("report", "--bank", bank, "--sheet", 1, "--scheduler", scheduler)
    return bank


@pytest.fixture(scope="module")
def browser(reports: dict[str, Path], catalogue: Path) -> Iterator[Browser]:
    """Chromium, started after what the pages are of was made."""
    with chromium() as found:
        yield found


class ReportVisit(Visit):
    """A report that is open."""

    def threshold(self) -> float:
        return float(self.page.locator("#limit").input_value())

    def kept(self) -> int:
        return int((self.page.locator("#kept").text_content() or "").split()[0].replace(",", ""))

    def shares(self) -> dict[str, int]:
        rows = self.page.locator("#shares li").all()
        told = [[part.text_content() or "" for part in row.locator("span").all()[:2]] for row in rows]
        return {name: int(re.sub(r"\D", "", number.split("·")[0])) for name, number in filter(None, told)}


def kept_by_source(bank: Path, threshold: float, smallest: float = SMALLEST) -> Counter[str]:
    """Return what the rule of the verdict keeps of each source, by the end of its path."""
    names = {row["source_id"]: row["path"] for row in table(bank, "sources").to_pylist()}
    rows = table(bank, "patches").select(["source_id", "score", "saturated_fraction"]).to_pylist()
    return Counter(
        names[row["source_id"]] for row in rows if row["saturated_fraction"] >= smallest and row["score"] >= threshold
    )


def bank_of(report: Path) -> Path:
    return report.parent.with_name(report.parent.name.removesuffix("-report") + ".zarr")


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def visit(browser: Browser, reports: dict[str, Path], request: pytest.FixtureRequest) -> Iterator[ReportVisit]:
    opened = ReportVisit(
        browser, reports["half"], request.param, color_scheme="dark" if request.param is PHONE else "light"
    )
    yield opened
    opened.close()


def assert_counts(visit: ReportVisit, bank: Path) -> None:
    """Assert that counts, shares and sheets are those of the table at the threshold that the page shows."""
    threshold = visit.threshold()
    wanted = kept_by_source(bank, threshold)
    assert visit.kept() == wanted.total()
    shares = visit.shares()
    assert sum(shares.values()) == wanted.total()
    assert {name: count for path, count in wanted.items() for name in shares if path.endswith(name)} == shares
    around = []
    for side, is_kept in (("above", True), ("below", False)):
        patches = visit.page.locator(f"#{side} .patch")
        scores = [visit.page.evaluate("n => data.patches[n].score", n) for n in numbers_of(patches)]
        assert all((score >= threshold) == is_kept for score in scores)
        marks = patches.evaluate_all("all => all.map(e => e.classList.contains('out'))")
        assert set(marks) <= {not is_kept}
        around += scores
    assert around  # the whole ladder is on one side of a threshold at an end


def numbers_of(patches: Locator) -> list[int]:
    return [int(number) for number in patches.evaluate_all("all => all.map(e => e.dataset.number)")]


def test_the_threshold_moves_by_mouse_as_the_table_counts(visit: ReportVisit, reports: dict[str, Path]) -> None:
    bank = bank_of(reports["half"])
    assert visit.threshold() == 1.5
    assert_counts(visit, bank)
    plot = visit.page.locator("#plot")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    seen = {visit.kept()}
    visit.page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 40)
    visit.page.mouse.down()
    for share in (0.1, 0.2, 0.45, 0.6):
        visit.page.mouse.move(box["x"] + box["width"] * share, box["y"] + 40)
        assert_counts(visit, bank)
        seen.add(visit.kept())
    visit.page.mouse.up()
    visit.page.mouse.move(box["x"] + 5, box["y"] + 40)  # let go: it stays
    assert_counts(visit, bank)
    assert len(seen) > 3
    visit.page.locator("#reset").click()
    assert visit.threshold() == 1.5
    assert visit.kept() == table(bank, "patches")["verdict"].to_pylist().count("kept")


def test_the_threshold_moves_by_keys_and_by_typing(visit: ReportVisit, reports: dict[str, Path]) -> None:
    bank, slider = bank_of(reports["half"]), visit.page.locator("#slide")
    slider.focus()
    before = visit.threshold()
    for _ in range(3):
        visit.page.keyboard.press("ArrowRight")
    assert visit.threshold() > before
    assert_counts(visit, bank)
    visit.page.keyboard.press("PageDown")
    assert visit.threshold() < before
    assert_counts(visit, bank)
    assert slider.get_attribute("aria-valuetext") == f"{visit.threshold():g}, {visit.kept()} patches kept"
    visit.page.keyboard.press("Home")
    assert visit.threshold() == 0.0
    rows = table(bank, "patches").to_pylist()
    some = sorted(row["score"] for row in rows if row["saturated_fraction"] >= SMALLEST)[20]
    visit.page.locator("#limit").fill(repr(some))  # a patch of exactly the threshold is kept
    assert visit.threshold() == some
    assert visit.kept() == kept_by_source(bank, some).total()
    assert f"--threshold {some!r} " in (visit.page.locator("#command").text_content() or "")


def test_a_source_named_like_a_script_is_harmless(visit: ReportVisit, reports: dict[str, Path]) -> None:
    text = reports["half"].read_text()
    assert text.count("<script") == 2  # the data and the page's own
    assert text.count("</script>") == 2
    assert EVIL in " ".join(visit.page.locator("#sources th").all_text_contents())
    visit.page.locator("#sheets .patch").first.click()
    names = set()
    for _ in range(24):
        names.add((visit.page.locator("#patch-name").text_content() or "").rpartition(", frame")[0])
        visit.page.keyboard.press("ArrowRight")
    assert EVIL in names


def test_a_patch_tells_its_recipe_and_its_place(visit: ReportVisit, reports: dict[str, Path]) -> None:
    page, rows = (
        visit.page,
        {str(row["patch_id"]): row for row in table(bank_of(reports["half"]), "patches").to_pylist()},
    )
    first = page.locator("#sheets .patch").first
    first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#tiles img").count() == 6
    assert all(image.get_attribute("alt") for image in page.locator("#tiles img").all())
    told = dict(zip(*(page.locator(f"#recipe {tag}").all_text_contents() for tag in ("dt", "dd")), strict=True))
    row = rows[told["Patch"]]
    assert told["Score"] == f"{row['score']:.4f}"
    assert told["JPEG quality"] == str(row["jpeg_quality"])
    assert told["Seed"] == str(row["seed"])
    assert told["Curve"] == f"n {row['curve_n']:.3f}, \N{GREEK SMALL LETTER SIGMA} {row['curve_sigma']:.3f}"
    points = [
        tuple(map(float, p.split(","))) for p in (page.locator("#curve polyline").get_attribute("points") or "").split()
    ]
    light = 0.5 ** row["curve_n"]
    value = (1 + row["curve_sigma"]) * light / (light + row["curve_sigma"])
    assert points[50][1] == pytest.approx(170 - 150 * value, abs=0.01)
    frame, window = page.locator("#place .frame").bounding_box(), page.locator("#place .window").bounding_box()
    assert frame is not None
    assert window is not None
    assert (window["x"] - frame["x"]) / frame["width"] == pytest.approx(row["x"] / 200, abs=0.02)
    assert window["height"] / frame["height"] == pytest.approx(64 / 160, abs=0.03)
    page.keyboard.press("Escape")
    assert not page.locator("#patch").is_visible()
    assert first.evaluate("e => e === document.activeElement")


def test_what_cannot_be_rendered_comes_from_the_arrays_or_says_why(browser: Browser, reports: dict[str, Path]) -> None:
    visit = ReportVisit(browser, reports["half"], DESKTOP)
    patches = visit.page.evaluate("data.patches")
    lost = [patch for patch in patches if "000_" in visit.page.evaluate("data.sources")[patch["source"]]["name"]]
    assert {patch["origin"] for patch in lost} == {"bank", None}
    assert all((patch["row"] is None) == (patch["strip"] is None) for patch in lost)
    assert {patch["origin"] for patch in patches if patch not in lost} == {"source"}
    number = next(i for i, patch in enumerate(patches) if patch["strip"] is None)
    shown = visit.page.locator(f"#sheets .patch[data-number='{number}']")
    assert "no picture" in (shown.first.text_content() or "")
    shown.first.click()
    assert "put the file back" in (visit.page.locator("#patch-about").text_content() or "")
    assert "kept, but not exported" in (visit.page.locator("#yield").text_content() or "")
    visit.close()


def test_it_fits_the_screen_and_names_everything(visit: ReportVisit) -> None:
    page = visit.page
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.evaluate("for (const image of document.images) image.loading = 'eager'")
    page.wait_for_function("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert page.locator("img:not([alt])").count() == 0
    assert page.locator("#numbers svg[role=img][aria-label]").count() == 5
    unnamed = "all => all.filter(e => !e.labels?.length && !e.textContent.trim() && !e.ariaLabel)"
    assert page.eval_on_selector_all("button, input", unnamed) == []
    for view in ("Mask", "All"):
        page.get_by_label(view, exact=True).check()
    tile = page.locator("#sheets .tile").first.bounding_box()
    assert tile is not None
    assert tile["width"] / tile["height"] == pytest.approx(6, rel=0.05)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_bank_with_nothing_kept_says_so(browser: Browser, reports: dict[str, Path]) -> None:
    visit = ReportVisit(browser, reports["none"], DESKTOP)
    assert visit.kept() == 0
    assert visit.page.locator("#shares").text_content() == "No patch is kept."
    assert visit.page.locator("#sheets h3").all_text_contents() == ["Best rejected", "Random"]
    visit.page.locator("#limit").fill("0")
    assert visit.kept() == kept_by_source(bank_of(reports["none"]), 0).total() > 0
    visit.close()


def test_more_patches_than_a_page_holds_are_counted_exactly_and_shared_by_a_sample(
    browser: Browser, catalogue: Path
) -> None:
    page = catalogue.with_name("bank-report") / "index.html"
    assert page.stat().st_size < 2_000_000
    visit = ReportVisit(browser, page, DESKTOP)
    assert "a sample of 50,000 patches" in (visit.page.locator("#threshold").text_content() or "")
    assert visit.kept() == kept_by_source(catalogue, 0.85, 0.01).total()
    for threshold in (0.1, 0.5, 1.234, 2.0):
        visit.page.locator("#limit").fill(str(threshold))
        wanted = kept_by_source(catalogue, visit.threshold(), 0.01)
        assert visit.kept() == wanted.total()
        shares = visit.shares()
        shares.pop(next(name for name in shares if name.endswith("more sources")))
        for name, count in shares.items():
            path = next(path for path in wanted if path.endswith(name))
            assert count == pytest.approx(wanted[path], rel=0.2, abs=40)
    visit.close()
