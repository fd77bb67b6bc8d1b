"""A headless Chromium at the size of a laptop or phone, which notes what a page asks for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

WIDTH, HEIGHT = 1366, 768
PHONE = 390, 844
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
# What is cut off at the sides, or in a table that would have to be scrolled.
CUT_OFF = """() => {
  const found = [];
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth) found.push(`page is ${root.scrollWidth} wide`);
  for (const box of document.querySelectorAll(".scroll"))
    if (box.scrollWidth > box.clientWidth + 1) found.push(`table is ${box.scrollWidth} wide`);
  for (const cell of document.querySelectorAll("h1, h2, th, td, li, .banner")) {
    const place = cell.getBoundingClientRect();
    const name = `${cell.tagName} ${cell.textContent.slice(0, 30)}`;
    if (place.width && (place.left < -1 || place.right > innerWidth + 1))
      found.push(`${name} at ${place.left}..${place.right}`);
    if (cell.scrollWidth > cell.clientWidth + 1 && cell.clientWidth)
      found.push(`${name} overflows`);
  }
  return found;
}"""


@dataclass
class Visit:
    """An open page, and what it did so far.

    Attributes
    ----------
    page:
        Playwright's page.
    requests:
        Addresses asked for, other than data and blobs.
    complaints:
        Errors of scripts and of the console.
    """

    page: object
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self, path: Path) -> None:
        self.page.goto(path.as_uri())

    def frame(self):
        """Return the frame of the page shown within Snakemake's report."""
        handle = self.page.wait_for_selector("iframe")
        frame = handle.content_frame()
        frame.wait_for_selector("h1")
        return frame


@contextmanager
def visit(size: tuple[int, int] = (WIDTH, HEIGHT)) -> Iterator[Visit]:
    """Start Chromium with a profile of its own; skip the test loudly where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("SKIPPED, NOT PASSED: no chromium (apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="SKIPPED, NOT PASSED: playwright")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        page = browser.new_page(viewport=dict(zip(("width", "height"), size, strict=True)))
        seen = Visit(page)
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(("data:", "blob:"))
                else seen.requests.append(request.url)
            ),
        )
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                seen.complaints.append(message.text) if message.type == "error" else None
            ),
        )
        yield seen
        browser.close()
