"""A browser for tests of the report and of the page."""

import shutil

import pytest


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium; the test is skipped if it is not installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("Chromium is not on PATH: install Debian's package chromium")
    options = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--autoplay-policy=no-user-gesture-required")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=program, args=[*options])
        yield chromium
        chromium.close()
