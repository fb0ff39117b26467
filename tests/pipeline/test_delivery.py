"""Exports into folders: read back by each consumer's rules, resumed, killed, damaged, of another threshold or limit."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import OpenImageIO as oiio
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline import cli, handover, packing
from pipeline.bank import BankWriter
from pipeline.bank.files import replace_file
from pipeline.camera import render
from pipeline.config import resolve
from pipeline.delivery import Delivery, Destination
from pipeline.driver import Driver
from pipeline.frames import read_frames
from pipeline.handover import Folder
from pipeline.handover import folder as folder_module
from pipeline.records import Recipe
from pipeline.workers import Task
from tests.pipeline.banks import array, table
from tests.pipeline.conftest import Result

ROOT = Path(__file__).parents[2]
Command = Callable[..., Result]
Rows = list[dict[str, Any]]
FORMATS = ("files", "hdrcnn", "webdataset")
SHARDED = ("--set", "export.tar_patches=4")  # so that there are several, and the last is not full


@pytest.fixture(scope="module")
def scored(hdr_folder: Path, scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of four stills, one of them with a licence, and a sequence of three frames; the better half is kept."""
    top = tmp_path_factory.mktemp("scored")
    shutil.copytree(hdr_folder, top / "hdr")
    first = min((top / "hdr").glob("*.exr"))
    first.with_name(f"{first.name}.licence").write_text("CC0-1.0\nA. Photographer\n")
    for number in (1001, 1002, 1003):
        shutil.copy(max(hdr_folder.glob("*.exr")), top / "hdr" / f"walk.{number}.exr")
    words = ["--bank", str(top / "bank.zarr"), "--scheduler", scheduler]
    sizes = ["--patch-size", "64", "--patches", "6", "--set", "export.shard_rows=4", "--every", "2"]
    cli.main(["ingest", str(top / "hdr"), *words, *sizes])
    cli.main(["simulate-ldr", *words])
    cli.main(["score", *words, "--threshold", "0"])
    scores = np.sort(table(top / "bank.zarr", "patches")["score"].to_numpy())
    cli.main(["score", *words, "--threshold", str(float(np.median(scores)))])
    assert {row["kind"]: row["frames_used"] for row in table(top / "bank.zarr", "sources").to_pylist()} == {
        "still": 1,
        "sequence": 2,
    }
    assert len(kept(top / "bank.zarr")) == 18
    return top / "bank.zarr"


@pytest.fixture
def bank(scored: Path, tmp_path: Path) -> Path:
    """A copy of the scored bank, to be changed."""
    return Path(shutil.copytree(scored, tmp_path / "patches.zarr"))


def export(hdrprep: Command, bank: Path, form: str, out: Path, *words: object) -> Result:
    result = hdrprep("export", "--bank", bank, "--format", form, "--out", out, *SHARDED, *words)
    assert result.status == 0, result.err
    return result


def tree(folder: Path) -> dict[str, bytes]:
    """Return everything in a folder, hidden things and folders included."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


def kept(bank: Path) -> Rows:
    return [row for row in table(bank, "patches").to_pylist() if row["verdict"] == "kept"]


def listed(out: Path) -> Rows:
    return list(pq.read_table(out / "patches.parquet").to_pylist())


def truth(bank: Path, row: dict[str, Any]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Render a patch from its recipe and its source."""
    (source,) = [one for one in table(bank, "sources").to_pylist() if one["source_id"] == row["source_id"]]
    ((_, frame),) = read_frames(Path(source["path"]), [row["frame"]], source["transfer"])
    return render(frame.pixels, Recipe.from_row(row))


def read_exr(path: Path) -> tuple[npt.NDArray[np.float16], oiio.ImageSpec]:
    """Read an EXR by a library other than the one that wrote it."""
    source = oiio.ImageInput.open(str(path))
    assert source is not None, oiio.geterror()
    pixels = np.asarray(source.read_image("half")).view(np.float16)
    spec = source.spec()
    source.close()
    return pixels, spec


def read_training_pair(folder: Path, name: str) -> tuple[list[float], npt.NDArray[Any], npt.NDArray[Any]]:
    """Read a pair by the rules of hdrcnn's training code: five floats, then the pixels; the JPEG of the same name."""
    content = (folder / "bin" / name).read_bytes()
    header = struct.unpack("<5f", content[:20])
    height, width, channels = (int(value) for value in header[:3])
    assert len(content) == 20 + 4 * height * width * channels
    pixels = np.array(struct.unpack(f"<{height * width * channels}f", content[20:]), np.float32)
    photograph = np.asarray(Image.open(folder / "jpg" / name.replace(".bin", ".jpg")).convert("RGB"))
    return list(header), pixels.reshape(height, width, channels), photograph


def samples(shard: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Read a shard by WebDataset's rules: members in a row with one name up to the first dot are one sample."""
    key, sample = "", dict[str, bytes]()
    with tarfile.open(shard) as tar:
        for member in tar:
            name, _, suffix = member.name.partition(".")
            if name != key and sample:
                yield key, sample
                sample = {}
            key = name
            stream = tar.extractfile(member)
            assert stream is not None
            assert suffix not in sample
            sample[suffix] = stream.read()
    yield key, sample


# Read back


def test_files_are_exr_and_png_pairs(hdrprep: Command, bank: Path, tmp_path: Path) -> None:
    export(hdrprep, bank, "files", tmp_path / "out")
    rows = listed(tmp_path / "out")
    assert [row["patch_id"] for row in rows] == [row["patch_id"] for row in kept(bank)]
    for row in rows:
        assert row["hdr_path"].endswith(f"{row['patch_id']}.exr")
        hdr, ldr = truth(bank, row)
        pixels, spec = read_exr(tmp_path / "out" / row["hdr_path"])
        np.testing.assert_array_equal(pixels, hdr.astype(np.float16))
        assert spec.channelnames == ("R", "G", "B")
        assert (str(spec.format), spec.getattribute("compression")) == ("half", "zip")
        np.testing.assert_allclose(
            spec.getattribute("chromaticities"), (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329), atol=1e-6
        )
        png = Image.open(tmp_path / "out" / row["ldr_path"])
        assert png.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(png), ldr)


def test_hdrcnn_is_what_its_training_code_reads(hdrprep: Command, bank: Path, tmp_path: Path) -> None:
    export(hdrprep, bank, "hdrcnn", tmp_path / "out")
    rows = {Path(row["hdr_path"]).name: row for row in listed(tmp_path / "out")}
    seen = 0
    for folder in {(tmp_path / "out" / row["hdr_path"]).parents[1] for row in rows.values()}:
        names, photographs = (sorted(path.name for path in (folder / kind).iterdir()) for kind in ("bin", "jpg"))
        assert names == [name.replace(".jpg", ".bin") for name in photographs]  # and nothing else in either
        for name in names:
            header, pixels, photograph = read_training_pair(folder, name)
            row = rows[name]
            hdr, ldr = truth(bank, row)
            curve = [np.float32(row["curve_n"]), np.float32(row["curve_sigma"])]
            assert header == [*hdr.shape, *curve]
            np.testing.assert_array_equal(pixels, hdr)
            np.testing.assert_array_equal(photograph, ldr)
            again = cv2.imread(str(folder / "jpg" / name.replace(".bin", ".jpg")))
            assert again is not None
            np.testing.assert_array_equal(again[..., ::-1], ldr)
            seen += 1
    assert seen == len(kept(bank)) > 0


def test_webdataset_is_shards_of_samples(hdrprep: Command, bank: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(hdrprep, bank, "webdataset", out)
    rows = listed(out)
    shards = sorted({row["shard_path"] for row in rows})
    assert len(shards) > 1
    for shard in shards:
        here = [row for row in rows if row["shard_path"] == shard]
        assert len(here) <= 4
        found = list(samples(out / shard))
        assert [key for key, _ in found] == [str(row["patch_id"]) for row in here]
        for (_, sample), row in zip(found, here, strict=True):
            assert list(sample) == ["hdr.exr", "json", "ldr.png"]
            hdr, ldr = truth(bank, row)
            (tmp_path / "one.exr").write_bytes(sample["hdr.exr"])
            np.testing.assert_array_equal(read_exr(tmp_path / "one.exr")[0], hdr.astype(np.float16))
            np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(sample["ldr.png"]))), ldr)
            told = json.loads(sample["json"])
            assert told == {name: row[name] for name in told}
            assert {"exposure", "jpeg_quality", "score", "source_id"} <= set(told)


def test_a_shard_tells_no_time_and_no_user(hdrprep: Command, bank: Path, tmp_path: Path) -> None:
    export(hdrprep, bank, "webdataset", tmp_path / "out")
    for shard in (tmp_path / "out").rglob("*.tar"):
        with tarfile.open(shard) as tar:
            assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in tar} == {(0, 0, 0, "", "", 0o644)}


@pytest.mark.parametrize("form", FORMATS)
def test_the_table_states_what_lies_there(form: str, hdrprep: Command, bank: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = export(hdrprep, bank, form, out)
    rows, ours = listed(out), {row["patch_id"]: row for row in table(bank, "patches").to_pylist()}
    names = [name.removesuffix("_path") for name in rows[0] if name.endswith("_path")]
    stated = {row[f"{name}_path"]: (row[f"{name}_bytes"], row[f"{name}_sha256"]) for row in rows for name in names}
    lying = {
        name: (len(content), hashlib.sha256(content).hexdigest())
        for name, content in tree(out).items()
        if (out / name).is_file() and name not in {"hdrprep.json", "patches.parquet", "croissant.json"}
    }
    assert stated == lying
    assert f"{len(rows)} patches in {len(lying)} files" in told.out
    for row in rows:
        assert all(
            row[name] == value for name, value in ours[row["patch_id"]].items() if name in row and value is not None
        )
    licences = {row["licence"] for row in rows}
    assert licences == {source["licence"] for source in table(bank, "sources").to_pylist()} == {None, "CC0-1.0"}
    assert "row" not in rows[0]


def test_what_a_camera_without_jpeg_takes_is_the_best_jpeg(hdrprep: Command, hdr_folder: Path, tmp_path: Path) -> None:
    words = ["--patch-size", "64", "--patches", "1", "--set", "camera.jpeg_quality=0", "--threshold", "0"]
    bank, out = tmp_path / "b.zarr", tmp_path / "out"
    result = hdrprep("run", hdr_folder, "--bank", bank, *words, "--format", "hdrcnn", "--out", out)
    assert result.status == 0, result.err
    assert len(listed(out)) == 4
    for row in listed(out):
        ldr = truth(bank, row)[1].astype(int)
        with Image.open(out / row["ldr_path"]) as picture:
            assert picture.layer[0][1:3] == (1, 1)  # type: ignore[attr-defined] # no subsampling
            assert abs(np.asarray(picture).astype(int) - ldr).mean() < 1


def test_values_beyond_half_float_are_clipped_and_counted(hdrprep: Command, hdr_folder: Path, tmp_path: Path) -> None:
    # Exposed for the darkest half of a scene with a sun in it, or nearly so.
    words = ["--patch-size", "64", "--patches", "2", "--set", "camera.clip_fraction=0.0001", "--threshold", "0"]
    bank = tmp_path / "b.zarr"
    assert hdrprep("run", hdr_folder, "--bank", bank, *words).status == 0
    arrays = {row["patch_id"]: row["clipped_values"] for row in kept(bank)}
    export(hdrprep, bank, "files", tmp_path / "files")
    assert {row["patch_id"]: row["clipped_values"] for row in listed(tmp_path / "files")} == arrays
    row = max(listed(tmp_path / "files"), key=lambda row: row["clipped_values"])
    pixels, _ = read_exr(tmp_path / "files" / row["hdr_path"])
    assert np.isfinite(pixels).all()
    np.testing.assert_array_equal(pixels, np.minimum(truth(bank, row)[0], 65504).astype(np.float16))


# Which patches


@pytest.mark.parametrize("form", FORMATS)
def test_a_limit_takes_the_patches_that_zarr_takes(form: str, hdrprep: Command, bank: Path, tmp_path: Path) -> None:
    export(hdrprep, bank, form, tmp_path / "out", "--limit", 5)
    before = table(bank, "patches")
    assert before["row"].null_count == len(before)  # the bank's table is as it was
    assert hdrprep("export", "--bank", bank, "--limit", 5).status == 0
    assert {row["patch_id"] for row in listed(tmp_path / "out")} == set(array(bank, "patch_id").tolist())
    assert len(listed(tmp_path / "out")) == 5


@pytest.mark.parametrize("form", FORMATS)
def test_another_threshold_leaves_the_folder_as_a_fresh_export(
    form: str, hdrprep: Command, bank: Path, tmp_path: Path
) -> None:
    export(hdrprep, bank, form, tmp_path / "out", "--limit", 4)
    export(hdrprep, bank, form, tmp_path / "out")
    scores = sorted(row["score"] for row in kept(bank))
    assert hdrprep("score", "--bank", bank, "--threshold", scores[len(scores) // 2]).status == 0
    told = export(hdrprep, bank, form, tmp_path / "out")
    assert "removed" in told.out
    export(hdrprep, bank, form, tmp_path / "fresh")
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


def test_only_what_is_missing_is_written(hdrprep: Command, bank: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(hdrprep, bank, "files", out, "--limit", 5)
    before = {path: path.stat().st_ino for path in out.rglob("*.exr")}
    assert f"this run     {len(kept(bank)) - 5} patches" in export(hdrprep, bank, "files", out).out
    assert before.items() <= {path: path.stat().st_ino for path in out.rglob("*.exr")}.items()
    assert "this run" not in export(hdrprep, bank, "files", out).out


def test_no_kept_patch_makes_an_empty_folder(hdrprep: Command, bank: Path, tmp_path: Path) -> None:
    for form in FORMATS:
        export(hdrprep, bank, form, tmp_path / form)
    assert hdrprep("score", "--bank", bank, "--threshold", "1e9").status == 0
    for form in FORMATS:
        export(hdrprep, bank, form, tmp_path / form)
        assert set(tree(tmp_path / form)) == {"hdrprep.json", "patches.parquet", "croissant.json"}
        assert listed(tmp_path / form) == []


def test_another_seed_replaces_what_lies_there(hdrprep: Command, hdr_folder: Path, tmp_path: Path) -> None:
    words = ["--patch-size", "64", "--patches", "1", "--threshold", "0", "--format", "files"]
    for seed in (1, 2):
        run = ["run", hdr_folder, "--bank", tmp_path / f"{seed}.zarr", "--seed", seed, *words]
        assert hdrprep(*run, "--out", tmp_path / "out").status == 0
    assert hdrprep(*run, "--out", tmp_path / "fresh").status == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


# Resume


def _damage(out: Path, form: str) -> list[Path]:
    files = sorted(path for path in out.rglob("*") if path.suffix in {".exr", ".png", ".bin", ".jpg", ".tar"})
    files[0].unlink()
    with files[1].open("r+b") as stream:  # cut off
        stream.truncate(files[1].stat().st_size // 2)
    files[2].write_bytes(bytes(files[2].stat().st_size))  # as long as before, and something else
    stranger = files[3].with_name(("patches-000099" if form == "webdataset" else "12345") + files[3].suffix)
    shutil.copy(files[3], stranger)  # of a killed run whose patch is no longer kept
    return files[:3]


@pytest.mark.parametrize("form", FORMATS)
def test_a_folder_that_lost_files_is_whole_again(form: str, hdrprep: Command, bank: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(hdrprep, bank, form, out)
    whole = tree(out)
    _damage(out, form)
    (out / "_work" / "unfinished").mkdir(parents=True)
    (out / "_work" / "unfinished" / ".left").write_text("behind")
    export(hdrprep, bank, form, out)
    assert tree(out) == whole
    for name in ("patches.parquet", "croissant.json"):
        (out / name).unlink()
        export(hdrprep, bank, form, out)
        assert tree(out) == whole
    (out / "patches.parquet").write_bytes(whole["patches.parquet"][:1000])
    export(hdrprep, bank, form, out)
    assert tree(out) == whole


@pytest.mark.parametrize(("form", "files"), [("files", 1), ("hdrcnn", 9), ("webdataset", 1)])
def test_a_killed_export_ends_as_an_uninterrupted_one(
    form: str, files: int, hdrprep: Command, bank: Path, tmp_path: Path
) -> None:
    export(hdrprep, bank, form, tmp_path / "whole")
    out = tmp_path / "out"
    words = ["export", "--bank", bank, "--format", form, "--out", out, *SHARDED, "--workers", "1"]
    command = [sys.executable, "-m", "pipeline.cli", *map(str, words)]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    suffixes = {".exr", ".png", ".bin", ".jpg", ".tar"}
    while process.poll() is None:
        done = [path for path in out.rglob("*") if path.suffix in suffixes and "_work" not in path.parts]
        if len(done) >= files:
            break
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    assert tree(out) != tree(tmp_path / "whole")
    export(hdrprep, bank, form, out)
    assert tree(out) == tree(tmp_path / "whole")


class Killed(BaseException):
    """The end of the process, where a test wants it."""


class InThisProcess:
    """Workers that are none: each task is done here, one after the other."""

    def map(self, function: Callable[..., Any], tasks: Iterable[Task], _crashed: object) -> Iterator[tuple[Task, Any]]:
        for task in tasks:
            yield task, function(*task.arguments)


class Mortal:
    """What replaces files until, at a step that is given, the process is dead: then nothing is written any more.

    A step is half a replacement: dead before the rename, an unfinished file left behind, or after it.
    """

    def __init__(self, dead_at: int) -> None:
        self.step, self.dead_at = 0, dead_at

    def replace_file(self, path: Path, write: Callable[[Path], None], folder: Path | None = None) -> None:
        self.step += 1
        if self.step >= self.dead_at:
            path.parent.mkdir(parents=True, exist_ok=True)
            ((folder or path.parent) / f".{path.name}.half_one").write_text("some")
            raise Killed
        replace_file(path, write, folder)
        self.step += 1
        if self.step >= self.dead_at:
            raise Killed


def deliver(bank: Path, form: str, out: Path) -> None:
    with BankWriter.open(bank) as writer:
        settings = resolve([writer.attributes["config"], {"export": {"tar_patches": 3, "limit": 4}}])
        driver = Driver(writer, InThisProcess(), settings)  # type: ignore[arg-type]
        Delivery(driver, Destination(form, out)).export()


@pytest.mark.parametrize("form", FORMATS)
def test_dead_at_any_step_it_ends_the_same(
    form: str, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "single_threaded", lambda: None)
    whole = Mortal(10**9)
    monkeypatch.setattr(folder_module, "replace_file", whole.replace_file)
    deliver(bank, form, tmp_path / "whole")
    expected = tree(tmp_path / "whole")
    for dead_at in range(1, whole.step + 1):
        monkeypatch.setattr(folder_module, "replace_file", Mortal(dead_at).replace_file)
        out = tmp_path / str(dead_at)
        with pytest.raises(Killed):
            deliver(bank, form, out)
        monkeypatch.setattr(folder_module, "replace_file", replace_file)
        deliver(bank, form, out)
        assert tree(out) == expected, dead_at
    assert whole.step >= 12


@pytest.mark.parametrize("form", ["hdrcnn", "webdataset"])
def test_a_full_disk_is_one_sentence(form: str, hdrprep: Command, bank: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["-m", "pipeline.cli", "export", "--bank", bank, "--format", form, "--out", out, "--workers", "1"]
    # Tables of some kilobytes can be written, the files cannot: as on a disk that is full.
    limited = f"ulimit -f 40; exec {shlex.join([sys.executable, *map(str, words)])}"
    ended = subprocess.run(["/bin/bash", "-c", limited], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.strip() == f"hdrprep: error: {out} cannot be written (File too large)"
    export(hdrprep, bank, form, out)
    export(hdrprep, bank, form, tmp_path / "fresh")
    assert tree(out) == tree(tmp_path / "fresh")


def test_a_second_process_is_refused(hdrprep: Command, bank: Path, tmp_path: Path) -> None:
    export(hdrprep, bank, "files", tmp_path / "out")
    with Folder(tmp_path / "out").owned(handover.FORMATS["files"]):
        result = hdrprep("export", "--bank", bank, "--format", "files", "--out", tmp_path / "out")
    assert result.status == 1
    assert result.err.splitlines()[-1].startswith("hdrprep: error: another process is exporting to")


@pytest.mark.parametrize("form", FORMATS)
def test_one_worker_or_two_in_any_order_make_the_same_folder(
    form: str, hdrprep: Command, bank: Path, tmp_path: Path
) -> None:
    export(hdrprep, bank, form, tmp_path / "two")
    export(hdrprep, bank, form, tmp_path / "one", "--workers", 1)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_a_source_that_is_gone_fails_its_patches_alone(hdrprep: Command, scored: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    source = next(one for one in table(scored, "sources").to_pylist() if one["licence"])
    path = Path(source["path"])
    path.rename(path.with_suffix(".away"))
    try:
        result = hdrprep("export", "--bank", scored, "--format", "files", "--out", out)
    finally:
        path.with_suffix(".away").rename(path)
    assert result.status == 1
    assert "put the file back and repeat the command" in result.err
    rows = listed(out)
    assert {row["source_id"] for row in rows} == {row["source_id"] for row in kept(scored)} - {source["source_id"]}
    card = json.loads((out / "croissant.json").read_text())
    assert card["distribution"][0]["sha256"] == hashlib.sha256((out / "patches.parquet").read_bytes()).hexdigest()
    export(hdrprep, scored, "files", out)
    export(hdrprep, scored, "files", tmp_path / "fresh")
    assert tree(out) == tree(tmp_path / "fresh")


# Where


def test_a_folder_of_its_own_beside_the_bank(
    hdrprep: Command, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hdrprep("export", "--bank", bank, "--format", "hdrcnn", "--limit", 1).status == 0
    assert len(listed(tmp_path / "patches-hdrcnn")) == 1
    monkeypatch.setenv("HDRPREP_OUT", str(tmp_path / "named"))
    assert hdrprep("export", "--bank", bank, "--format", "files", "--limit", 1).status == 0
    assert len(listed(tmp_path / "named")) == 1
    assert hdrprep("export", "--bank", bank, "--limit", 1).status == 0  # where zarr goes, it does not say


def test_what_is_not_ours_is_refused_in_a_sentence(
    hdrprep: Command, bank: Path, hdr_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    (tmp_path / "file").write_text("precious")
    export(hdrprep, bank, "files", tmp_path / "exported", "--limit", 1)
    other = tmp_path / "other.zarr"
    shutil.copy(min(hdr_folder.glob("*.hdr")), tmp_path / "other.hdr")
    with (tmp_path / "other.hdr").open("ab") as stream:
        stream.write(b"\0")
    words = ["--patch-size", "64", "--patches", "1", "--threshold", "0"]
    assert hdrprep("run", tmp_path / "other.hdr", "--bank", other, *words).status == 0
    before = {name: content for name, content in tree(tmp_path).items() if ".zarr" not in name}
    for where, form, place, why in [
        (bank, "files", "mine", "was not exported by hdrprep"),
        (bank, "files", "file", "is a file"),
        (bank, "webdataset", "exported", "holds an export of format files"),
        (other, "files", "exported", "holds an export of another bank"),
        (bank, "files", "patches.zarr/more", "lies in the bank"),
    ]:
        result = hdrprep("export", "--bank", where, "--format", form, "--out", tmp_path / place)
        assert result.status == 2
        assert why in result.err
        assert "--out" in result.err
        assert result.err.count("\n") == 1
    assert {name: content for name, content in tree(tmp_path).items() if ".zarr" not in name} == before
    assert hdrprep("export", "--bank", bank, "--out", tmp_path / "x").status == 2
    told = hdrprep("export", "--bank", bank, "--format", "files", "--dry-run")
    assert (told.status, told.out) == (2, "")
    assert not (tmp_path / "patches-files").exists()


# The card


def test_each_export_has_a_card_that_fits(hdrprep: Command, bank: Path, tmp_path: Path) -> None:
    words = ["--set", "card.name=Lamps", "--set", "card.creators=[A. Person]", "--set", "card.version=2.0.0"]
    assert hdrprep("export", "--bank", bank, *words).status == 0
    for form in FORMATS:
        export(hdrprep, bank, form, tmp_path / form)  # what is said of the dataset is kept in the bank
    for folder in (bank, *(tmp_path / form for form in FORMATS)):
        text = (folder / "croissant.json").read_text()
        card = json.loads(text)
        assert (card["name"], card["version"]) == ("Lamps", "2.0.0")
        assert card["license"] == ["CC0-1.0"]
        assert card["creditText"] == "A. Photographer"
        assert f"{len(kept(bank))} pairs of 64x64 pixels" in card["description"]
        assert "unknown" in card["description"]
        assert str(tmp_path) not in text
        stored, *sets = card["distribution"]
        content = (folder / stored["contentUrl"]).read_bytes()
        assert stored["sha256"] == hashlib.sha256(content).hexdigest()
        for one in sets:
            assert all(any(folder.glob(pattern)) for pattern in one["includes"]), one


def test_the_bank_s_card_follows_its_tables(hdrprep: Command, bank: Path) -> None:
    assert not (bank / "croissant.json").exists()
    assert hdrprep("export", "--bank", bank, "--limit", 3).status == 0
    assert hdrprep("score", "--bank", bank, "--threshold", "1e9").status == 0
    (stored, *_) = json.loads((bank / "croissant.json").read_text())["distribution"]
    assert stored["sha256"] == hashlib.sha256((bank / "tables" / "patches.parquet").read_bytes()).hexdigest()


# What the documents say


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="runs in a checkout only")
def test_the_code_of_the_document_reads_the_exports(
    hdrprep: Command, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for form in FORMATS:
        assert hdrprep("export", "--bank", bank, "--format", form).status == 0
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), re.DOTALL)
    results: list[dict[str, Any]] = []
    for code in blocks:
        results.append({})
        exec(compile(code, "docs/export.md", "exec"), results[-1])  # noqa: S102
    _, files, hdrcnn, shards = results
    hdr, ldr = truth(bank, files["patch"])
    np.testing.assert_array_equal(files["hdr"], hdr.astype(np.float16))
    np.testing.assert_array_equal(files["ldr"], ldr)
    by_id = {str(row["patch_id"]): row for row in kept(bank)}
    hdr, ldr = truth(bank, by_id[hdrcnn["file"].stem])
    np.testing.assert_array_equal(hdrcnn["hdr"], hdr)
    np.testing.assert_array_equal(hdrcnn["ldr"], ldr)
    assert shards["recipe"]["exposure"] == by_id[shards["key"]]["exposure"]
