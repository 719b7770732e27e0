"""A headless Chromium for tests: the system's, or one that playwright installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]


@contextmanager
def open_page(width: int = 1240, height: int = 900) -> Iterator[Page]:
    """Yield a blank page; skips the test where there is no browser."""
    api = pytest.importorskip("playwright.sync_api")
    named = os.environ.get("C2VL_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    with api.sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        if named is None and not os.path.exists(own):
            pytest.skip(
                "no Chromium here: install one (`apt-get install chromium`, or `.venv/bin/"
                "playwright install chromium`), or name its file in C2VL_CHROMIUM"
            )
        browser = playwright.chromium.launch(executable_path=named, args=FLAGS)
        try:
            yield browser.new_page(viewport={"width": width, "height": height})
        finally:
            browser.close()
