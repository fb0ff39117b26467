"""The data split: by content or by group, the same whatever else is in the bank, and in both tables."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bank import PATCHES_SCHEMA, SOURCES_SCHEMA, BankWriter
from pipeline.config import resolve
from pipeline.errors import ConfigError
from pipeline.records import split_of
from pipeline.split import SplitSettings, count_moved, group_of, side_of, split_patches, split_sources
from tests.pipeline.banks import array_files, assert_same_bank, table
from tests.pipeline.conftest import SMALL, Result

Command = Callable[..., Result]

identities = st.binary(min_size=1, max_size=4).map(lambda content: hashlib.sha256(content).hexdigest())
shares = st.tuples(st.floats(0, 0.49), st.floats(0, 0.49))


@pytest.mark.parametrize(
    ("path", "group_by", "group"),
    [
        ("/data/lake/a.exr", None, None),
        ("/data/lake/a.exr", "folder", "lake"),
        ("/elsewhere/lake/a.exr", "folder", "lake"),
        ("/data/lake/shot.1001-1012.exr", "folder", "lake"),
        ("s3://bucket/lake/a.exr", "folder", "lake"),
        ("/a.exr", "folder", None),
        ("/data/lake_03/a_1.exr", r"(\w+)_\d+/", "lake"),
        ("/data/lake_03/a_1.exr", r"lake_\d+", "lake_03"),
        ("/data/lake_03/a_1.exr", r"(?:lake|sea)_(\d+)/(\w)", "03"),
        ("/data/lake_03/a_1.exr", r"forest", None),
        ("/data/lake_03/a_1.exr", r"lake(x)?", None),  # the group takes no part in the match
        ("/data/lake_03/a_1.exr", r"x*", None),  # nothing was found
    ],
)
def test_groups(path: str, group_by: str | None, group: str | None) -> None:
    assert group_of(path, SplitSettings(group_by=group_by).group_by) == group


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"group_by": "("}, "split.group_by: write folder or a valid regular expression (missing ), unterminated"),
        ({"validation": 0.6, "test": 0.4}, "split: validation and test must sum to less than 1"),
        ({"validation": 1}, "split.validation: input should be less than 1"),
        ({"test": -0.1}, "split.test: input should be greater than or equal to 0"),
        ({"validation": float("nan")}, "split.validation: input should be a finite number"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(section: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        resolve([{"split": section}])
    assert str(refusal.value).startswith(sentence)
    assert "\n" not in str(refusal.value)


@given(identities, shares)
def test_a_source_that_stands_for_itself_lies_where_its_content_says(source_id: str, some: tuple[float, float]) -> None:
    validation, test = some
    settings = SplitSettings(validation=validation, test=test)
    assert side_of(source_id, None, settings) == split_of(source_id, validation, test)


@given(st.lists(identities, min_size=2, max_size=5), st.text(min_size=1, max_size=5), shares)
def test_no_group_is_on_two_sides(sources: list[str], group: str, some: tuple[float, float]) -> None:
    settings = SplitSettings(validation=some[0], test=some[1])
    assert len({side_of(source_id, group, settings) for source_id in sources}) == 1


def sources_table(*rows: tuple[str | None, str, str]) -> pa.Table:
    names = ("source_id", "path", "status")
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], SOURCES_SCHEMA)


@given(st.lists(identities, unique=True, min_size=1, max_size=20))
def test_the_tables_agree_with_each_source_by_itself(of_patches: list[str]) -> None:
    settings = SplitSettings(validation=0.3, test=0.2, group_by=r"/(\d)")
    rows = [(source_id, f"/{n}/a.exr" if n % 2 else "/b.exr", "ok") for n, source_id in enumerate(sorted(of_patches))]
    sources = split_sources(sources_table(*rows, (None, "/gone.exr", "rejected")), settings)
    expected: dict[str | None, str | None] = {None: None}
    for n, (source_id, _, _) in enumerate(rows):
        expected[source_id] = side_of(source_id, str(n)[0] if n % 2 else None, settings)
    assert dict(zip(sources["source_id"].to_pylist(), sources["split"].to_pylist(), strict=True)) == expected
    some = [{"source_id": source_id, "frame": 0, "k": k} for source_id in of_patches for k in range(2)]
    patches = pa.Table.from_pylist(some, PATCHES_SCHEMA)
    halves = pa.concat_tables([patches.slice(0, 1), patches.slice(1)])
    assert split_patches(halves, sources)["split"].to_pylist() == [expected[s] for s in of_patches for _ in range(2)]


def test_those_that_had_no_side_before_did_not_move() -> None:
    sources = sources_table(("0" * 64, "/a", "ok"), ("f" * 64, "/b", "ok"), ("1" * 64, "/c", "rejected"))
    first = split_sources(sources, SplitSettings())
    assert first["split"].to_pylist() == ["validation", "train", None]
    assert count_moved(sources, first) == 0
    assert count_moved(first, first) == 0
    assert count_moved(first, split_sources(first, SplitSettings(validation=0))) == 1


# In a bank


@pytest.fixture
def folders(hdr_folder: Path, tmp_path: Path) -> Path:
    """Two folders of two sources each, and one that cannot be read."""
    for number, file in enumerate(sorted(hdr_folder.iterdir())):
        target = tmp_path / "in" / ("lake", "sea")[number % 2] / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    (tmp_path / "in" / "sea" / "broken.exr").write_bytes(b"no picture")
    return tmp_path / "in"


def sides(bank: Path) -> dict[str, str]:
    return {row["path"]: row["split"] for row in table(bank, "sources").to_pylist() if row["status"] == "ok"}


def assert_consistent(bank: Path, validation: float, test: float) -> None:
    """Each source is where its content says, or its group; each patch where its source is."""
    rows = table(bank, "sources").to_pylist()
    for row in rows:
        group = row["group"]
        identity = row["source_id"] if group is None else hashlib.sha256(group.encode()).hexdigest()
        assert row["split"] == (split_of(identity, validation, test) if row["status"] == "ok" else None)
    of_source = {row["source_id"]: row["split"] for row in rows}
    patches = table(bank, "patches").to_pylist()
    assert patches
    assert all(patch["split"] == of_source[patch["source_id"]] for patch in patches)


def test_every_source_and_patch_gets_its_side_and_keeps_it(folders: Path, hdrprep: Command, tmp_path: Path) -> None:
    bank, settings = tmp_path / "bank.zarr", ("--set", "split.validation=0.5", *SMALL)
    assert hdrprep("ingest", folders / "lake", "--bank", bank, *settings).status == 0
    assert_consistent(bank, 0.5, 0.0)
    first = sides(bank)
    assert hdrprep("run", folders, "--bank", bank, "--max-failures", "1").status == 0
    assert_consistent(bank, 0.5, 0.0)
    assert first.items() < sides(bank).items()
    whole = tmp_path / "whole.zarr"
    assert hdrprep("run", folders, "--bank", whole, "--max-failures", "1", *settings).status == 0
    assert table(whole, "patches").drop_columns(["row"]).equals(table(bank, "patches").drop_columns(["row"]))
    assert table(whole, "sources")["split"].equals(table(bank, "sources")["split"])


def test_groups_stay_together_and_may_be_taken_back(folders: Path, hdrprep: Command, tmp_path: Path) -> None:
    bank = tmp_path / "bank.zarr"
    result = hdrprep("run", folders, "--bank", bank, "--max-failures", "1", "--group-by", "folder", *SMALL)
    assert result.status == 0
    assert "split" not in result.err
    assert {Path(r["path"]).parent.name: r["group"] for r in table(bank, "sources").to_pylist()} == {
        "lake": "lake",
        "sea": "sea",
    }
    assert_consistent(bank, 0.1, 0.0)
    pixels, before = array_files(bank), table(bank, "patches")
    # The share at which the two part: the side of the one that lies further on is the first to change.
    places = sorted(int(hashlib.sha256(name).hexdigest()[:16], 16) / 2**64 for name in (b"lake", b"sea"))
    share = sum(places) / 2
    result = hdrprep("score", "--bank", bank, "--set", f"split.validation={share}")
    assert result.status == 0
    assert "the split has changed: 2 of 5 sources are on another side now" in result.err
    assert len(set(sides(bank).values())) == 2
    assert_consistent(bank, share, 0.0)
    # The next command keeps it, another goes back.
    assert "split" not in hdrprep("export", "--bank", bank).err
    assert_consistent(bank, share, 0.0)
    assert hdrprep("score", "--bank", bank, "--set", "split.group_by=null", "--set", "split.test=0.05").status == 0
    assert table(bank, "sources")["group"].null_count == 5
    assert_consistent(bank, share, 0.05)
    assert array_files(bank) == pixels
    assert table(bank, "patches").drop_columns(["split"]).equals(before.drop_columns(["split"]))


def test_the_environment_may_name_the_groups(
    folders: Path, hdrprep: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = tmp_path / "bank.zarr"
    monkeypatch.setenv("HDRPREP_GROUP_BY", r"in/(\w)")
    assert hdrprep("ingest", folders / "lake", folders / "sea", "--bank", bank, *SMALL).status == 3
    assert sorted(set(table(bank, "sources")["group"].to_pylist())) == ["l", "s"]
    monkeypatch.setenv("HDRPREP_GROUP_BY", "[")
    result = hdrprep("ingest", folders, "--bank", bank)
    assert result.status == 2
    assert result.err.strip().splitlines()[-1].startswith("hdrprep: error: split.group_by: write folder or a valid")


@pytest.mark.parametrize("command", ["run", "ingest", "simulate-ldr", "score", "export"])
def test_an_interrupted_command_is_made_up_for_by_the_next(
    command: str, folders: Path, hdrprep: Command, tmp_path: Path
) -> None:
    whole, bank = tmp_path / "whole.zarr", tmp_path / "bank.zarr"
    assert hdrprep("run", folders / "lake", "--bank", whole, *SMALL).status == 0
    shutil.copytree(whole, bank)
    with BankWriter.open(bank) as writer:
        tables = [writer.sources, writer.patches]
        for index, some in enumerate(tables):
            place = some.schema.get_field_index("split")
            tables[index] = some.set_column(place, some.schema.field(place), pa.nulls(some.num_rows, pa.string()))
        writer.replace(*tables)
    named = [folders / "lake"] if command in {"run", "ingest"} else []
    assert hdrprep(command, *named, "--bank", bank).status == 0
    assert_same_bank(bank, whole)


def test_equal_content_is_grouped_by_the_path_that_was_found_first(
    folders: Path, hdrprep: Command, tmp_path: Path
) -> None:
    bank = tmp_path / "bank.zarr"
    for file in (folders / "lake").iterdir():
        shutil.copy(file, folders / "sea")
    assert hdrprep("ingest", folders / "lake", "--bank", bank, "--group-by", "folder", *SMALL).status == 0
    before = table(bank, "sources").select(["source_id", "group", "split"])
    assert hdrprep("ingest", folders / "sea", "--bank", bank, "--max-failures", "1").status == 0
    sources = table(bank, "sources")
    after = sources.filter(pc.is_in(sources["source_id"], before["source_id"].combine_chunks()))
    assert after.select(["source_id", "group", "split"]).equals(before)
    assert set(after["group"].to_pylist()) == {"lake"}
