"""The command line: precedence, exit statuses, one sentence a mistake, results on stdout and the rest on stderr."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest

from pipeline.cli import commands
from pipeline.scenes import write_exr, write_hdr
from tests.pipeline.banks import table
from tests.pipeline.conftest import SMALL, Result
from tests.pipeline.still_files import write_png, write_tiff

Command = Callable[..., Result]


def assert_one_sentence(result: Result, *words: str) -> None:
    """Assert that stderr is one line, the error, and names these words."""
    lines = result.err.strip().splitlines()
    assert len(lines) == 1, result.err
    assert lines[0].startswith("hdrprep: error: ")
    for word in words:
        assert word in lines[0]
    assert result.out == ""


@pytest.fixture
def bank(hdr_folder: Path, hdrprep: Command, tmp_path: Path) -> Path:
    """A bank after ingest."""
    place = tmp_path / "bank.zarr"
    assert hdrprep("ingest", hdr_folder, "--bank", place, *SMALL).status == 0
    return place


def test_a_missing_path_is_a_usage_error_and_makes_no_bank(hdrprep: Command, tmp_path: Path) -> None:
    for command in ("ingest", "run"):
        result = hdrprep(command, tmp_path / "nowhere", "--bank", tmp_path / "bank.zarr")
        assert result.status == 2
        assert_one_sentence(result, "nowhere", "does not exist")
    assert not (tmp_path / "bank.zarr").exists()


def test_an_empty_folder_is_a_usage_error_and_makes_no_bank(hdrprep: Command, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    result = hdrprep("run", tmp_path / "in", "--bank", tmp_path / "bank.zarr")
    assert result.status == 2
    assert_one_sentence(result, "no HDR source found", ".exr")
    assert not (tmp_path / "bank.zarr").exists()


def test_a_file_of_unknown_type_is_refused_when_named_and_counted_below_a_folder(
    hdr_folder: Path, hdrprep: Command, tmp_path: Path
) -> None:
    folder = shutil.copytree(hdr_folder, tmp_path / "in")
    (folder / "notes.txt").write_text("lens cap on")
    result = hdrprep("ingest", folder / "notes.txt", "--bank", tmp_path / "bank.zarr")
    assert result.status == 2
    assert_one_sentence(result, "notes.txt", ".txt")
    result = hdrprep("ingest", folder, "--bank", tmp_path / "bank.zarr", *SMALL)
    assert result.status == 0
    assert "ignored 1 file of unknown type (.txt: 1)" in result.err


def damaged_files(folder: Path) -> dict[str, str]:
    """Write one file of each kind that cannot be used; return a word of the reason by name."""
    rng = np.random.default_rng(1)
    pixels = rng.random((160, 200, 3)).astype(np.float32)
    (folder / "text.exr").write_text("this is no picture")
    (folder / "empty.hdr").write_bytes(b"")
    write_exr(folder / "whole.exr", pixels)
    (folder / "short.exr").write_bytes((folder / "whole.exr").read_bytes()[:-5000])
    write_hdr(folder / "whole.hdr", pixels)
    (folder / "short.hdr").write_bytes((folder / "whole.hdr").read_bytes()[:-5000])
    write_exr(folder / "tiny.exr", pixels[:40, :50])
    (folder / "short.tif").write_bytes(b"II*\0")
    return {
        "text.exr": "not an OpenEXR file",
        "empty.hdr": "",
        "short.exr": "truncated or damaged",
        "short.hdr": "truncated",
        "tiny.exr": "50x40 pixels are smaller than a patch of 64x64",
        "short.tif": "the file is damaged",
    }


def test_bad_sources_stop_nothing_and_are_listed_with_their_reasons(hdrprep: Command, tmp_path: Path) -> None:
    folder, bank = tmp_path / "in", tmp_path / "bank.zarr"
    folder.mkdir()
    reasons = damaged_files(folder)
    result = hdrprep("run", folder, "--bank", bank, *SMALL)
    assert result.status == 3
    assert "6 sources rejected" in result.err
    assert "Traceback" not in result.err
    rows = {Path(row["path"]).name: row for row in table(bank, "sources").to_pylist()}
    for name, word in reasons.items():
        assert rows[name]["status"] == "rejected"
        assert rows[name]["reason"]
        assert word in rows[name]["reason"]
    assert rows["whole.exr"]["status"] == rows["whole.hdr"]["status"] == "ok"
    assert table(bank, "patches").num_rows == 12
    listed = hdrprep("failures", "--bank", bank)
    assert listed.status == 0
    assert len(listed.out.splitlines()) == 6
    # On a repeated run as well, unless so many are allowed.
    assert hdrprep("run", folder, "--bank", bank).status == 3
    assert hdrprep("run", folder, "--bank", bank, "--max-failures", "6").status == 0
    assert hdrprep("run", folder / "whole.exr", "--bank", bank).status == 0
    assert hdrprep("score", "--bank", bank).status == 0


def test_a_bank_that_is_not_there_is_a_usage_error(hdrprep: Command, tmp_path: Path) -> None:
    for command in ("simulate-ldr", "score", "export", "status", "failures"):
        result = hdrprep(command, "--bank", tmp_path / "bank.zarr")
        assert result.status == 2
        assert_one_sentence(result, "there is no bank at", "hdrprep ingest")
    assert not (tmp_path / "bank.zarr").exists()


def test_a_bank_of_another_format_version_is_refused(bank: Path, hdr_folder: Path, hdrprep: Command) -> None:
    metadata = json.loads((bank / "zarr.json").read_text())
    metadata["attributes"]["hdrprep"]["format_version"] = 2
    (bank / "zarr.json").write_text(json.dumps(metadata))
    for command in (["score"], ["status"], ["run", hdr_folder]):
        result = hdrprep(*command, "--bank", bank)
        assert result.status == 1
        assert_one_sentence(result, "format version 2", "reads 1")


def test_a_target_that_cannot_be_written_is_one_sentence(hdr_folder: Path, hdrprep: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = hdrprep("run", hdr_folder, "--bank", tmp_path / "file" / "bank.zarr")
    assert result.status == 1
    assert_one_sentence(result, "cannot be written")
    result = hdrprep("run", hdr_folder, "--bank", tmp_path / "file")
    assert result.status == 1
    assert_one_sentence(result, "is no bank")


@pytest.mark.parametrize(
    ("setting", "value"),
    [("--seed", "9"), ("--patch-size", "128"), ("--set", "camera.noise_sigma=0"), ("--set", "score.sigma_space=5")],
)
def test_a_setting_that_patches_depend_on_cannot_change(
    bank: Path, hdr_folder: Path, hdrprep: Command, setting: str, value: str
) -> None:
    before = {path: path.read_bytes() for path in bank.rglob("*") if path.is_file()}
    result = hdrprep("ingest", hdr_folder, "--bank", bank, setting, value)
    assert result.status == 2
    assert_one_sentence(result, "the bank was made with")
    assert {path: path.read_bytes() for path in bank.rglob("*") if path.is_file()} == before


def test_stages_out_of_order_say_what_to_run_first(bank: Path, hdrprep: Command) -> None:
    result = hdrprep("score", "--bank", bank)
    assert result.status == 2
    assert_one_sentence(result, "simulate-ldr first")
    result = hdrprep("export", "--bank", bank)
    assert result.status == 2
    assert_one_sentence(result, "score first")


def test_a_scheduler_that_does_not_answer_is_one_sentence(bank: Path, hdrprep: Command) -> None:
    result = hdrprep("simulate-ldr", "--bank", bank, "--scheduler", "tcp://127.0.0.1:9")
    assert result.status == 2
    assert_one_sentence(result, "tcp://127.0.0.1:9", "--scheduler")


def test_flag_beats_set_beats_environment_beats_file_beats_bank(
    hdr_folder: Path, hdrprep: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = min(hdr_folder.iterdir())
    config = tmp_path / "settings.yaml"
    config.write_text("crops: {patches: 2, patch_size: 64}\n")
    counter = iter(range(100))

    def patches_with(*flags: str) -> int:
        bank = tmp_path / f"bank{next(counter)}.zarr"
        assert hdrprep("ingest", first, "--bank", bank, "--config", config, *flags).status == 0
        return int(table(bank, "patches").num_rows)

    assert patches_with() == 2
    monkeypatch.setenv("HDRPREP_PATCHES", "3")
    assert patches_with() == 3
    assert patches_with("--set", "crops.patches=4") == 4
    assert patches_with("--set", "crops.patches=4", "--patches", "5") == 5
    monkeypatch.delenv("HDRPREP_PATCHES")
    # The bank keeps what it was made with: the threshold of an earlier score is the default of the next.
    bank = tmp_path / "bank0.zarr"
    assert hdrprep("simulate-ldr", "--bank", bank).status == 0
    assert hdrprep("score", "--bank", bank, "--threshold", "1000").status == 0
    assert hdrprep("score", "--bank", bank).status == 0
    assert set(table(bank, "patches")["verdict"].to_pylist()) == {"smooth"}


def test_the_bank_may_be_named_by_the_environment(
    bank: Path, hdrprep: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HDRPREP_BANK", str(bank))
    assert json.loads(hdrprep("status", "--json").out)["candidates"] == 24


def test_unknown_settings_are_refused(hdr_folder: Path, hdrprep: Command, tmp_path: Path) -> None:
    config = tmp_path / "settings.yaml"
    config.write_text("score: {treshold: 0.9}\n")
    for option in (("--config", config), ("--set", "score.treshold=0.9")):
        result = hdrprep("run", hdr_folder, "--bank", tmp_path / "bank.zarr", *option)
        assert result.status == 2
        assert_one_sentence(result, "score.treshold", "did you mean threshold?")
    assert not (tmp_path / "bank.zarr").exists()


def test_status_tells_how_far_a_bank_is(bank: Path, hdrprep: Command) -> None:
    text = hdrprep("status", "--bank", bank)
    assert text.status == 0
    assert "4 used, 0 rejected" in text.out
    assert "scored       0 of 24" in text.out
    assert text.err == ""
    for command in ("simulate-ldr", "score", "export"):
        assert hdrprep(command, "--bank", bank).status == 0
    counts = json.loads(hdrprep("status", "--bank", bank, "--json").out)
    assert counts["kept"] + counts["smooth"] + counts["unsaturated"] == counts["scored"] == 24
    assert counts["exported"] == counts["kept"]
    assert counts["bytes"] > counts["kept"] * 64 * 64 * 3 * 3


def test_the_summary_goes_to_stdout_and_the_log_to_stderr(hdr_folder: Path, hdrprep: Command, tmp_path: Path) -> None:
    result = hdrprep("run", hdr_folder, "--bank", tmp_path / "bank.zarr", "-v", "--log-json", *SMALL)
    assert [line.split()[0] for line in result.out.splitlines()][:3] == ["sources", "candidates", "kept"]
    assert "a second" in result.out
    log = [json.loads(line) for line in result.err.splitlines()]
    assert len(log) >= 4
    assert {entry["level"] for entry in log} == {"info"}


def test_versions_are_told(hdrprep: Command) -> None:
    lines = dict(line.split(" ", 1) for line in hdrprep("--version").out.splitlines())
    assert {"hdrprep", "python", "numpy", "zarr", "pyarrow", "dask"} <= set(lines)


def test_every_command_and_option_explains_itself(hdrprep: Command) -> None:
    for name, command in commands.commands.items():
        result = hdrprep(name, "--help")
        assert result.status == 0
        assert result.out.startswith(f"Usage: hdrprep {name}")
        assert command.help
        assert all(option.help for option in command.params if isinstance(option, click.Option))


def test_a_format_that_is_not_written_is_a_usage_error(bank: Path, hdrprep: Command) -> None:
    for command in ("simulate-ldr", "score"):
        assert hdrprep(command, "--bank", bank).status == 0
    assert hdrprep("export", "--bank", bank, "--format", "parchment").status == 2
    assert not (bank / "hdr").exists()
    assert hdrprep("export", "--bank", bank, "--format", "zarr").status == 0
    assert (bank / "hdr").exists()


def test_a_mistyped_option_is_a_usage_error(hdrprep: Command) -> None:
    assert hdrprep("score", "--treshold", "1").status == 2
    assert hdrprep("scoer").status == 2


def test_the_pipeline_needs_no_torch() -> None:
    program = "import sys; sys.modules['torch'] = None; import pipeline.cli; print('torch' in str(pipeline.cli))"
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_ordinary_pictures_are_read_only_where_they_are_named(hdrprep: Command, tmp_path: Path) -> None:
    folder, bank = tmp_path / "in", tmp_path / "bank.zarr"
    folder.mkdir()
    pixels = np.random.default_rng(5).integers(0, 65536, (160, 200, 3), dtype=np.uint16)
    write_png(folder / "pq.png", pixels, {b"cICP": bytes([9, 16, 0, 1])})
    write_tiff(folder / "linear.tif", pixels.astype(np.float32) / 1000)
    result = hdrprep("ingest", folder, "--bank", bank, *SMALL)
    assert result.status == 0
    assert "ignored 1 file of unknown type (.png: 1)" in result.err
    assert [row["path"] for row in table(bank, "sources").to_pylist()] == [str(folder / "linear.tif")]
    result = hdrprep("ingest", folder, folder / "pq.png", "--bank", bank, *SMALL)
    assert result.status == 0
    sources = {Path(row["path"]).name: row for row in table(bank, "sources").to_pylist()}
    assert sources["pq.png"]["transfer"] == "pq"
    assert sources["pq.png"]["primaries"] == "bt2020"
    assert sources["linear.tif"]["transfer"] == "linear"
