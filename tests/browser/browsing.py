"""A real headless Chromium for tests: how it is started, and looking into pages made of custom elements."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webelement import WebElement

from tests.system.processes import wait_for

SETTLE_S = 30.0
# results without pictures, and structure sets that only the store knows: the pages show that they are missing
_MAY_BE_MISSING = ("/pictures/", "/structure-sets/")
# in all shadow roots, in the order of the document; a selector cannot reach from one root into another
_FIND = """
const found = [];
(function look(root) {
  for (const e of root.querySelectorAll('*')) {
    if (e.matches(arguments_[0])) found.push(e);
    if (e.shadowRoot) look(e.shadowRoot);
  }
})(document);
return found;
""".replace("arguments_", "given")


class Browser:
    """One window; every address that is not this machine's is unknown to it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self._urls: dict[str, str] = {}

    def open(self, url: str) -> None:
        self.driver.get("about:blank")  # else only the part behind # would change
        self.driver.get(url)

    def script(self, text: str, *arguments: Any) -> Any:
        return self.driver.execute_script(f"const given = arguments;\n{text}", *arguments)  # type: ignore[no-untyped-call]

    def module(self, expression: str, *arguments: Any) -> Any:
        """An expression that may await, such as ``(await import('/x.js')).f(given[0])``."""
        text = "const given = [...arguments]; const done = given.pop();"
        text += f"(async () => ({expression}))().then((v) => done([v]), (e) => done(['failed', String(e)]));"
        answer = self.driver.execute_async_script(text, *arguments)
        assert len(answer) == 1, answer
        return answer[0]

    def all(self, selector: str) -> list[WebElement]:
        found: list[WebElement] = self.script(_FIND, selector)
        return found

    def find(self, selector: str) -> WebElement:
        """The first that there is, as soon as there is one."""
        return wait_for(
            lambda: next(iter(self.all(selector)), None), f"there is {selector}", within_s=SETTLE_S, describe=self.text
        )

    def text(self, selector: str = "body") -> str:
        """All that can be read in an element, shadow roots included; from the document itself, not from the layout."""
        script = """
        const read = (node) => node.nodeType === 3 ? node.data
          : node.nodeName === 'STYLE' || node.nodeName === 'SCRIPT' ? ''
          : [...(node.shadowRoot ?? node).childNodes].map(read).join(' ');
        const found = (() => {%s})();
        return found.map(read).join(' ').replace(/\\s+/g, ' ');
        """
        text: str = self.script(script % _FIND, selector)
        return text

    def wait_text(self, text: str, selector: str = "body") -> None:
        wait_for(
            lambda: text in self.text(selector), f"{selector} says {text!r}", within_s=SETTLE_S, describe=self.text
        )

    def button(self, text: str, selector: str = "button, a") -> WebElement:
        """A button or link by what it says."""

        def look() -> WebElement | None:
            script = (
                f"const all = (() => {{{_FIND}}})(); return all.find((e) => e.textContent.trim() === given[1]) ?? null;"
            )
            found: WebElement | None = self.script(script, selector, text)
            return found

        return wait_for(look, f"there is a button {text!r}", within_s=SETTLE_S, describe=self.text)

    def click(self, element: WebElement) -> None:
        self.script("given[0].scrollIntoView({block: 'center'}); given[0].click();", element)

    def type(self, element: WebElement, text: str) -> None:
        element.clear()
        element.send_keys(text)

    def settle(self) -> None:
        """Wait until nothing is shown as loading any more."""
        self.find("main > *")
        wait_for(lambda: not self.all(".bones"), "all has loaded", within_s=SETTLE_S, describe=self.text)

    def complaints(self) -> list[str]:
        """Errors in the browser's console since the last time: of scripts, of the policy, failed requests."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        self.answers()  # else they gather without end
        return [
            e["message"]
            for e in entries
            if e["level"] == "SEVERE" and not any(x in e["message"] for x in _MAY_BE_MISSING)
        ]

    def answers(self) -> list[tuple[str, int]]:
        """Address and status of every answer since the last time, also of those that pages may not see."""
        found, urls = [], self._urls
        for entry in self.driver.get_log("performance"):  # type: ignore[no-untyped-call]
            event = json.loads(entry["message"])["message"]
            about = event["params"]
            if event["method"] == "Network.requestWillBeSent":
                urls[about["requestId"]] = about["request"]["url"]
            elif event["method"] == "Network.responseReceivedExtraInfo" and about["requestId"] in urls:
                found.append((urls[about["requestId"]], about["statusCode"]))
        return found


@contextmanager
def chromium(folder: Path, *, width: int = 1366, height: int = 900, names: Sequence[str] = ()) -> Iterator[Browser]:
    """Debian's Chromium with its own driver, a profile in ``folder``, and no way to the network.

    ``names`` are host names that lead to this machine.
    """
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "/usr/bin/chromium"
    for argument in (
        "--headless=new",
        "--no-sandbox",  # root in a container has no other way
        "--disable-gpu",
        "--use-gl=angle",  # the viewer draws with WebGL, here in software
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--lang=en",
        "--host-resolver-rules="
        + ", ".join([*(f"MAP {n} 127.0.0.1" for n in names), "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]),
        f"--user-data-dir={folder / 'profile'}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver") or "/usr/bin/chromedriver"))
    try:
        driver.set_script_timeout(SETTLE_S)
        # the very size of the page, whatever the window's frame takes
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        yield Browser(driver)
    finally:
        driver.quit()
