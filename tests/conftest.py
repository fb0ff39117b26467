"""What all tests share: the public test images, where they are at hand, and one way to run property tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples everywhere: a test that turns red says that the code changed, not the dice. No deadline: the
# first example of a test pays for imports and caches.
settings.register_profile("hdrprep", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("hdrprep")


def pytest_configure() -> None:
    """Hear Ctrl-C, which tests send: a job in the background is started deaf to it, and so are its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public test images: `HDRPREP_TEST_DATA`, or `shared/data` beside the repository."""
    given = os.environ.get("HDRPREP_TEST_DATA")
    folder = Path(given) if given else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the public test images are not here; HDRPREP_TEST_DATA may name their folder")
    return folder
