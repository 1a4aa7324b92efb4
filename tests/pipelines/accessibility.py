"""Check a page in a browser with axe-core."""

import pytest

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def list_violations(page):
    """Return the elements that violate each rule, in the state that the page is in."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(page, options={"runOnly": TAGS}).response["violations"]
    return {violation["id"]: [node["html"] for node in violation["nodes"]] for violation in found}
