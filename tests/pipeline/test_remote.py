"""Sources and banks behind URLs: the same patches as on a disk, over a real S3 server, and in memory."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest

from pipeline.bank import BankReader, BankWriter, lock, open_storage
from pipeline.bank.storage import ObjectStorage
from pipeline.errors import BankError, BankLocked, SourceError, UsageError
from pipeline.frames import probe, read_frame
from pipeline.remote import is_remote, local_file, path_of
from pipeline.sources import discover
from tests.pipeline.banks import array_files, assert_same_bank, table
from tests.pipeline.conftest import SMALL, Result
from tests.pipeline.exr_files import picture, save
from tests.pipeline.object_store import forget_connections

Command = Callable[..., Result]
SUFFIXES = frozenset({".exr", ".hdr"})


def upload(folder: Path, url: str) -> str:
    store, path = fsspec.url_to_fs(url)
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            store.pipe_file(f"{path}/{file.relative_to(folder).as_posix()}", file.read_bytes())
    return url


def download(url: str, folder: Path) -> Path:
    for key, content in contents(url).items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(content)
    return folder


def contents(url: str) -> dict[str, bytes]:
    storage = open_storage(url)
    return {key: storage.read(key) for key in storage.sizes()}


@pytest.fixture(scope="module")
def hdr_url(s3: str, hdr_folder: Path) -> str:
    """The generated HDR files in a bucket, beside things to be passed over."""
    upload(hdr_folder, f"{s3}/hdr")
    store = open_storage(f"{s3}/hdr")
    store.write("readme.txt", b"no picture")
    store.write(".hidden/frame.exr", b"not to be seen")
    store.write("old.zarr/zarr.json", b"{}")
    store.write("old.zarr/frame.exr", b"part of a bank")
    return f"{s3}/hdr"


def test_a_folder_of_a_bucket_is_searched_as_one_of_the_disk(hdr_url: str, hdr_folder: Path) -> None:
    found = discover([path_of(hdr_url)], SUFFIXES)
    assert [str(path) for path in found.files] == [f"{hdr_url}/{path.name}" for path in sorted(hdr_folder.iterdir())]
    assert found.ignored == {".txt": 1}


def test_what_is_read_over_the_network_is_the_file(hdr_url: str, hdr_folder: Path) -> None:
    for file in hdr_folder.iterdir():
        remote = path_of(f"{hdr_url}/{file.name}")
        assert is_remote(remote)
        assert local_file(remote).read_bytes() == file.read_bytes()
        assert probe(remote) == probe(file)
        np.testing.assert_array_equal(read_frame(remote).pixels, read_frame(file).pixels)


def test_a_copy_is_made_anew_when_the_object_changes(s3: str) -> None:
    open_storage(s3).write("changing.bin", b"one")
    first = local_file(path_of(f"{s3}/changing.bin"))
    assert first.read_bytes() == b"one"
    assert local_file(path_of(f"{s3}/changing.bin")) == first
    open_storage(s3).write("changing.bin", b"two")
    assert local_file(path_of(f"{s3}/changing.bin")).read_bytes() == b"two"
    assert not first.parent.exists()  # one copy a process, or the disk would fill


def test_a_missing_object_is_a_reason(s3: str) -> None:
    with pytest.raises(SourceError, match="cannot be brought here"):
        probe(path_of(f"{s3}/nothing.exr"))


def test_a_dry_run_writes_no_object(s3: str, hdr_url: str, hdrprep: Command) -> None:
    url = f"{s3}/planned.zarr"
    before = contents(s3)
    plan = hdrprep("run", hdr_url, "--bank", url, *SMALL, "--dry-run")
    assert plan.status == 0, plan.err
    assert "candidates   24 new" in plan.out
    assert contents(s3) == before
    assert hdrprep("ingest", hdr_url, "--bank", url, *SMALL, "--workers", "2").status == 0
    before = contents(s3)
    plan = hdrprep("simulate-ldr", "--bank", url, "--dry-run")
    assert "candidates   24 of 24" in plan.out, plan.err
    assert contents(s3) == before


def test_from_a_bucket_into_a_bucket_gives_what_the_disk_gives(
    s3: str,
    hdr_url: str,
    hdr_folder: Path,
    hdrprep: Command,
    tmp_path: Path,
) -> None:
    here = tmp_path / "here.zarr"
    assert hdrprep("run", hdr_folder, "--bank", here, *SMALL).status == 0
    url = f"{s3}/there.zarr"
    result = hdrprep("run", hdr_url, "--bank", url, *SMALL, "--workers", "2")
    assert result.status == 0, result.err
    there = download(url, tmp_path / "there.zarr")
    assert table(there, "patches").equals(table(here, "patches"))
    assert array_files(there) == array_files(here)
    assert table(there, "sources")["path"].to_pylist() == [
        f"{hdr_url}/{Path(path).name}" for path in table(here, "sources")["path"].to_pylist()
    ]
    before = contents(url)
    assert hdrprep("run", hdr_url, "--bank", url, *SMALL, "--workers", "1").status == 0
    assert contents(url) == before
    status = hdrprep("status", "--bank", url, "--json")
    assert json.loads(status.out)["exported"] == table(here, "patches")["row"].drop_null().length()


def test_a_lost_or_changed_shard_of_a_bucket_raises(s3: str, hdr_url: str, hdrprep: Command) -> None:
    url = f"{s3}/damaged.zarr"
    assert hdrprep("run", hdr_url, "--bank", url, *SMALL, "--workers", "2").status == 0
    storage, reader = open_storage(url), BankReader(url)
    reader.pair(0)
    shard = bytearray(storage.read("hdr/c/0/0/0/0"))
    shard[1000] ^= 1
    storage.write("hdr/c/0/0/0/0", bytes(shard))
    with pytest.raises(BankError, match=r"patch \d+ \(row 0"):
        BankReader(url).pair(0)
    storage.delete("hdr/c/0/0/0/0")
    with pytest.raises(BankError, match="missing"):
        BankReader(url).pair(0)


def test_training_from_a_bucket(s3: str, hdr_url: str, hdrprep: Command, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs torch")
    url = f"{s3}/training.zarr"
    words = ["--patch-size", "128", "--patches", "3", "--workers", "2"]
    assert hdrprep("run", hdr_url, "--bank", url, *words).status == 0
    words = [
        *("--steps", "2", "--set", "train.width=4"),
        *("--set", "train.batch_size=2", "--set", "train.perceptual_weight=0"),
    ]
    command = [sys.executable, "-m", "model.train", "--bank", url, "--out", str(tmp_path / "run"), *words]
    subprocess.run(command, check=True, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""})
    assert (tmp_path / "run" / "weights.safetensors").stat().st_size > 0


def test_a_sequence_of_a_bucket_is_one_source(s3: str, hdrprep: Command, tmp_path: Path) -> None:
    folder = tmp_path / "shots"
    folder.mkdir()
    for number in range(1001, 1005):
        save(folder / f"shot.{number}.exr", {"RGB": picture(80, 96, seed=number)})
    upload(folder, f"{s3}/shots")
    words = (*SMALL, "--every", "2", "--workers", "1")
    assert hdrprep("run", folder, "--bank", tmp_path / "here.zarr", *words).status == 0
    assert hdrprep("run", f"{s3}/shots", "--bank", tmp_path / "there.zarr", *words).status == 0
    (source,) = table(tmp_path / "there.zarr", "sources").to_pylist()
    assert (source["kind"], source["frames_used"]) == ("sequence", 2)
    assert source["path"] == f"{s3}/shots/shot.1001-1004.exr"
    assert table(tmp_path / "there.zarr", "patches").equals(table(tmp_path / "here.zarr", "patches"))


def test_a_bank_in_memory_is_filled_by_this_process(hdr_folder: Path, hdrprep: Command, tmp_path: Path) -> None:
    assert hdrprep("run", hdr_folder, "--bank", tmp_path / "here.zarr", *SMALL).status == 0
    assert hdrprep("run", hdr_folder, "--bank", "memory://there.zarr", *SMALL, "--workers", "2").status == 0
    assert_same_bank(download("memory://there.zarr", tmp_path / "there.zarr"), tmp_path / "here.zarr")
    fsspec.filesystem("memory").rm("/there.zarr", recursive=True)


@pytest.mark.parametrize("command", ["run", "status"])
@pytest.mark.parametrize(
    ("url", "reason"), [("nosuch://x/b.zarr", "Protocol not known"), ("gs://x/b.zarr", "'hdrprep[gcs]'")]
)
def test_a_url_that_cannot_be_used_is_one_sentence(
    command: str, url: str, reason: str, hdr_folder: Path, hdrprep: Command
) -> None:
    words = [hdr_folder] if command == "run" else []
    result = hdrprep(command, *words, "--bank", url)
    assert result.status == 2
    assert reason in result.err
    assert "Traceback" not in result.err


def test_a_store_that_does_not_answer_is_one_sentence(
    hdr_folder: Path, hdrprep: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    forget_connections()
    result = hdrprep("run", hdr_folder, "--bank", "s3://elsewhere/b.zarr")
    forget_connections()
    assert result.status == 1
    assert "s3://elsewhere/b.zarr" in result.err
    assert "Traceback" not in result.err


ATTRIBUTES = {"seed": 0, "config": {}, "versions": {}}


@pytest.fixture
def quick_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let signs of life come, and lapse, within a second."""
    monkeypatch.setattr(lock, "RENEWAL", 0.1)
    monkeypatch.setattr(lock, "LAPSE", 2.0)
    monkeypatch.setattr(lock, "SETTLING", 0.3)


def test_a_second_writer_of_a_bucket_is_refused_while_the_first_lives(
    s3: str, quick_lease: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LAPSE", 5.0)  # on a busy machine a sign of life may be late
    url = f"{s3}/locked.zarr"
    with BankWriter.create(url, ATTRIBUTES):
        time.sleep(5.5)  # longer than a lock without signs of life holds
        with pytest.raises(BankLocked, match=r"another process \(pid \d+ on .*\) is writing"):
            BankWriter.open(url)
    BankWriter.open(url).close()
    assert not open_storage(url).exists(lock.LOCK)


def test_the_lock_of_a_killed_process_is_taken_over(s3: str) -> None:
    url = f"{s3}/killed.zarr"
    code = f"""
import time
from pipeline.bank import BankWriter
BankWriter.create({url!r}, {ATTRIBUTES!r})
print("held", flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(BankLocked, match=f"pid {process.pid}"):
            BankWriter.open(url)
        process.send_signal(signal.SIGKILL)
    BankWriter.open(url).close()


def test_the_lock_of_a_lost_machine_lapses(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{s3}/lost.zarr"
    BankWriter.create(url, ATTRIBUTES).close()
    storage = open_storage(url)
    storage.write(lock.LOCK, json.dumps({"token": "other", "pid": 1, "host": "a machine that is off"}).encode())
    with pytest.raises(BankLocked, match=r"a machine that is off.*lapses in \d\d s"):
        BankWriter.open(url)
    monkeypatch.setattr(lock, "LAPSE", 1.0)
    time.sleep(2)  # the store's times are of whole seconds
    BankWriter.open(url).close()


def _fold_again_and_again(writer: BankWriter, meanwhile: Callable[[], object]) -> None:
    for _ in range(300):  # the loss shows at the next sign of life, whenever a busy machine comes to it
        meanwhile()
        writer.fold()
        time.sleep(0.1)


def test_who_lost_the_lock_writes_no_more(s3: str, quick_lease: None) -> None:
    url = f"{s3}/taken.zarr"
    writer = BankWriter.create(url, ATTRIBUTES)
    storage, other = open_storage(url), json.dumps({"token": "other"}).encode()
    with pytest.raises(BankError, match="was lost"):  # the other gives signs of life too: the first may cross ours
        _fold_again_and_again(writer, lambda: storage.write(lock.LOCK, other))
    writer.close()
    assert open_storage(url).exists(lock.LOCK)  # the other's


def test_of_two_that_create_an_object_one_succeeds(s3: str) -> None:
    storage = ObjectStorage(s3)
    assert [storage.create("once", b"first"), storage.create("once", b"second")] == [True, False]
    assert storage.read("once") == b"first"


def test_a_path_stays_a_path() -> None:
    assert path_of("a/b.exr") == Path("a/b.exr")
    assert not is_remote(path_of("a/b.exr"))
    with pytest.raises(UsageError, match="nosuch://x/y"):
        path_of("nosuch://x/y")


def test_no_copy_of_a_remote_file_outlives_its_process(hdr_url: str, tmp_path: Path) -> None:
    name = next(iter(discover([path_of(hdr_url)], SUFFIXES).files))
    code = f"from pipeline.remote import local_file, path_of; print(local_file(path_of({str(name)!r})))"
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert Path(out.stdout.strip()).is_relative_to(tmp_path)
    assert list(tmp_path.iterdir()) == []
    shutil.rmtree(tmp_path)
