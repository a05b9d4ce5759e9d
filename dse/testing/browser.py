"""A browser without a window, for tests and pictures of reports."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dse.errors import MissingDependencyError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

EXECUTABLES = ("chromium", "chromium-browser", "google-chrome")

ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@contextmanager
def chromium() -> Iterator["Browser"]:
    """The Chromium of this machine, through playwright.

    Raises:
        MissingDependencyError: one of the two is absent.
    """
    executable = next(filter(None, map(shutil.which, EXECUTABLES)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise MissingDependencyError("playwright is not installed: pip install 'dse[test]'") from None
    if executable is None:
        raise MissingDependencyError(f"found none of {', '.join(EXECUTABLES)}: install Chromium, as apt-get does")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


def wait_until_drawn(page: "Page") -> None:
    """Until every picture of a report is there."""
    page.wait_for_selector("html[data-state=complete]", state="attached", timeout=60_000)
