"""Chromium, driven: pages as people see them, with every console error and CSP violation a failure.

with Chromium() as chromium, chromium.person("http://127.0.0.1:…") as person:
    person.go("/runs")
    person.page.get_by_role("link", name="New run").click()
    person.check("runs")  # axe, screenshots in light, dark and phone width
"""

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it has no types
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Playwright, expect, sync_playwright

#: Debian's; never one that playwright downloads.
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"

_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-smooth-scrolling",  # where a scroll ends is then known at once
]

#: Where screenshots are left, to be looked at: TREADLE_TEST_ARTIFACTS, else below the checkout.
ARTIFACTS = Path(os.environ.get("TREADLE_TEST_ARTIFACTS", Path(__file__).parents[2] / ".artifacts")) / "screenshots"

DESKTOP, PHONE = (1360, 900), (390, 844)

#: How long an action or an expectation may take, in milliseconds, on a busy machine.
PATIENCE_MS = 120_000
expect.set_options(timeout=PATIENCE_MS)


_HEAR = """() => {
    globalThis.heard = [];
    new MutationObserver(changes => {
        for (const each of changes) for (const said of each.addedNodes) globalThis.heard.push(said.textContent);
    }).observe(document.getElementById("notices"), { childList: true });
}"""


class Person:
    """Somebody at a browser of their own."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.faults: list[str] = []
        self.expected: list[re.Pattern[str]] = []
        page.context.set_default_timeout(PATIENCE_MS)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))

    def go(self, path: str) -> None:
        self.page.goto(self.url + path)

    def follow(self, what: Locator) -> None:
        """A link or a button that leads to another page, until that one is there whole: the two may look alike."""
        with self.page.expect_navigation():
            what.click()

    def hear(self) -> None:
        """Keeps what notices say from now on: each stands for four seconds only."""
        self.page.evaluate(_HEAR)

    def until_heard(self, text: str) -> None:
        self.page.wait_for_function("text => globalThis.heard.includes(text)", arg=text)

    def until_shown(self, what: Locator) -> None:
        """Reloads a page that is not live until it shows `what`."""
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while what.count() == 0:
            assert time.monotonic() < deadline, self.page.inner_text("main")
            self.page.reload()

    def sign_in(self, key: str) -> None:
        """With an API key, at the page."""
        self.go("/sign-in")
        self.page.get_by_role("textbox", name="API key").fill(key)
        self.page.get_by_role("button", name="Sign in with key").click()
        self.page.wait_for_url("**/runs")

    def expect_console(self, pattern: str) -> None:
        """Such a message is no fault: a connection that a test breaks, an answer that it asks to be refused."""
        self.expected.append(re.compile(pattern))

    def check(self, name: str) -> None:
        """No violation from axe, no error; screenshots in light, dark and phone width, of the whole page."""
        self.axe()
        self.shoot(name)
        self.no_faults()

    def axe(self) -> None:
        self.page.wait_for_load_state()  # a click has brought the first of a page only
        schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
        for scheme in schemes:
            self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            found = Axe().run(self.page)
            assert found.violations_count == 0, f"{scheme}: {found.generate_report()}"
        self.page.emulate_media(color_scheme="light", reduced_motion="reduce")

    def shoot(self, name: str) -> None:
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        shots: tuple[tuple[Literal["light", "dark"], tuple[int, int]], ...]
        shots = (("light", DESKTOP), ("dark", DESKTOP), ("light", PHONE))
        for scheme, size in shots:
            self.page.set_viewport_size({"width": size[0], "height": size[1]})
            self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            kind = "phone" if size == PHONE else scheme
            self.page.evaluate("scrollTo(0, 0)")  # else what sticks to the top stands in the middle of the picture
            self.page.screenshot(path=ARTIFACTS / f"{name}-{kind}.png", full_page=True)
            wide = self.page.evaluate("document.documentElement.scrollWidth > innerWidth")
            assert not wide, f"{name} is wider than the {kind} screen"
        self.page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
        self.page.emulate_media(color_scheme="light")

    def no_faults(self) -> None:
        assert self.faults == []

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not any(one.search(message.text) for one in self.expected):
            self.faults.append(f"{message.type}: {message.text}")


class Chromium:
    """One browser process."""

    def __init__(self) -> None:
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None

    def __enter__(self) -> Self:
        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS, timeout=PATIENCE_MS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._browser is not None:
            self._browser.close()
        if self._playwright is not None:
            self._playwright.stop()

    @contextmanager
    def person(self, url: str, *, javascript: bool = True) -> Iterator[Person]:
        """With no cookies yet. Leaving fails for a console error that nobody expected."""
        assert self._browser is not None, "enter it first"
        context = self._browser.new_context(
            viewport={"width": DESKTOP[0], "height": DESKTOP[1]}, java_script_enabled=javascript
        )
        try:
            person = Person(context.new_page(), url)
            yield person
            person.no_faults()
        finally:
            context.close()
