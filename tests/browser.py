"""A page in a real browser, and what it said and asked for while it was open."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Page, sync_playwright


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's own Chromium, without a window; skips the test where there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("there is no Chromium here: make browser installs Debian's")
    with sync_playwright() as playwright:
        # Without its sandbox: it shows our own files alone, and in a container the sandbox does not start.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class Visit:
    """A page that is open, and what it said and asked for. `options` are those of playwright's `new_context`."""

    def __init__(self, browser: Browser, file: Path, size: dict[str, int], **options: Any) -> None:
        self.context = browser.new_context(viewport={**size}, **options)  # type: ignore[arg-type]
        self.page: Page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", self._dismiss)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())

    def _dismiss(self, dialog: Dialog) -> None:
        self.said.append(dialog.message)
        dialog.dismiss()

    def close(self) -> None:
        """Close it, and check that it said nothing and asked for nothing but files beside it."""
        self.context.close()
        assert self.said == []
        assert all(url.startswith(("file:", "data:")) for url in self.asked), self.asked
