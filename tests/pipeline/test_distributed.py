"""A cluster whose processes are started by hand, as on several machines: what it makes, and what it survives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from distributed import Client

from pipeline import versions, workers
from pipeline.logs import log
from tests.patience import HANGS
from tests.pipeline.banks import assert_same_bank, assert_same_patches, table
from tests.pipeline.conftest import Result
from tests.pipeline.killing import workers_of

Command = Callable[..., Result]
ROOT = Path(__file__).parents[2]
# So many patches that each source takes a while: what dies, dies at work.
SETTINGS = ("--patch-size", "64", "--patches", "30", "--set", "export.shard_rows=16")


class Cluster:
    """A Dask scheduler and workers, each a process of its own, in a session of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--port", "0", "--no-dashboard")
        self.workers: list[subprocess.Popen[bytes]] = []
        deadline = time.monotonic() + HANGS
        while not self._told() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _told(self) -> str | None:
        """Return the scheduler's address, when it has written all of its file."""
        try:
            return str(json.loads(self.file.read_text())["address"])
        except (FileNotFoundError, ValueError):
            return None

    @property
    def address(self) -> str:
        address = self._told()
        assert address
        return address

    def add(self, count: int = 1, **environment: str) -> Cluster:
        options = ("--nthreads", "1", "--no-dashboard", "--local-directory", str(self.folder))
        self.workers += [self._start("worker", *options, **environment) for _ in range(count)]
        return self

    def _start(self, *words: str, **environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", *words, "--scheduler-file", str(self.file)]
        variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        with (self.folder / f"{words[0]}.log").open("ab") as log:
            return subprocess.Popen(command, env=variables, stdout=log, stderr=log, start_new_session=True)

    def close(self) -> None:
        for process in (*self.workers, self.scheduler):
            kill_all(process)


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and those that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    cluster = Cluster(folder)
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def reference(hdr_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bank of one uninterrupted run with one local worker; not to be changed."""
    bank = tmp_path_factory.mktemp("reference") / "bank.zarr"
    subprocess.run(words(bank, hdr_folder, "--workers", "1"), check=True, capture_output=True)
    return bank


def words(bank: Path, *more: object) -> list[str]:
    return [str(word) for word in (sys.executable, "-m", "pipeline.cli", "run", "--bank", bank, *more, *SETTINGS)]


def start(bank: Path, *more: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        words(bank, *more),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A background job is born deaf to Ctrl-C: the tests may be one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for_work(bank: Path, process: subprocess.Popen[str]) -> None:
    """Return when the first source is done and others are being worked on."""
    deadline = time.monotonic() + HANGS
    while not list(bank.glob("_work/turns/*/*.parquet")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    assert process.poll() is None


def test_workers_started_by_hand_give_what_a_local_one_gives_in_any_order_and_in_parts(
    cluster: Cluster, reference: Path, hdr_folder: Path, hdrprep: Command, tmp_path: Path
) -> None:
    address = cluster.add(2).address
    whole, parts, two = tmp_path / "whole.zarr", tmp_path / "parts.zarr", tmp_path / "two.zarr"
    files = sorted(hdr_folder.iterdir(), reverse=True)
    assert hdrprep("run", *files, "--bank", whole, "--scheduler", address, *SETTINGS).status == 0
    assert_same_bank(whole, reference)
    for half in (files[:2], files[2:]):
        assert hdrprep("run", *half, "--bank", parts, "--scheduler", address, *SETTINGS).status == 0
    assert_same_patches(parts, reference)
    assert hdrprep("run", hdr_folder, "--bank", two, "--workers", "2", *SETTINGS).status == 0
    assert_same_bank(two, reference)


@pytest.mark.parametrize("lost", ["process", "machine"])
def test_the_work_of_a_worker_that_is_killed_is_done_elsewhere(
    lost: str, cluster: Cluster, reference: Path, hdr_folder: Path, tmp_path: Path
) -> None:
    bank = tmp_path / "bank.zarr"
    process = start(bank, hdr_folder, "--scheduler", cluster.add(2).address)
    wait_for_work(bank, process)
    if lost == "machine":
        kill_all(cluster.workers[0])
    else:  # another one is started in its place
        (worker,) = workers_of(cluster.workers[0].pid)
        os.kill(worker, signal.SIGKILL)
    _, told = process.communicate(timeout=HANGS)
    assert process.returncode == 0, told
    assert set(table(bank, "sources")["status"].to_pylist()) == {"ok"}
    assert_same_bank(bank, reference)


def test_a_scheduler_that_dies_is_one_sentence_and_the_same_command_resumes(
    cluster: Cluster, reference: Path, hdr_folder: Path, hdrprep: Command, tmp_path: Path
) -> None:
    bank = tmp_path / "bank.zarr"
    address = cluster.add(1).address
    process = start(bank, hdr_folder, "--scheduler", address)
    wait_for_work(bank, process)
    kill_all(cluster.scheduler)
    _, told = process.communicate(timeout=HANGS)
    assert process.returncode == 1
    assert len(told.strip().splitlines()) == 1, told
    assert told.startswith(f"hdrprep: error: the Dask scheduler at {address} is gone; start it again")
    assert hdrprep("run", hdr_folder, "--bank", bank, *SETTINGS).status == 0
    assert_same_bank(bank, reference)


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_a_cluster_serves_the_next_command_while_it_still_works_for_the_last(
    ending: signal.Signals, cluster: Cluster, reference: Path, hdr_folder: Path, hdrprep: Command, tmp_path: Path
) -> None:
    bank = tmp_path / "bank.zarr"
    address = cluster.add(1).address
    process = start(bank, hdr_folder, "--scheduler", address)
    wait_for_work(bank, process)
    os.kill(process.pid, ending)
    _, told = process.communicate(timeout=HANGS)
    if ending == signal.SIGINT:
        assert process.returncode == 130
        assert told.strip().splitlines()[-1] == "hdrprep: interrupted; the same command resumes"
        assert "Traceback" not in told
    result = hdrprep("run", hdr_folder, "--bank", bank, "--scheduler", address, *SETTINGS)
    assert result.status == 0, result.err
    assert_same_bank(bank, reference)
    assert list((bank / "_work" / "turns").iterdir()) == []


def test_no_worker_is_told_and_waited_for(
    cluster: Cluster, hdr_folder: Path, hdrprep: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 0.5)
    warned = log.warning

    def warn_and_help(message: str, *arguments: object) -> None:
        warned(message, *arguments)
        cluster.add(1)

    monkeypatch.setattr(log, "warning", warn_and_help)
    result = hdrprep("run", hdr_folder, "--bank", tmp_path / "bank.zarr", "--scheduler", cluster.address, *SETTINGS)
    assert result.status == 0
    assert result.err.count("no worker is connected to tcp://") == 1


def test_workers_of_other_versions_or_of_many_threads_are_named(
    scheduler: str, hdr_folder: Path, hdrprep: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, bank = min(hdr_folder.iterdir()), tmp_path / "bank.zarr"
    assert hdrprep("run", source, "--bank", bank, "--scheduler", scheduler, *SETTINGS).err == ""
    # Known here, and not there.
    monkeypatch.setattr(versions, "_LIBRARIES", (*versions._LIBRARIES, "click"))
    monkeypatch.setattr(workers, "_threads", lambda client: dict.fromkeys(client.ncores(), 2))
    result = hdrprep("ingest", source, "--bank", tmp_path / "other.zarr", "--scheduler", scheduler, *SETTINGS)
    assert result.status == 0
    assert result.err.count("has other versions, its patches may differ: click None, here ") == 2
    assert result.err.count("has 2 threads; start it with --nthreads 1") == 2


def test_workers_without_hdrprep_are_one_sentence(
    cluster: Cluster, hdr_folder: Path, hdrprep: Command, tmp_path: Path
) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text("import sys\nsys.modules['pipeline'] = None\n")
    cluster.add(1, PYTHONPATH=str(blocked))
    with Client(cluster.address, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=HANGS)
    result = hdrprep("run", hdr_folder, "--bank", tmp_path / "bank.zarr", "--scheduler", cluster.address, *SETTINGS)
    assert result.status == 2
    assert "cannot run hdrprep" in result.err
    assert len(result.err.strip().splitlines()) == 1
