"""A real S3-protocol server on loopback, for the tests: buckets in memory, everything else as over the network."""

from __future__ import annotations

import logging
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import fsspec
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem
from zarr.core.sync import sync as zarr_sync


@contextmanager
def s3_server() -> Iterator[str]:
    """Run the server, and point this process and those that it starts to it; yield the URL of an empty bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    variables = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with mock.patch.dict(os.environ, variables):
        forget_connections()  # to the server of another test
        # What the server of another module was told is in the memory of this process.
        urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
        fsspec.filesystem("s3").mkdir("bucket")
        yield "s3://bucket"
        forget_connections()
    server.stop()


def forget_connections() -> None:
    """Close what fsspec, and Zarr in its own event loop, hold open to a server."""
    for store in S3FileSystem._cache.values():
        if store._s3 is not None:
            if store.asynchronous:
                zarr_sync(store._s3.close())
            else:
                fsspec.asyn.sync(store.loop, store._s3.close)
    S3FileSystem.clear_instance_cache()
