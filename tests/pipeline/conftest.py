"""What the tests of the pipeline share: small generated HDR files, a running Dask scheduler, a command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dask
import pytest
from distributed import LocalCluster

from pipeline import cli
from pipeline.scenes import write_demo_set

# Patches of 64 pixels from frames of 160x200: the same code paths as at full size, in milliseconds. What is not
# compressed lies at places that can be worked out, so that a test may damage the one byte that it means.
SMALL = ("--patch-size", "64", "--patches", "6", "--set", "export.shard_rows=4", "--set", "export.compression=none")


@dataclass(frozen=True)
class Result:
    """What a command did: its exit status, and what it printed."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="session")
def hdr_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four generated HDR files, .exr and .hdr."""
    folder = tmp_path_factory.mktemp("hdr")
    write_demo_set(folder, count=4, seed=3, height=160, width=200)
    return folder


@pytest.fixture(scope="session")
def scheduler() -> Iterator[str]:
    """The address of a running Dask scheduler with two worker processes."""
    dask.config.set({"distributed.deploy.lost-worker-timeout": "600s"})  # tests kill workers, on busy machines too
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The URL of a bucket on a real S3-protocol server."""
    from tests.pipeline.object_store import s3_server

    with s3_server() as url:
        yield url


@pytest.fixture
def hdrprep(
    scheduler: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Run a command in this process, its work on the running scheduler unless it names `--workers`."""

    def run(*arguments: object) -> Result:
        words = [str(argument) for argument in arguments]
        works = words[0] in {"ingest", "simulate-ldr", "score", "export", "run", "verify", "compact", "merge", "report"}
        if works and not {"--workers", "--scheduler", "--help"} & set(words):
            words += ["--scheduler", scheduler]
        capsys.readouterr()
        try:
            cli.main(words)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        else:
            status = 0
        out, err = capsys.readouterr()
        return Result(status, out, err)

    named = [
        "BANK",
        "OUT",
        "FORMAT",
        "CONFIG",
        "PATCHES",
        "PATCH_SIZE",
        "SEED",
        "THRESHOLD",
        "LIMIT",
        "WORKERS",
        "SCHEDULER",
        "GROUP_BY",
    ]
    for name in named:
        monkeypatch.delenv(f"HDRPREP_{name}", raising=False)
    return run
