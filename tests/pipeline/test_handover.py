"""Where files of a format lie, what of a folder still holds, and what a dataset card says. Tables made by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bank import PATCHES_SCHEMA, SOURCES_SCHEMA
from pipeline.camera import Photograph
from pipeline.errors import OutputError, UsageError
from pipeline.handover import (
    FORMATS,
    CardSettings,
    Folder,
    Holdings,
    Rendered,
    StoredFile,
    StoredFiles,
    card_text,
    doubtful_files,
    make_card,
    make_plan,
    wanted_rows,
    without_content,
)
from pipeline.handover.manifest import merge_rows
from pipeline.handover.pictures import write_exr
from pipeline.records import Recipe

NUMBERS = {
    **dict.fromkeys(("y", "x"), 0),
    **dict.fromkeys(("height", "width", "patch_size"), 64),
    **dict.fromkeys(("clip_fraction", "exposure", "noise_sigma", "hue_shift", "saturation_shift"), 0.5),
    "curve_n": 0.9,
    "curve_sigma": 0.6,
    "jpeg_quality": 80,
    "seed": 7,
    "flip": False,
    "saturated_fraction": 0.1,
    "score_saturated": 1.5,
    "score_patch": 0.1,
    "score": 1.5,
    "verdict": "kept",
}
SPLITS = ("train", "validation", "test")


def sources(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist([{"status": "ok", "path": "/secret/place.exr", **row} for row in rows], SOURCES_SCHEMA)


def patches(count: int, split: bool = False, source: str = "a") -> pa.Table:
    """Patches 0 .. count - 1 of one source, on the sides of the split by turns."""
    rows = [{"patch_id": k, "source_id": source, "frame": 0, "k": k, **NUMBERS} for k in range(count)]
    table = pa.Table.from_pylist(rows, PATCHES_SCHEMA)
    if split:
        sides = pa.array([SPLITS[k % 3] for k in range(count)], pa.string())
        index = table.schema.get_field_index("split")
        table = table.append_column("split", sides) if index < 0 else table.set_column(index, "split", sides)
    return table


def wanted(form: str, count: int = 6, split: bool = False, shard: int = 2) -> pa.Table:
    return wanted_rows(patches(count, split), sources({"source_id": "a"}), FORMATS[form], shard)


def written(rows: pa.Table, form: str) -> tuple[pa.Table, pa.Table]:
    """Return the manifest and the listing that a finished export of these rows leaves."""
    for name in (*FORMATS[form].members,):
        for fact, values in (
            ("bytes", pa.array([10] * len(rows), pa.int64())),
            ("sha256", pa.array(["00"] * len(rows))),
        ):
            rows = rows.set_column(rows.schema.get_field_index(f"{name}_{fact}"), f"{name}_{fact}", values)
    paths = sorted({path for name in FORMATS[form].members for path in rows[f"{name}_path"].to_pylist()})
    columns = {"path": paths, "bytes": [10] * len(paths), "touched": [False] * len(paths)}
    return rows, pa.table(columns)


# Where files lie


@pytest.mark.parametrize(
    ("form", "name", "split", "paths"),
    [
        ("files", "hdr", False, ["0.exr", "1.exr", "2.exr", "3.exr"]),
        ("files", "ldr", True, ["train/0.png", "validation/1.png", "test/2.png", "train/3.png"]),
        ("hdrcnn", "hdr", False, ["bin/0.bin", "bin/1.bin", "bin/2.bin", "bin/3.bin"]),
        ("hdrcnn", "ldr", True, ["jpg/0.jpg", "validation/jpg/1.jpg", "test/jpg/2.jpg", "jpg/3.jpg"]),
        ("webdataset", "shard", False, [f"patches-00000{n}.tar" for n in (0, 0, 1, 1)]),
        ("webdataset", "shard", True, [f"{side}/patches-000000.tar" for side in (*SPLITS, "train")]),
    ],
)
def test_where_files_lie(form: str, name: str, split: bool, paths: list[str]) -> None:
    assert wanted(form, 4, split)[f"{name}_path"].to_pylist() == paths


@pytest.mark.parametrize("form", list(FORMATS))
@given(count=st.integers(0, 40), shard=st.integers(1, 7), split=st.booleans())
def test_no_two_patches_share_a_file_and_a_shard_is_of_one_side(form: str, count: int, shard: int, split: bool) -> None:
    rows = wanted(form, count, split, shard)
    for name in FORMATS[form].members:
        by_path: dict[str, list[int]] = {}
        for path, patch in zip(rows[f"{name}_path"].to_pylist(), rows["patch_id"].to_pylist(), strict=True):
            by_path.setdefault(path, []).append(patch)
        assert all(len(held) <= (shard if FORMATS[form].sharded else 1) for held in by_path.values())
        if split:
            assert all(len({patch % 3 for patch in held}) == 1 for held in by_path.values())
        if FORMATS[form].sharded:  # all but the last of a side are full
            assert sum(len(held) < shard for held in by_path.values()) <= (3 if split else 1)


# What still holds


@pytest.mark.parametrize("form", list(FORMATS))
def test_nothing_is_to_do_where_all_is_there(form: str) -> None:
    rows = wanted(form, split=True)
    manifest, files = written(rows, form)
    plan = make_plan(rows, manifest, files, FORMATS[form])
    assert plan.missing.num_rows == 0
    assert plan.stale == []
    assert plan.done.equals(manifest)


@pytest.mark.parametrize("form", list(FORMATS))
def test_all_is_to_do_where_nothing_is_known(form: str) -> None:
    rows = wanted(form)
    manifest, files = written(rows, form)
    for known, lying in ((None, files), (manifest, files.slice(0, 0)), (manifest.select(["patch_id"]), files)):
        plan = make_plan(rows, known, lying, FORMATS[form])
        assert plan.missing.equals(rows)
        assert plan.done.num_rows == 0


@pytest.mark.parametrize(("form", "missing"), [("files", [2]), ("hdrcnn", [2]), ("webdataset", [2, 3])])
def test_what_was_cut_off_is_to_do_with_its_whole_shard(form: str, missing: list[int]) -> None:
    rows = wanted(form)
    manifest, files = written(rows, form)
    for name in FORMATS[form].members:
        path = rows[f"{name}_path"][2].as_py()
        sizes = pc.if_else(pc.equal(files["path"], path), 9, files["bytes"])
        plan = make_plan(rows, manifest, files.set_column(1, "bytes", sizes), FORMATS[form])
        assert plan.missing["patch_id"].to_pylist() == missing
        assert plan.stale == []
        assert make_plan(rows, manifest, without_content(files, [path]), FORMATS[form]).missing.equals(plan.missing)


@pytest.mark.parametrize("column", ["exposure", "seed", "x", "flip", "score"])
@pytest.mark.parametrize("form", list(FORMATS))
def test_a_patch_of_other_numbers_is_to_do(form: str, column: str) -> None:
    rows = wanted(form)
    manifest, files = written(rows, form)
    values = rows[column].to_pylist()
    values[4] = not values[4] if column == "flip" else values[4] + 1
    changed = rows.set_column(
        rows.schema.get_field_index(column), rows.schema.field(column), pa.array(values, rows.schema.field(column).type)
    )
    missing = make_plan(changed, manifest, files, FORMATS[form]).missing["patch_id"].to_pylist()
    if form == "webdataset":
        assert missing == [4, 5]
    else:  # the score is in no file, and the table has it anew
        assert missing == ([] if column == "score" else [4])
        assert make_plan(changed, manifest, files, FORMATS[form]).done[column].to_pylist()[-1] == values[-1]


@pytest.mark.parametrize(("form", "stale"), [("files", 4), ("hdrcnn", 4), ("webdataset", 1)])
def test_files_of_patches_that_are_no_longer_wanted_go(form: str, stale: int) -> None:
    rows = wanted(form)
    manifest, files = written(rows, form)
    plan = make_plan(wanted(form, 4), manifest, files, FORMATS[form])
    assert plan.missing.num_rows == 0
    assert len(plan.stale) == stale
    assert set(plan.stale) <= set(files["path"].to_pylist())


def test_a_shard_that_holds_one_patch_too_many_is_to_do() -> None:
    manifest, files = written(wanted("webdataset", 6), "webdataset")
    plan = make_plan(wanted("webdataset", 5), manifest, files, FORMATS["webdataset"])
    assert plan.missing["patch_id"].to_pylist() == [4]
    assert plan.stale == []


def test_only_files_that_were_touched_are_doubtful() -> None:
    manifest, files = written(wanted("webdataset", 6), "webdataset")
    assert doubtful_files(files, manifest, FORMATS["webdataset"]).num_rows == 0
    touched = files.set_column(2, "touched", pa.array([False, True, False]))
    assert doubtful_files(touched, manifest, FORMATS["webdataset"]).to_pylist() == [
        {"path": "patches-000001.tar", "sha256": "00"}
    ]
    assert doubtful_files(touched, None, FORMATS["webdataset"]).num_rows == 0


def test_commits_replace_rows_and_may_come_twice() -> None:
    rows, _ = written(wanted("files", 4), "files")
    merged = merge_rows(rows.slice(0, 3), [rows.slice(2, 2), rows.slice(2, 2)])
    assert merged is not None
    assert sorted(merged["patch_id"].to_pylist()) == [0, 1, 2, 3]
    assert merge_rows(None, []) is None


# The folder


def test_a_folder_knows_its_own_files(tmp_path: Path) -> None:
    for name in ("1.exr", "1.png", "train/2.exr", "note.png", "3.jpg", "other/4.exr", ".5.exr.x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    files = Folder(tmp_path).files(FORMATS["files"])
    assert sorted(files["path"].to_pylist()) == ["1.exr", "1.png", "train/2.exr"]
    assert files["bytes"].to_pylist() == [len(path) for path in files["path"].to_pylist()]
    Folder(tmp_path).remove(["1.exr", "train/2.exr"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [".5.exr.x", "1.png", "3.jpg", "note.png", "other"]


def test_a_file_that_was_written_after_the_table_is_told(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.prepare()
    (tmp_path / "1.exr").write_text("before")
    folder.write_table(wanted("files"))
    table = (tmp_path / "patches.parquet").stat().st_mtime_ns
    os.utime(tmp_path / "1.exr", ns=(table - 1, table - 1))
    assert folder.files(FORMATS["files"])["touched"].to_pylist() == [False]
    os.utime(tmp_path / "1.exr", ns=(table + 1, table + 1))
    assert folder.files(FORMATS["files"])["touched"].to_pylist() == [True]


def test_a_killed_owner_does_not_block_and_a_living_one_does(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from pipeline.handover import FORMATS, Folder\n"
        "with Folder(Path(sys.argv[1])).owned(FORMATS['files']):\n    print('mine', flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "out")], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"mine\n"
    with pytest.raises(OutputError, match="another process"), Folder(tmp_path / "out").owned(FORMATS["files"]):
        pass
    owner.kill()
    owner.communicate()
    with Folder(tmp_path / "out").owned(FORMATS["files"]):
        pass
    with pytest.raises(UsageError, match="format files"), Folder(tmp_path / "out").owned(FORMATS["hdrcnn"]):
        pass


@pytest.mark.parametrize("mark", ["", "[]", "{}", '{"hdrprep": {"export": "files", "version": 99}}'])
def test_a_mark_that_says_something_else_is_refused(mark: str, tmp_path: Path) -> None:
    (tmp_path / "hdrprep.json").write_text(mark)
    with pytest.raises(UsageError, match="name another --out"), Folder(tmp_path).owned(FORMATS["files"]):
        pass


def test_a_folder_whose_making_was_killed_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".hdrprep.json.abc").write_text("{")
    with Folder(tmp_path).owned(FORMATS["files"]):
        assert json.loads((tmp_path / "hdrprep.json").read_text())["hdrprep"]["export"] == "files"


def test_an_exr_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    patch = Rendered({}, np.ones((8, 8, 3), np.float32), Photograph(np.zeros((8, 8, 3), np.uint8), None))
    with pytest.raises(OSError, match="none"):
        write_exr(tmp_path / "none" / "x.exr", patch)


def test_a_rendered_patch_is_clipped_where_it_is_stored_as_half() -> None:
    frame = np.full((64, 64, 3), 1e4, np.float32)
    row = patches(1).to_pylist()[0] | {"exposure": 10.0, "noise_sigma": 0.0, "saturation_shift": 0.0}
    patch = Rendered.of(frame, row)
    assert Recipe.from_row(row).camera.exposure == 10.0
    assert patch.clipped_values == 64 * 64 * 3
    assert float(patch.hdr.min()) == pytest.approx(1e5, rel=1e-3)
    assert float(patch.half.max()) == 65504


# The card

LICENSED = (
    {"source_id": "a", "licence": "CC0-1.0", "attribution": "Ada"},
    {"source_id": "b", "licence": "CC-BY-4.0", "attribution": "Ben"},
    {"source_id": "c"},
)


def card(split: bool = False, rows: int = 5, **settings: Any) -> dict[str, Any]:
    table = pa.concat_tables([patches(rows, split, source) for source in ("a", "b", "c")])
    stored = StoredFile("patches.parquet", "application/x-parquet", 5, "ab" * 32)
    holdings = Holdings(table, sources(*LICENSED), stored, [StoredFiles("hdr", "image/x-exr", ["*.exr"])], "As EXR.")
    return make_card(CardSettings(**settings), holdings)


def nodes(value: Any) -> list[dict[str, Any]]:
    """Return all objects of a card, the inline data apart."""
    if isinstance(value, list):
        return [node for entry in value for node in nodes(entry)]
    if not isinstance(value, dict):
        return []
    return [value, *(node for key, entry in value.items() if key not in {"data", "@context"} for node in nodes(entry))]


@pytest.mark.parametrize("split", [False, True])
def test_a_card_is_croissant(split: bool) -> None:
    made = card(split)
    assert json.loads(card_text(made)) == made
    assert made["@type"] == "sc:Dataset"
    assert made["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    context = made["@context"]
    assert context["@vocab"] == "https://schema.org/"
    assert context["cr"] == "http://mlcommons.org/croissant/"
    assert all(context[term] == f"cr:{term}" for term in ("recordSet", "field", "source", "extract", "includes", "key"))
    every = nodes(made)
    defined = [node["@id"] for node in every if "@type" in node and "@id" in node]
    assert len(defined) == len(set(defined))
    referred = [node["@id"] for node in every if set(node) == {"@id"}]
    assert set(referred) <= set(defined)
    for node in every:
        if node.get("@type") == "cr:FileObject":
            assert {"contentUrl", "encodingFormat", "sha256", "name"} <= set(node)
        if node.get("@type") == "cr:FileSet":
            assert {"includes", "encodingFormat", "name"} <= set(node)
        if node.get("@type") == "cr:RecordSet":
            fields = {field["@id"] for field in node["field"]}
            assert all(field.startswith(f"{node['@id']}/") for field in fields)
            assert all(set(record) == fields for record in node.get("data", []))
        if node.get("@type") == "cr:Field":
            assert node["dataType"] in {"sc:Text", "sc:Integer", "sc:Float", "sc:Boolean", "sc:URL"}


def test_a_card_names_licences_and_what_is_unknown() -> None:
    made = card()
    assert made["license"] == ["CC-BY-4.0", "CC0-1.0"]
    assert made["creditText"] == "Ada; Ben"
    assert "CC-BY-4.0 5 patches, CC0-1.0 5 patches, unknown 5 patches" in made["description"]
    (licences,) = [one for one in made["recordSet"] if one["@id"] == "licences"]
    assert licences["data"] == [
        {"licences/licence": name, "licences/attribution": who, "licences/sources": 1, "licences/patches": 5}
        for name, who in (("CC-BY-4.0", "Ben"), ("CC0-1.0", "Ada"), ("unknown", "unknown"))
    ]
    assert "/secret/place.exr" not in card_text(made)


def test_a_card_counts_the_sides_of_the_split() -> None:
    made = card(split=True)
    (splits,) = [one for one in made["recordSet"] if one["@id"] == "splits"]
    assert {record["splits/name"]: record["splits/patches"] for record in splits["data"]} == {
        "train": 6,
        "validation": 6,
        "test": 3,
    }
    assert "train 6 patches, validation 6 patches, test 3 patches" in made["description"]
    assert "splits" not in {one["@id"] for one in card()["recordSet"]}


def test_a_card_says_what_the_user_says_and_makes_nothing_up() -> None:
    assert {"url", "version", "creator", "publisher", "datePublished", "citeAs"}.isdisjoint(card())
    made = card(url="https://example.org/x", creators=["A", "B"], publisher="O", date_published="2025-01-31", name="N")
    assert made["name"] == "N"
    assert made["creator"] == [{"@type": "sc:Person", "name": "A"}, {"@type": "sc:Person", "name": "B"}]
    assert made["publisher"] == {"@type": "sc:Organization", "name": "O"}
    assert (made["url"], made["datePublished"]) == ("https://example.org/x", "2025-01-31")


def test_a_card_of_nothing() -> None:
    made = card(rows=0)
    assert made["description"].startswith("0 pairs of no pixels")
    assert "license" not in made
