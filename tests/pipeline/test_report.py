"""The report's parts: numbers against the table, samples against the whole, pictures against closed forms."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shlex
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bank import BankReader, LocalStorage
from pipeline.bank.files import replace_file
from pipeline.records import FloatImage, generator
from pipeline.report import making, sections, threshold, trace
from pipeline.report.choice import PER_FRAME, choose
from pipeline.report.embedding import Pictures, embed, script_json, short_names
from pipeline.report.likeness import NEAR, alike, differing_bits, likeness_hash
from pipeline.report.rendering import VIEWS, develop, dynamic_range, views
from pipeline.report.sections import REJECTED, histogram
from pipeline.report.survey import Source, survey_bank
from pipeline.report.threshold import EXACT, stratified, threshold_data
from pipeline.scenes import render_scene
from pipeline.score import ScoreSettings, judge
from tests.pipeline.banks import assert_same_patches, run_here, table
from tests.pipeline.conftest import SMALL, Result

Command = Callable[..., Result]


@pytest.fixture(scope="module")
def bank(hdr_folder: Path, scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of two sources that are one scene and three others, one of them rejected; half of its kept patches out."""
    folder = tmp_path_factory.mktemp("reported")
    sources = shutil.copytree(hdr_folder, folder / "in")
    (sources / "broken.exr").write_text("this is no picture")
    place, where = folder / "bank.zarr", ("--bank", folder / "bank.zarr", "--scheduler", scheduler)
    run_here("ingest", sources, *where, *SMALL, "--patches", 12, "--max-failures", 1)
    for words in (
        ("simulate-ldr",),
        ("score", "--threshold", 1.5, "--set", "score.min_saturated_fraction=0.06"),
        ("export", "--limit", 5),
    ):
        run_here(*words, *where)
    return place


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up bank of 60,000 patches, more than a page holds one by one."""
    from benchmarks.catalogue import make_bank

    place = tmp_path_factory.mktemp("catalogue") / "bank.zarr"
    make_bank(place, frames=240, patches=250)
    return place


def test_the_flow_adds_up_and_tells_why_patches_fall_out(bank: Path, hdrprep: Command) -> None:
    told = json.loads(hdrprep("status", "--bank", bank, "--json").out)
    flow = {step["name"]: step for step in told["flow"]}
    assert list(flow) == ["sources", "frames", "candidates", "saturated", "kept", "exported"]
    assert flow["sources"]["count"] == 5
    assert sum(flow["sources"]["lost"].values()) == told["rejected"] == 1
    for before, after in (("candidates", "saturated"), ("saturated", "kept"), ("kept", "exported")):
        assert flow[before]["count"] - flow[after]["count"] == sum(flow[after]["lost"].values())
    assert flow["saturated"]["lost"] == {"unsaturated: saturated_fraction below 0.06": told["unsaturated"]}
    assert flow["exported"]["lost"] == {"kept, but not exported": told["kept"] - 5}
    assert flow["kept"]["lost"] == {"smooth: score below 1.5": told["smooth"]}
    by_source = {source["source_id"]: source for source in told["by_source"]}
    patches = table(bank, "patches").to_pylist()
    kept = Counter(row["source_id"] for row in patches if row["verdict"] == "kept")
    assert {key: source["kept"] for key, source in by_source.items() if source["kept"]} == kept
    assert sum(told["histogram"]["counts"]) == flow["saturated"]["count"]
    stops = np.log2([row["exposure"] for row in patches])
    assert told["distributions"]["exposure_stops"]["median"] == pytest.approx(np.median(stops))


def test_status_says_the_same_in_words(bank: Path, hdrprep: Command) -> None:
    told = hdrprep("status", "--bank", bank).out
    counts = json.loads(hdrprep("status", "--bank", bank, "--json").out)
    for heading in ("yield", "scores of saturated patches", "numbers", "provenance"):
        assert f"\n{heading}" in told
    assert f"  {'kept':<12}{counts['kept']:>10,}" in told
    assert f"{-counts['smooth']:>10,}  smooth: score below 1.5" in told
    assert all(digest in told for digest in counts["provenance"]["fingerprints"].values())


def test_a_bank_that_was_only_ingested_has_a_status_and_a_report(
    hdr_folder: Path, hdrprep: Command, tmp_path: Path
) -> None:
    place = tmp_path / "bank.zarr"
    assert hdrprep("ingest", hdr_folder, "--bank", place, *SMALL).status == 0
    told = json.loads(hdrprep("status", "--bank", place, "--json").out)
    assert told["distributions"] == {}
    assert told["flow"][3]["lost"] == {"not scored yet": 24}
    result = hdrprep("report", "--bank", place)
    assert result.status == 0, result.err
    page = (tmp_path / "bank-report" / "index.html").read_text()
    assert "Nothing was scored yet" in page
    assert "No patch is shown" in page


def test_the_command_of_the_report_makes_the_bank_again(
    bank: Path, hdrprep: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report"
    assert hdrprep("report", "--bank", bank, "--out", out, "--sheet", 0).status == 0
    monkeypatch.chdir(out)
    script = Path("rebuild.sh").read_text().replace("\\\n", "")
    commands = [shlex.split(line)[1:] for line in script.splitlines() if line.startswith("hdrprep ")]
    assert [words[0] for words in commands] == ["ingest", "simulate-ldr", "score", "export"]
    for words in commands:
        assert hdrprep(*words).status == 0
    assert_same_patches(out / "rebuilt.zarr", bank)


def test_a_report_is_a_function_of_its_bank_and_leaves_nothing_of_an_earlier_one(
    bank: Path, hdrprep: Command, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    assert hdrprep("report", "--bank", bank, "--out", out, "--sheet", 4).status == 0
    first = {file.relative_to(out): file.read_bytes() for file in out.rglob("*") if file.is_file()}
    (out / "pictures" / "patch-1.webp").write_bytes(b"of another bank")
    assert hdrprep("report", "--bank", bank, "--out", out, "--sheet", 4).status == 0
    assert {file.relative_to(out): file.read_bytes() for file in out.rglob("*") if file.is_file()} == first


def test_a_report_is_of_one_state_of_a_bank_that_is_changed_meanwhile(
    bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hdrprep: Command
) -> None:
    place = shutil.copytree(bank, tmp_path / "bank.zarr")
    files = {name: place / "tables" / f"{name}.parquet" for name in ("sources", "patches")}
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files.values()]

    def choose_slowly(*arguments: Any) -> Any:
        chosen = choose(*arguments)
        for file in files.values():
            pq.write_table(pq.read_table(file).slice(0, 1), file)
        return chosen

    monkeypatch.setattr(making, "choose", choose_slowly)
    result = hdrprep("report", "--bank", place, "--sheet", 2)
    assert result.status == 0, result.err
    page = (tmp_path / "bank-report" / "index.html").read_text()
    assert all(digest in page for digest in digests)


def test_what_is_counted_and_signed_is_read_once(bank: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, plain = Counter[str](), LocalStorage.read

    def count(storage: LocalStorage, key: str) -> bytes:
        read[key] += 1
        return plain(storage, key)

    monkeypatch.setattr(LocalStorage, "read", count)
    reader = BankReader(bank)
    trace(reader, survey_bank(reader))
    assert {count for key, count in read.items() if key.startswith("tables/")} == {1}


@pytest.mark.parametrize("texts", range(3))
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_report_that_is_killed_between_its_texts_is_made_by_the_same_command(
    texts: int, moment: str, bank: Path, hdrprep: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, count = tmp_path / "report", 0

    def killed(file: Path, write: Callable[[Path], object]) -> None:
        nonlocal count
        if file.parent == out:
            if count == texts and moment == "before":
                write(out / f".{file.name}.ab12_xyz")  # as it is called until it is whole
                raise KeyboardInterrupt
            count += 1
        replace_file(file, write)
        if count > texts:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(making, "replace_file", killed)
        result = hdrprep("report", "--bank", bank, "--out", out, "--sheet", 0)
    assert (result.status, result.err.strip()) == (130, "hdrprep: interrupted; the same command begins anew")
    result = hdrprep("report", "--bank", bank, "--out", out, "--sheet", 0)
    assert result.status == 0, result.err


def test_a_folder_of_other_things_is_left_alone(bank: Path, hdrprep: Command, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<title>my home</title>")
    result = hdrprep("report", "--bank", bank, "--out", tmp_path)
    assert result.status == 2
    assert "holds other things than a report" in result.err
    assert (tmp_path / "index.html").read_text() == "<title>my home</title>"
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "settings.yaml").write_text("mine: 1")
    assert hdrprep("report", "--bank", bank, "--out", tmp_path / "own").status == 2
    assert hdrprep("report", "--bank", tmp_path / "none.zarr").status == 2
    assert hdrprep("report", "--bank", bank, "--out", tmp_path / "index.html").status == 2


def test_a_bank_behind_a_url_is_reported_into_a_folder(bank: Path, hdrprep: Command, tmp_path: Path) -> None:
    import fsspec

    store = fsspec.filesystem("memory")
    for file in bank.rglob("*"):
        if file.is_file():
            store.pipe_file(f"/reported.zarr/{file.relative_to(bank)}", file.read_bytes())
    out = tmp_path / "report"
    result = hdrprep("report", "--bank", "memory://reported.zarr", "--out", out, "--sheet", 2, "--workers", 1)
    assert result.status == 0, result.err
    assert len(list((out / "pictures").glob("patch-*.webp"))) > 4


# Which patches are shown


def test_contact_sheets_hold_what_their_names_say(bank: Path) -> None:
    survey = survey_bank(BankReader(bank))
    choice, score = choose(survey, 6), survey.numbers["score"]
    kept, smooth = np.flatnonzero(survey.verdict == 0), np.flatnonzero(survey.verdict == 1)
    assert choice.sheets["best"][0] == kept[np.argmax(score[kept])]
    assert choice.sheets["worst kept"][0] == kept[np.argmin(score[kept])]
    assert choice.sheets["best rejected"][0] == smooth[np.argmax(score[smooth])]
    for name, order in (("best", -1), ("worst kept", 1), ("best rejected", -1)):
        shown = score[choice.sheets[name]] * order
        assert (np.diff(shown) >= 0).all()
        assert len(shown) == 6
    assert (np.diff(score[choice.ladder]) >= 0).all()
    assert {int(survey.source[p]) for p in choice.portraits} == {int(s) for s in survey.source}
    assert choose(survey, 6) == choice
    assert choose(survey, 0).positions() == []


def test_patches_without_a_score_are_nobodys_best_and_stand_on_no_ladder(bank: Path) -> None:
    survey = survey_bank(BankReader(bank))
    known = np.arange(survey.source.size) % 2 == 1  # as `score` leaves it when it is interrupted
    survey.numbers["score"] = np.where(known, survey.numbers["score"], np.nan)
    choice = choose(survey, 12)
    assert known[choice.portraits].all()
    assert len(choice.portraits) == 4
    rows = table(bank, "patches").take(choice.positions()).to_pylist()
    pictures = Pictures(rows=dict(zip(choice.positions(), rows, strict=True)))
    ladder = [choice.positions()[number] for number in json.loads(embed(survey, None, choice, pictures))["ladder"]]
    assert len(ladder) > 12
    assert (np.diff(survey.numbers["score"][ladder]) >= 0).all()


def test_no_frame_fills_a_sheet_as_long_as_there_are_others(catalogue: Path) -> None:
    survey = survey_bank(BankReader(catalogue))
    for name, sheet in choose(survey).sheets.items():
        frames = Counter((survey.source[p], survey.frame[p]) for p in sheet)
        assert name == "random" or max(frames.values()) <= PER_FRAME


# The threshold


def numbers(text: str, kind: str) -> Any:
    return np.frombuffer(base64.b64decode(text), kind)


@pytest.mark.parametrize("which", ["bank", "catalogue"])
def test_the_page_counts_at_any_threshold_what_the_rule_says(which: str, request: pytest.FixtureRequest) -> None:
    place: Path = request.getfixturevalue(which)
    survey = survey_bank(BankReader(place))
    told = threshold_data(survey)
    assert told is not None
    assert told["sampled"] == (which == "catalogue")
    assert sum(told["bars"]) == told["saturated"]
    rows = table(place, "patches").select(["score", "saturated_fraction"]).to_pydict()
    for step in (0, 1, 300, 850, 1234):
        limit = step / 10 ** told["digits"]
        settings = survey.settings.score.model_copy(update={"threshold": limit})
        pairs = zip(rows["score"], rows["saturated_fraction"], strict=True)
        wanted = sum(judge(score, share, settings)[0] == "kept" for score, share in pairs)
        if told["sampled"]:
            assert numbers(told["above"], "<u4")[step] == wanted
        else:
            assert (numbers(told["scores"], "<f8") >= limit).sum() == wanted
    assert len(json.dumps(told)) < 1_500_000


def test_what_the_page_counts_with_is_computed_once(
    bank: Path, hdrprep: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tops, plain = list[float](), threshold.axis_top

    def count(*arguments: Any) -> float:
        tops.append(plain(*arguments))
        return tops[-1]

    monkeypatch.setattr(threshold, "axis_top", count)
    assert hdrprep("report", "--bank", bank, "--out", tmp_path / "report", "--sheet", 0).status == 0
    assert len(tops) == 1


@given(st.lists(st.integers(1, 400), min_size=1, max_size=30), st.integers(30, 500))
def test_a_sample_takes_the_same_share_of_each_source(sizes: list[int], most: int) -> None:
    source = np.repeat(np.arange(len(sizes)), sizes)
    generator(1).shuffle(source)
    most = min(most, source.size)
    taken = stratified(source, most, seed=7)
    assert (np.diff(taken) > 0).all()
    counts = np.bincount(source[taken], minlength=len(sizes))
    exact = np.array(sizes) * most / source.size
    assert (counts == np.maximum(1, np.floor(exact + 1e-9))).all() or np.abs(counts - np.maximum(1, exact)).max() <= 1
    assert (stratified(source, most, seed=7) == taken).all()


def test_another_seed_takes_another_sample() -> None:
    source = np.zeros(2 * EXACT, np.int64)
    assert (stratified(source, 1000, seed=1) != stratified(source, 1000, seed=2)).any()


def test_bars_are_as_high_as_their_counts() -> None:
    assert histogram([1, 0, 2]) == "M0 200V102.00H333.33V200.00H666.67V4.00H1000.00V200Z"


def test_rejected_sources_are_listed_whatever_stands_before_them(bank: Path) -> None:
    survey = survey_bank(BankReader(bank))
    used = [a_source(f"/in/{i}") for i in range(REJECTED)]
    lost = [replace(a_source(f"/in/lost {i}"), reason=f"<{i}>") for i in range(REJECTED + 3)]
    page = sections.sources(replace(survey, sources=[*used, *lost]), Pictures())
    assert page.count("<td>&lt;") == REJECTED
    assert "<td>&lt;0&gt;</td>" in page
    assert "<p>3 more sources: hdrprep failures lists them all.</p>" in page
    assert "hdrprep failures" not in sections.sources(replace(survey, sources=[*used, *lost[:REJECTED]]), Pictures())


# Pictures


def test_sources_look_alike_whatever_their_exposure_size_and_format() -> None:
    scenes = {name: render_scene(name, 3, 160, 200) for name in ("textured_highlights", "sky", "window", "lamps")}
    hashes = {i: likeness_hash(scene) for i, scene in enumerate(scenes.values())}
    assert None not in hashes.values()
    known = {i: value for i, value in hashes.items() if value is not None}
    assert alike(known) == []
    again = likeness_hash((scenes["window"] * np.float32(7))[::2, ::2].copy())
    assert again is not None
    assert differing_bits(again, known[2]) <= NEAR
    assert alike({2: known[2], 9: again}) == [(2, 9, differing_bits(known[2], again))]


def test_a_picture_without_structure_looks_like_nothing() -> None:
    assert likeness_hash(np.full((40, 50, 3), 0.5, np.float32)) is None
    assert likeness_hash(np.zeros((40, 50, 3), np.float32)) is None


def test_the_dynamic_range_is_that_of_the_luminance() -> None:
    hdr = np.full((64, 64, 3), 0.25, np.float32)
    hdr[:32] = 16.0
    assert dynamic_range(hdr) == pytest.approx(6.0)


def test_views_show_what_they_are_called() -> None:
    hdr: FloatImage = np.full((64, 64, 3), 0.1, np.float32)
    hdr[:, 32:] = 8.0
    ldr = np.full((64, 64, 3), 90, np.uint8)
    ldr[:, 32:] = 255
    shown = dict(zip(VIEWS, views(hdr, ldr, ScoreSettings()), strict=True))
    sides = {name: (int(tile[96, 10, 0]), int(tile[96, -10, 0])) for name, tile in shown.items()}
    assert sides["Photograph"] == (90, 255)
    assert sides["Mask"] == (255, 0)
    assert sides["HDR"] == (round(255 * 0.1 ** (1 / 2.2)), 255)
    assert sides[VIEWS[3]][1] == 255
    assert sides[VIEWS[4]][1] == round(255 * (8 / 64) ** (1 / 2.2))
    assert abs(sides["Detail"][0] - 127.5) < 2
    assert develop(np.ones((1, 1, 3), np.float32), 0.5)[0, 0, 0] == 186


# Names


def a_source(path: str) -> Source:
    return Source("0", path, [], "still", 1, 1, 1, 1, 1, 1, 1, None, None, None, None)


@given(st.lists(st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=4), min_size=1, max_size=5))
def test_short_names_are_the_ends_of_paths_and_as_different(parts: list[list[str]]) -> None:
    paths = ["/" + "/".join(names) for names in parts]
    short = short_names([a_source(path) for path in paths])
    assert all(path.endswith(name) and name for path, name in zip(paths, short, strict=True))
    assert len(set(short)) == len(set(paths))
    folders = {os.path.dirname(path) for path in paths}  # noqa: PTH120
    assert len(folders) > 1 or all("/" not in name for name in short)


def test_nothing_in_the_data_can_end_its_script() -> None:
    told = {"name": "</script><script>alert(1)</script>&\u2028"}
    text = script_json(told)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == told
